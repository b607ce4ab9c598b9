// Kill and resume: a dialog that asks for a reason, and for the token where this tab has none.

import { byId, say } from "./dom.js";
import { bearer, forget, held, hold } from "./token.js";

const KINDS = {
  kill: { title: "Kill", path: "/api/kill", text: "Takes effect on the next plan. Positions stay as they are; BSC goes on watching." },
  resume: { title: "Resume", path: "/api/resume", text: "Clears the kill switch. Cooldowns, safe mode and a disarm stay." },
  token: { title: "Token", path: "", text: "This engine shows its data to those who know its token." },
};

let kind = "kill";
let told = () => {};

export function showControls(state) {
  const possible = state.engine.changes_possible;
  const isKilled = state.latches.some((one) => one.name === "kill_switch");
  byId("kill").disabled = !possible;
  byId("resume").disabled = !possible || !isKilled;
  byId("kill").title = byId("resume").title = possible ? "" : "No token is configured: set QT_HTTP__TOKEN and restart";
}

/** Ask for the token; resolves when one was given. */
export function askToken() {
  forget();
  return new Promise((done) => { told = done; open("token"); });
}

function open(which) {
  kind = which;
  const { title, text } = KINDS[kind];
  say(byId("control-title"), title);
  say(byId("control-text"), text);
  say(byId("control-send"), title === "Token" ? "Show" : title);
  say(byId("control-error"), "");
  byId("scope").hidden = kind !== "kill";
  byId("reason").required = kind !== "token";
  byId("reason").hidden = byId("reason").labels[0].hidden = kind === "token";
  byId("token-row").hidden = kind !== "token" && held() !== "";
  byId("control-send").classList.toggle("danger", kind === "kill");
  byId("reason").value = "";
  byId("control").showModal();
  byId(kind === "token" ? "token" : "reason").focus();
}

async function send(event) {
  event.preventDefault();
  const given = byId("token").value.trim();
  if (given) hold(given);
  byId("token").value = "";
  if (kind === "token") return close();
  const body = { reason: byId("reason").value };
  if (kind === "kill") body.scope = document.querySelector("input[name=scope]:checked").value;
  byId("control-send").disabled = true;
  const problem = await post(KINDS[kind].path, body);
  byId("control-send").disabled = false;
  say(byId("control-error"), problem);
  if (problem === "") close();
  return undefined;
}

/** Return what went wrong, "" if nothing. */
async function post(path, body) {
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { ...bearer(), "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    if (answer.ok) return "";
    if (answer.status === 401) {
      forget();
      byId("token-row").hidden = false;
      byId("token").focus();
    }
    return (await answer.json()).error;
  } catch {
    return "The engine does not answer. `quantum-trader kill --reason …` works without this page.";
  }
}

function close() {
  byId("control").close();
  told();
}

byId("kill").addEventListener("click", () => open("kill"));
byId("resume").addEventListener("click", () => open("resume"));
byId("control-cancel").addEventListener("click", close);
byId("control-form").addEventListener("submit", send);
