// Keep the painted page true: put every changed cell, part and chart point where its key says.
import { DayChart } from "./chart.js";

const STALE_AFTER_MS = 5000;
const cells = new Map();
const bindings = new Map();
const chart = new DayChart(document.getElementById("chart"));

// How each kind of binding shows its value.
const show = {
  text(element, value) { if (element.textContent !== value) element.textContent = value; },
  width(element, value) { element.setAttribute("width", value); },
  x(element, value) { element.setAttribute("x", value); },
  tone(element, value) { element.dataset.value = value; },
};

function bind(root) {
  for (const kind of Object.keys(show)) {
    for (const element of root.querySelectorAll(`[data-${kind}]`)) {
      const key = element.dataset[kind];
      if (!bindings.has(key)) bindings.set(key, new Set());
      bindings.get(key).add({ element, kind });
      if (cells.has(key)) show[kind](element, cells.get(key));
    }
  }
}

function forgetDetached() {
  for (const bound of bindings.values()) {
    for (const one of bound) if (!one.element.isConnected) bound.delete(one);
  }
}

function apply({ cells: changed, parts, points, gone }, { isSnapshot }) {
  for (const [key, value] of Object.entries(changed)) {
    cells.set(key, value);
    for (const { element, kind } of bindings.get(key) ?? []) show[kind](element, value);
  }
  for (const [name, html] of Object.entries(parts)) {
    const holder = document.querySelector(`[data-part="${name}"]`);
    if (!holder) continue;
    holder.innerHTML = html;  // rendered and escaped by our own server
    forgetDetached();
    bind(holder);
  }
  if (isSnapshot) chart.replace(points);
  else if (points.length || gone.length) chart.change(points, gone);
}

const connection = document.getElementById("connection");
let lastHeard = 0;

function say(state, text) {
  if (connection.dataset.state === state) return;  // a status that does not change is not spoken again
  connection.dataset.state = state;
  connection.textContent = text;
}

function heard(event, isSnapshot) {
  lastHeard = performance.now();
  apply(JSON.parse(event.data), { isSnapshot });
  say("live", "Live");
}

bind(document);
const painted = document.getElementById("points");
if (painted) chart.replace(JSON.parse(painted.textContent));

const source = new EventSource("/live/events");
source.addEventListener("snapshot", (event) => heard(event, true));
source.addEventListener("delta", (event) => heard(event, false));
source.addEventListener("error", () => say("lost", "Connection lost: this picture is old. Trying again."));
setInterval(() => {
  if (connection.dataset.state === "live" && performance.now() - lastHeard > STALE_AFTER_MS) {
    say("stale", "Nothing heard for some seconds: this picture may be old.");
  }
}, 1000);
addEventListener("pagehide", () => source.close());
