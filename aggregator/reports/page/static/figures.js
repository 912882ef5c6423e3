// Draw Plotly figures whose colours are names of CSS custom properties ("--net"), and redraw when the scheme changes.
"use strict";
globalThis.figures = (() => {
  const drawn = new Map();

  function coloured(value, style) {
    if (typeof value === "string") {
      return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
    }
    if (Array.isArray(value)) {
      return typeof value.at(-1) === "number" ? value : value.map((item) => coloured(item, style));
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
    }
    return value;
  }

  function axis(own) {
    return {
      gridcolor: "--rule", linecolor: "--rule", zerolinecolor: "--rule", tickcolor: "--rule", automargin: true,
      fixedrange: true, ...own, title: { font: { size: 12 }, standoff: 10, ...own?.title },
    };
  }

  function layout(own, style) {
    const merged = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "x unified",
      font: { family: style.getPropertyValue("--sans").trim(), size: 12, color: "--muted" },
      hoverlabel: { bgcolor: "--panel", bordercolor: "--rule", font: { color: "--ink", size: 12 } },
      margin: { l: 44, r: 12, t: 8, b: 32 }, showlegend: false, ...own,
    };
    for (const name of Object.keys(merged)) {
      if (/^[xy]axis\d*$/.test(name)) merged[name] = axis(merged[name]);
    }
    merged.xaxis ??= axis({});
    merged.yaxis ??= axis({});
    if (merged.showlegend) {
      merged.legend = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: "--ink" }, ...merged.legend };
      // Room for one row above the plot; Plotly makes more where the legend breaks into several.
      merged.margin = { ...merged.margin, t: 30 };
    }
    return coloured(merged, style);
  }

  function draw(element, figure) {
    drawn.set(element, figure);
    const style = getComputedStyle(document.documentElement);
    const config = { displayModeBar: false, responsive: true };
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const data = figure.data.map((trace) => coloured(trace, style));
    const own = still ? { ...figure.layout, transition: { duration: 0 } } : figure.layout;
    return Plotly.react(element, data, layout(own ?? {}, style), config);
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [element, figure] of drawn) draw(element, figure);
  });

  return { draw };
})();
