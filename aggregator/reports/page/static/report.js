
// Draw every figure where it stands; the heights come with the figures.
{
  const figures = JSON.parse(document.getElementById("figure-data").textContent);
  for (const element of document.querySelectorAll("[data-figure]")) {
    element.style.height = `${element.dataset.height}px`;
    globalThis.figures.draw(element, figures[element.dataset.figure]).then(() => {
      element.dataset.drawn = "yes";
    });
  }
}
