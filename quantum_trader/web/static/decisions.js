// Decisions as they happen; unfolding one asks for its gate chain.

import { byId, make, match } from "./dom.js";
import { bearer } from "./token.js";
import { clock, plain } from "./words.js";

const SHOWN = 100;
const MARKS = { pass: ["✓", "good"], deny: ["✗", "bad"], error: ["!", "warn"], skip: ["·", "muted"] };
const TONES = { FILLED: "good", PARTIALLY_FILLED: "good", BLOCKED: "waiting", SKIPPED: "quiet", DRY_RUN: "quiet" };

let shown = [];
const key = (one) => `${one.number} ${one.timestamp}`;

/** Put the newest first; `isWhole` after a reconnect: what was shown is in there. */
export function addDecisions(newest, isWhole) {
  const fresh = new Set(newest.map(key));
  shown = [...newest, ...(isWhole ? [] : shown.filter((one) => !fresh.has(key(one))))].slice(0, SHOWN);
  byId("decisions-empty").hidden = shown.length > 0;
  match(byId("decisions"), shown, key, create);
}

function create(one) {
  const wish = [one.side, one.qty, one.symbol].filter(Boolean).join(" ");
  const filled = one.executed === "true" ? `${one.filled_qty} at ${one.avg_price || "?"}` : "";
  const why = [one.gate && one.gate !== one.reason ? `${one.gate}:` : "", one.reason].filter(Boolean).join(" ");
  const tone = TONES[one.decision] ?? "stopped";
  const summary = make("summary", {}, make("span", { class: "line" },
    make("time", {}, clock(one.timestamp)), make("strong", {}, wish || "no order"),
    make("span", { class: "badge", "data-tone": tone }, plain(one.decision).toLowerCase()),
    make("span", {}, filled || why), make("span", { class: "muted" }, one.plan_id)));
  const details = make("details", {}, summary);
  details.addEventListener("toggle", () => { if (details.open) unfold(details, one.plan_id); });
  return make("li", {}, details);
}

async function unfold(details, planId) {
  details.querySelector(".story")?.remove();
  const story = make("div", { class: "story", role: "group", "aria-label": `Why, ${planId}` }, make("p", { class: "empty" }, "Asking…"));
  details.append(story);
  try {
    const answer = await fetch(`/api/decision?plan_id=${encodeURIComponent(planId)}`, { headers: bearer() });
    const found = await answer.json();
    story.replaceChildren(...(answer.ok ? tell(found) : [make("p", { class: "bad" }, found.error)]));
  } catch {
    story.replaceChildren(make("p", { class: "bad" }, "The engine does not answer; fold and unfold to ask again."));
  }
}

function tell(found) {
  const parts = [make("p", {}, `${found.reason}. ${found.meaning} ${found.cure}`.trim())];
  if (found.error) parts.push(make("p", { class: "text" }, found.error));
  const verdicts = found.trace.verdicts ?? [];
  if (verdicts.length) parts.push(make("ol", { class: "chain" }, ...verdicts.map(verdictRow)));
  for (const order of found.trace.orders ?? []) {
    parts.push(make("p", { class: "text" }, `Order ${Object.entries(order).map(([name, value]) => `${plain(name)} ${value}`).join(", ")}`));
  }
  parts.push(make("p", { class: "text" }, `Config ${found.trace.config_hash ?? "?"}, version ${found.trace.version ?? "?"}`));
  return parts;
}

function verdictRow(verdict) {
  const [mark, tone] = MARKS[verdict.ruling] ?? ["?", "warn"];
  const compared = Object.entries(verdict.evidence ?? {}).filter(([, value]) => value !== null && value !== "").map(([name, value]) => `${plain(name)} ${value}`).join(", ");
  const mode = verdict.mode === "enforce" ? "" : ` (${verdict.mode})`;
  return make("li", {}, make("span", { class: `mark ${tone}`, "aria-hidden": "true" }, mark),
    make("span", {}, make("span", { class: "line" }, make("strong", {}, verdict.gate),
      make("span", {}, `${verdict.ruling === verdict.code ? verdict.ruling : `${verdict.ruling}: ${verdict.code}`}${mode}`)), make("span", { class: "text" }, compared)));
}
