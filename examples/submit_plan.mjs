// Buy over HTTP and wait for the result. Needs Node 18 or newer, and no package.
//   QT_URL=http://127.0.0.1:8080 QT_TOKEN=… node examples/submit_plan.mjs
const url = process.env.QT_URL ?? "http://127.0.0.1:8080";
const headers = { Authorization: `Bearer ${process.env.QT_TOKEN}`, "Content-Type": "application/json" };
const plan = {
  plan_id: `node-${Date.now()}-${process.pid}`, // yours: sent twice, it trades once
  symbol: process.env.QT_SYMBOL ?? "XRPUSDT",
  side: "BUY",
  qty: "20", // a text keeps every digit
  reduceOnly: false,
};

const taken = await fetch(`${url}/api/plans`, { method: "POST", headers, body: JSON.stringify(plan) });
if (taken.status !== 202) {
  const { error, field } = await taken.json();
  console.error(`refused (${taken.status}): ${error}${field ? ` [${field}]` : ""}`);
  process.exit(1);
}
const answer = await fetch(`${url}/api/plans/${plan.plan_id}?wait_s=30`, { headers });
if (!answer.ok) {
  console.error(`no result within 30 s (${answer.status})`);
  process.exit(1);
}
const result = await answer.json();
console.log(result.decision, result.reason, result.filled_qty, result.avg_price);
