"""A result in words: what happened, which gate said what, what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from quantum_trader.domain.reasons import DECISION_PREFIX, INVALID_PREFIX, reason_of
from quantum_trader.domain.result import plain
from quantum_trader.stores.codec import decode, encode_text

SIGNS = {"pass": "✓", "deny": "✗", "error": "!", "skip": "·"}
NAME_WIDTH = 16
DIGITS_SHOWN = 5
LINE_WIDTH = 80
INDENT = 21
# seconds that a verdict asks for → the ms that have passed of them
WAITS = {
    "per_symbol_s": "last_ms_ago",
    "symbol_cooldown_s": "last_open_ms_ago",
    "cooldown_s": "last_open_ms_ago",
}


def explain(fields: Mapping[str, str], latches: Mapping[str, int] | None = None) -> str:
    """Return a result's story, line by line; ``latches`` are the seconds that stops still hold, by code."""
    trace: Mapping[str, Any] = decode(fields["trace"]) if fields.get("trace") else {}
    lines = [_headline(fields), "", *_outcome(fields)]
    verdicts = trace.get("verdicts", ())
    lines += time_left(fields["reason"], (), latches or {})
    if verdicts:
        lines += ["", "  Gates, in order:", *verdict_lines(verdicts)]
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


def time_left(reason: str, verdicts: Iterable[Mapping[str, Any]], latches: Mapping[str, int]) -> list[str]:
    """Return how long the stop behind ``reason`` still holds, where that is known; one line or none."""
    seconds = latches.get(reason)
    for verdict in verdicts:
        evidence = verdict["evidence"]
        for limit, ago in WAITS.items():
            if verdict["code"] == reason and limit in evidence and ago in evidence:
                seconds = -(-(int(evidence[limit]) * 1000 - int(evidence[ago])) // 1000)
    return [f"  It ends by itself in {seconds} s."] if seconds is not None and seconds > 0 else []


def verdict_lines(verdicts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the gates' verdicts, numbers rounded; the JSON has them exactly.

    A gate that judges in two steps stands there once where both pass.
    """
    listed = list(verdicts)
    later = [{verdict["gate"] for verdict in listed[number + 1 :]} for number in range(len(listed))]
    return [
        _verdict_line(verdict)
        for verdict, follows in zip(listed, later, strict=True)
        if verdict["ruling"] != "pass" or verdict["gate"] not in follows
    ]


def _verdict_line(verdict: Mapping[str, Any]) -> str:
    sign = SIGNS.get(verdict["ruling"], "?")
    shown = {name: value for name, value in verdict["evidence"].items() if value not in (None, [], "")}
    numbers = " ".join(f"{name}={_short(value)}" for name, value in shown.items())
    mode = "" if verdict["mode"] == "enforce" else f" [{verdict['mode']}]"
    line = f"  {sign} {verdict['gate']:<{NAME_WIDTH}} {verdict['code']}{mode}  {numbers}".rstrip()
    return textwrap.fill(line, LINE_WIDTH, subsequent_indent=" " * INDENT, break_long_words=False)


def _order(order: Mapping[str, Any]) -> str:
    detail = order.get("status") or order.get("message") or order.get("reason") or ""
    sent = f"{order['side']} {order['qty']} as {order['client_order_id']}"
    return f"  → {sent}: {order['outcome']} {detail}".rstrip()


def _short(value: Any) -> str:
    """Return a number with five significant digits, all else as it is."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return encode_text(value)
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return str(value)
    if not number.is_finite() or len(number.as_tuple().digits) <= DIGITS_SHOWN or number == int(number):
        return str(value)
    return plain(Decimal(f"{number:.{DIGITS_SHOWN}g}"))
