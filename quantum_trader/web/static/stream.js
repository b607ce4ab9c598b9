// The live connection: server-sent events read with fetch, because they may need the token as a header.

import { bearer } from "./token.js";

const SILENCE_MS = 15000;
const PAUSE_FIRST_MS = 1000;
const PAUSE_MAX_MS = 15000;

/** Call `on(kind, content)` for every message and `status(text, tone)` when the connection changes, for ever. */
export async function listen(on, status, wantsToken) {
  let pauseMs = PAUSE_FIRST_MS;
  for (;;) {
    try {
      await readOnce((kind, content) => {
        pauseMs = PAUSE_FIRST_MS;
        status("live", "good");
        on(kind, content);
      });
    } catch (refused) {
      if (refused.status === 401) {
        status("token needed", "stopped");
        await wantsToken();
        continue;
      }
    }
    status("reconnecting", "stopped");
    await new Promise((done) => setTimeout(done, pauseMs));
    pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS);
  }
}

async function readOnce(on) {
  const ending = new AbortController();
  let timer = setTimeout(() => ending.abort(), SILENCE_MS);
  try {
    const answer = await fetch("/api/events", { headers: bearer(), signal: ending.signal, cache: "no-store" });
    if (!answer.ok) throw Object.assign(new Error("refused"), { status: answer.status });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let waiting = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => ending.abort(), SILENCE_MS);
      const messages = (waiting + value).split(/\r?\n\r?\n/);
      waiting = messages.pop();
      for (const message of messages) handle(message, on);
    }
  } finally {
    clearTimeout(timer);
    ending.abort();
  }
}

function handle(message, on) {
  let kind = "";
  const lines = [];
  for (const line of message.split(/\r?\n/)) {
    if (line.startsWith("event:")) kind = line.slice(6).trim();
    else if (line.startsWith("data:")) lines.push(line.slice(5).trimStart());
  }
  if (kind && lines.length) on(kind, JSON.parse(lines.join("\n")));
}
