// Equity and exposure. Each chart has its numbers in words beside it.

import { byId, say } from "./dom.js";
import { usdt } from "./words.js";

const HEIGHT = 140;
const KEPT = 8640;
const columns = { at_s: [], equity_usdt: [], exposure_usdt: [] };
const charts = [];

export function addHistory(fresh, isWhole) {
  for (const name of Object.keys(columns)) {
    columns[name] = isWhole ? fresh[name] : [...columns[name], ...fresh[name]].slice(-KEPT);
  }
  draw();
}

function draw() {
  if (!charts.length) build();
  for (const { plot, name } of charts) plot.setData([columns.at_s, columns[name]]);
  describe("equity-text", "Equity", columns.equity_usdt);
  describe("exposure-text", "Exposure", columns.exposure_usdt);
}

function describe(id, title, values) {
  if (!values.length) return;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  say(byId(id), `${title}: ${usdt(values.at(-1))} now, ${usdt(low)} to ${usdt(high)} since the engine started, a day at most`);
}

function build() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  for (const [id, name, stroke] of [["equity", "equity_usdt", "--accent"], ["exposure", "exposure_usdt", "--warn"]]) {
    const place = byId(id);
    place.replaceChildren();
    place.setAttribute("role", "img");
    place.setAttribute("aria-labelledby", `${id}-text`);
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const plot = new window.uPlot({
      width: place.clientWidth || 300, height: HEIGHT, legend: { show: false }, cursor: { show: false },
      scales: { x: { range: (_, first, last) => (last > first ? [first, last] : [(first ?? 0) - 60, (last ?? 0) + 60]) }, y: { range: (_, low, high) => spread(low, high) } },
      axes: [{ ...axis, space: 70 }, { ...axis, size: 64 }],
      series: [{}, { stroke: colour(stroke), width: 2, points: { show: false } }],
    }, [[], []], place);
    charts.push({ plot, name, place });
  }
}

function spread(low, high) {
  if (low === null || high === null) return [0, 1];
  const room = Math.max((high - low) * 0.1, Math.abs(high) * 0.001, 0.5);
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

function rebuild() {
  for (const { plot } of charts) plot.destroy();
  charts.length = 0;
  draw();
}

new ResizeObserver(() => {
  for (const { plot, place } of charts) plot.setSize({ width: place.clientWidth, height: HEIGHT });
}).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);
