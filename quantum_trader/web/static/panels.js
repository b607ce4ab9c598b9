// The smaller panels: headline, tiles, latches, reasons, slots, health, events.

import { byId, make, match, say, tone } from "./dom.js";
import { clock, duration, known, nowMs, percent, plain, usdt } from "./words.js";

const NOT_TOLD = new Set(["event", "timestamp", "event_id", "number"]);
const EVENTS_SHOWN = 50;

export function showHeadline(state) {
  say(byId("sentence"), state.headline.sentence);
  tone(byId("headline"), state.headline.tone);
  const { mode } = state.engine;
  say(byId("mode"), mode);
  tone(byId("mode"), mode === "live" ? "stopped" : "quiet");
  document.title = `${state.headline.tone === "stopped" ? "⛔ " : ""}Quantum Trader ${mode}`;
}

export function showTiles(state) {
  const { account, engine, bsc, positions } = state;
  const unseen = bsc.last_good_poll_ms === null ? "" : `, saw ${duration(state.now_ms - bsc.last_good_poll_ms)} ago`;
  pairs(byId("tiles"), [
    ["Equity", `${usdt(account?.equity_usdt)} USDT`],
    ["Free", `${usdt(account?.available_usdt)} USDT`],
    ["Exposure", `${usdt(account?.exposure_usdt)} of ${usdt(account?.exposure_max_usdt)}`],
    ["Positions", `${positions === null ? "?" : positions.length} of ${account?.positions_max ?? "?"}`],
    ["BSC", `${bsc.state || "silent"}${bsc.authority === "OBSERVER" ? ", demoted" : ""}${unseen}`],
    ["Plans", `${engine.plans_seen} seen, ${engine.waiting} waiting`],
  ]);
}

export function showLatches(latches) {
  byId("latches-empty").hidden = latches.length > 0;
  match(byId("latches"), latches, (one) => `${one.name} ${one.symbol ?? ""} ${one.value}`, () => make("li", {},
    make("span", { class: "line" }, make("strong"), make("span", { class: "why" }), make("span", { class: "end" }))),
  (element, one) => {
    say(element.querySelector("strong"), plain(one.name));
    say(element.querySelector(".why"), [one.value === "1" ? "everything" : one.value, one.reason].filter(Boolean).join(" · "));
    const left = one.until_ms === null ? "" : `${duration(one.until_ms - nowMs())} left`;
    say(element.querySelector(".end"), one.ends_by === "time" ? left : `until ${one.ends_by}`);
  });
}

export function showReasons(reasons) {
  const minutes = document.querySelector("input[name=span]:checked").value;
  const span = reasons[minutes];
  const empty = byId("reasons-empty");
  empty.hidden = span.reasons.length > 0;
  say(empty, `Nothing was refused: ${span.plans} plans, ${span.fills} filled.`);
  match(byId("reasons"), span.reasons, (one) => `${one.gate} ${one.reason}`, () => make("li", {},
    make("span", { class: "line" }, make("strong"), make("span", { class: "code" }), make("span", { class: "end" })),
    make("span", { class: "text" })),
  (element, one) => {
    say(element.querySelector("strong"), one.gate || "exchange");
    say(element.querySelector(".code"), one.reason);
    say(element.querySelector(".end"), `${one.count} of ${span.plans}`);
    say(element.querySelector(".text"), `${one.meaning} ${one.cure}`.trim());
  });
}

export function showSlots(slots) {
  if (slots === null) return;
  say(byId("slots-text"), slots.taken.length ? `${slots.taken.length} taken: ${slots.taken.join(", ")}` : "No slot is taken.");
  const rotation = slots.rotation;
  say(byId("rotation"), rotation === null ? "No rotation is under way." :
    `Rotation: ${rotation.close_symbol} goes so that ${rotation.new_symbol} (${rotation.new_plan_id}) can come, ${duration(rotation.until_ms - nowMs())} left.`);
  match(byId("regimes"), slots.regimes, (one) => one.symbol, () => make("li"),
    (element, one) => {
      say(element, `${one.symbol}: ${known(one.slots)} slots`);
      element.title = `trend ${known(one.trend_pct)} %, ATR ${known(one.atr_pct)} %`;
    });
}

export function showHealth(state) {
  match(byId("checks"), state.checks, (one) => one.check, () => make("li"), (element, one) => {
    say(element, one.ok ? `✓ ${plain(one.check)}` : `✗ ${plain(one.check)}: ${one.problem}. ${one.cure}.`);
    tone(element, one.ok ? "good" : "stopped");
  });
  const { engine, account, bsc } = state;
  pairs(byId("facts"), [
    ["Up", duration(engine.uptime_s * 1000)],
    ["Version", engine.version],
    ["Config", known(engine.config_hash)],
    ["Account", known(engine.account)],
    ["Event loop lag", `${engine.loop_lag_ms} ms`],
    ["Clock offset", engine.clock_offset_ms === null ? "–" : `${engine.clock_offset_ms} ms`],
    ["Used weight", known(engine.used_weight)],
    ["Margin used", percent(account?.margin_usage)],
    ["In flight", String(engine.plans_in_flight)],
    ["BSC days left", bsc.days_left === null ? "–" : Number(bsc.days_left).toFixed(1)],
  ]);
}

let shownEvents = [];
const eventKey = (one) => `${one.number} ${one.timestamp}`;

export function addEvents(newest, isWhole) {
  const fresh = new Set(newest.map(eventKey));
  shownEvents = [...newest, ...(isWhole ? [] : shownEvents.filter((one) => !fresh.has(eventKey(one))))].slice(0, EVENTS_SHOWN);
  byId("events-empty").hidden = shownEvents.length > 0;
  match(byId("events"), shownEvents, eventKey, (one) => make("li", {},
    make("span", { class: "line" }, make("time", {}, clock(one.timestamp)), make("strong", {}, plain(one.event ?? "").toLowerCase())),
    make("span", { class: "text" }, Object.entries(one).filter(([name, value]) => !NOT_TOLD.has(name) && value !== "")
      .map(([name, value]) => `${plain(name)} ${value}`).join(" · "))));
}

function pairs(list, rows) {
  match(list, rows, ([name]) => name, ([name]) => make("div", {}, make("dt", {}, name), make("dd")),
    (element, [, value]) => say(element.querySelector("dd"), value));
}
