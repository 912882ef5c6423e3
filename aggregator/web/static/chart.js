// The day's chart. Rows are [x, building, ev, net, planned, cap, limit, target]. Redrawn at most twice a second, and
// less often where drawing is slow, so that the page leaves the machine to others.
const LINES = [
  { column: 1, name: "Building", line: { color: "--building", width: 1.25 } },
  { column: 2, name: "EVs", line: { color: "--ev", width: 1.5 }, fill: "tozeroy", opacity: 0.9 },
  { column: 4, name: "Planned net", line: { color: "--planned", width: 1.5, dash: "dot", shape: "hv" } },
  { column: 5, name: "Cap", line: { color: "--cap", width: 1.25, dash: "dash", shape: "hv" } },
  { column: 6, name: "Mandatory limit", line: { color: "--cap", width: 2.5, shape: "hv" } },
  { column: 7, name: "Event target", line: { color: "--target", width: 2.5, shape: "hv" } },
  { column: 3, name: "Net", line: { color: "--net", width: 2 } },
];
const REDRAW_MS = 500;
const DRAWING_SHARE = 0.1;

// A value holds until the next row, also where the next row has none.
function steps(rows, column) {
  const x = [], y = [];
  rows.forEach((row, index) => {
    const before = index ? rows[index - 1][column] : null;
    if (row[column] === null && before !== null) {
      x.push(row[0]);
      y.push(before);
    }
    x.push(row[0]);
    y.push(row[column]);
  });
  return { x, y };
}

export class DayChart {
  #element;
  #rows = new Map();
  #timer = null;
  #pause = REDRAW_MS;

  constructor(element) {
    this.#element = element;
    new ResizeObserver(() => element.dataset.drawn && globalThis.Plotly.Plots.resize(element)).observe(element);
  }

  replace(points) {
    this.#rows = new Map(points.map((row) => [row[0], row]));
    this.#schedule();
  }

  change(points, gone) {
    for (const x of gone) this.#rows.delete(x);
    for (const row of points) this.#rows.set(row[0], row);
    this.#schedule();
  }

  #schedule() {
    this.#timer ??= setTimeout(async () => {
      const began = performance.now();
      try {
        await this.#draw();
      } finally {
        this.#pause = Math.max(REDRAW_MS, (performance.now() - began) / DRAWING_SHARE);
        this.#timer = null;
      }
    }, this.#element.dataset.drawn ? this.#pause : 0);
  }

  #draw() {
    if (!this.#rows.size || !globalThis.Plotly) return;
    const rows = [...this.#rows.values()].sort((a, b) => a[0] - b[0]);
    const x = rows.map((row) => row[0]);
    const data = LINES.map(({ column, name, ...look }) => ({
      ...(look.line.shape === "hv" ? steps(rows, column) : { x, y: rows.map((row) => row[column]) }), name, type: "scatter", mode: "lines", connectgaps: false,
      hovertemplate: "%{y:.1f} kW", ...(look.fill ? { fillcolor: "--ev-wash" } : {}), ...look,
    }));
    const narrow = this.#element.clientWidth < 520;
    const layout = {
      xaxis: { type: "date", tickformat: "%H:%M", hoverformat: "%H:%M", nticks: narrow ? 5 : 10, range: [x[0], x.at(-1)] },
      yaxis: { title: { text: narrow ? "" : "kW" }, zeroline: true, rangemode: "tozero", nticks: 7 },
      margin: { l: narrow ? 34 : 48, r: 8, t: 8, b: 28 },
      uirevision: "day",
    };
    if (!this.#element.dataset.drawn) {
      this.#element.replaceChildren();
      this.#element.dataset.drawn = "yes";
    }
    return globalThis.figures.draw(this.#element, { data, layout });
  }
}
