"""A result in words: what happened, which gate said what, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from quantum_trader.domain.reasons import DECISION_PREFIX, INVALID_PREFIX, reason_of
from quantum_trader.stores.codec import decode, encode_text

SIGNS = {"pass": "✓", "deny": "✗", "error": "!", "skip": "·"}
NAME_WIDTH = 16


def explain(fields: Mapping[str, str]) -> str:
    """Return a result's story, line by line."""
    trace: Mapping[str, Any] = decode(fields["trace"]) if fields.get("trace") else {}
    lines = [_headline(fields), "", *_outcome(fields)]
    verdicts = trace.get("verdicts", ())
    if verdicts:
        lines += ["", "  Gates, in order:", *(_verdict(verdict) for verdict in verdicts)]
    orders = trace.get("orders", ())
    if orders:
        lines += ["", "  Orders sent:", *(_order(order) for order in orders)]
    plan = trace.get("plan", {})
    if plan.get("rotation_trigger") == "true":
        room = f"{plan.get('new_plan_id')} ({plan.get('new_symbol')})"
        lines += ["", f"  Closed to make room for plan {room}."]
    if trace.get("notes"):
        lines += ["", "  Notes: " + ", ".join(trace["notes"])]
    lines += ["", f"  Config {trace.get('config_hash', '?')}, version {trace.get('version', '?')}"]
    return "\n".join(lines)


def meaning_of(code: str) -> tuple[str, str]:
    """Return what a reason code means and its cure."""
    if code.startswith(INVALID_PREFIX):
        field = code.removeprefix(INVALID_PREFIX)
        return (
            f"The plan's field {field} cannot be accepted.",
            "Correct the field; `error` says what is allowed.",
        )
    if code.startswith(DECISION_PREFIX):
        return "Only plans with decision=EXECUTE act.", "Nothing to do."
    reason = reason_of(code)
    return (reason.meaning, reason.cure) if reason is not None else ("", "")


def _headline(fields: Mapping[str, str]) -> str:
    moment = datetime.fromtimestamp(int(fields["timestamp"]) / 1000, UTC)
    wish = " ".join(part for part in (fields["side"], fields["qty"], fields["symbol"]) if part)
    return f"{fields['plan_id']}: {wish} · {moment:%Y-%m-%d %H:%M:%S} UTC · {fields['mode']}"


def _outcome(fields: Mapping[str, str]) -> list[str]:
    meaning, cure = meaning_of(fields["reason"])
    where = f" by {fields['gate']}" if fields["gate"] else ""
    lines = [f"  {fields['decision']}{where}: {fields['reason']}"]
    if meaning:
        lines.append(f"  {meaning}")
    if fields["error"]:
        lines.append(f"  The error was: {fields['error']}")
    if fields["executed"] == "true":
        lines.append(
            f"  Filled {fields['filled_qty']} at {fields['avg_price'] or '?'} (order {fields['order_id']})"
        )
    elif cure and cure != "Nothing to do.":
        lines.append(f"  What to do: {cure}")
    return lines


def _verdict(verdict: Mapping[str, Any]) -> str:
    sign = SIGNS.get(verdict["ruling"], "?")
    shown = {name: value for name, value in verdict["evidence"].items() if value not in (None, [], "")}
    numbers = " ".join(f"{name}={_short(value)}" for name, value in shown.items())
    mode = "" if verdict["mode"] == "enforce" else f" [{verdict['mode']}]"
    return f"  {sign} {verdict['gate']:<{NAME_WIDTH}} {verdict['code']}{mode}  {numbers}".rstrip()


def _order(order: Mapping[str, Any]) -> str:
    detail = order.get("status") or order.get("message") or order.get("reason") or ""
    sent = f"{order['side']} {order['qty']} as {order['client_order_id']}"
    return f"  → {sent}: {order['outcome']} {detail}".rstrip()


def _short(value: Any) -> str:
    return value if isinstance(value, str) else encode_text(value)
