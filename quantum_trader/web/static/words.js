// Numbers and times as people read them.

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const USDT = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

let engineAheadMs = 0;

/** Count time as the engine does: a phone's clock may be off. */
export function setEngineTime(nowMs) { engineAheadMs = nowMs - Date.now(); }
export const nowMs = () => Date.now() + engineAheadMs;

export const clock = (ms) => CLOCK.format(new Date(Number(ms)));
export const usdt = (text) => (text === null || text === undefined || text === "" ? "–" : USDT.format(Number(Number(text).toFixed(2)) || 0));
export const percent = (share) => (share === null || share === undefined ? "–" : `${(share * 100).toFixed(1)} %`);
export const known = (value) => (value === null || value === undefined || value === "" ? "–" : String(value));

export function duration(spanMs) {
  const s = Math.max(0, Math.round(spanMs / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} days`;
}

export const plain = (name) => name.replaceAll("_", " ");
