// Positions with the distance to BSC's limits as bars.

import { byId, make, match, say, tone } from "./dom.js";
import { known, usdt } from "./words.js";

const WARN_FROM = 0.6;
const GRAVE_FROM = 0.85;

export function showPositions(rows) {
  const place = byId("positions");
  if (rows === null || rows.length === 0) {
    const text = rows === null ? "Not read yet: unknown is not flat." : "Flat.";
    match(place, [text], (item) => item, (item) => make("p", { class: "empty" }, item));
    return;
  }
  match(place, rows, (row) => `${row.symbol} ${row.position_side}`, create, update);
}

function create(row) {
  const limits = row.limits.map((limit) => make("div", { class: "limit", "data-name": limit.name },
    make("div", { class: "name" }, make("span", {}, limit.name), make("span", { class: "value" })),
    make("div", { class: "meter", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100" }, make("div"))));
  return make("article", { class: "position" },
    make("div", { class: "line" }, make("h3"), make("span", { class: "size" }), make("span", { class: "pnl end" })),
    make("div", { class: "prices text" }),
    make("div", { class: "ledger warn" }),
    make("div", { class: "limits" }, ...limits));
}

function update(element, row) {
  const part = (name) => element.querySelector(name);
  const side = row.position_side === "BOTH" ? "" : ` ${row.position_side}`;
  say(part("h3"), row.symbol + side);
  say(part(".size"), `${Number(row.amount) > 0 ? "long" : "short"} ${row.amount.replace("-", "")} · ${usdt(row.notional_usdt)} USDT`);
  const pnl = Number(row.unrealized_pnl_usdt);
  say(part(".pnl"), `${pnl > 0 ? "+" : ""}${usdt(row.unrealized_pnl_usdt)} USDT`);
  part(".pnl").className = `pnl end ${pnl < 0 ? "bad" : "good"}`;
  say(part(".prices"), `entry ${row.entry_price} · mark ${row.mark_price}`);
  say(part(".ledger"), Number(row.ledger_difference) === 0 ? "" : `Ledger differs: it holds ${row.ledger_amount}.`);
  for (const limit of row.limits) updateLimit(part(`[data-name="${limit.name}"]`), limit, row.symbol);
}

function updateLimit(element, limit, symbol) {
  const text = `${known(limit.value)} of ${limit.limit}${limit.unit ? ` ${limit.unit}` : ""}`;
  say(element.querySelector(".value"), text);
  const meter = element.querySelector(".meter");
  const used = limit.used ?? 0;
  meter.firstElementChild.style.width = `${used * 100}%`;
  tone(meter, used >= GRAVE_FROM ? "stopped" : used >= WARN_FROM ? "waiting" : "good");
  meter.setAttribute("aria-valuenow", String(Math.round(used * 100)));
  meter.setAttribute("aria-valuetext", limit.used === null ? "not known" : text);
  meter.setAttribute("aria-label", `${symbol}: ${limit.name} limit used up`);
}
