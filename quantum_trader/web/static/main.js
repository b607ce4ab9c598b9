// The page: one live connection, and a panel for each kind of message.

import { addHistory } from "./charts.js";
import { askToken, showControls } from "./control.js";
import { addDecisions } from "./decisions.js";
import { byId, say, tone } from "./dom.js";
import { addEvents, showHeadline, showHealth, showLatches, showReasons, showSlots, showTiles } from "./panels.js";
import { showPositions } from "./positions.js";
import { listen } from "./stream.js";
import { setEngineTime } from "./words.js";

let last = null;
let arrived = new Set(); // kinds that came since the connection began: the first of each is whole

const HANDLERS = {
  state(state) {
    last = state;
    setEngineTime(state.now_ms);
    for (const show of [showHeadline, showTiles, showHealth, showControls]) show(state);
    showPositions(state.positions);
    showLatches(state.latches);
    showReasons(state.reasons);
    showSlots(state.slots);
  },
  decisions: addDecisions,
  events: addEvents,
  history: addHistory,
};

function handle(kind, content) {
  HANDLERS[kind]?.(content, !arrived.has(kind));
  arrived.add(kind);
}

function status(text, how) {
  if (text !== "live") arrived = new Set();
  say(byId("link"), text);
  tone(byId("link"), how);
}

byId("spans").addEventListener("change", () => { if (last !== null) showReasons(last.reasons); });
listen(handle, status, askToken);
