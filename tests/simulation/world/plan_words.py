"""What a plan's own words forbid, read from SPEC 3 and not by the engine's intake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation

ZERO = Decimal(0)
FRACTIONS = {
    "FULL_CLOSE_PROPOSED": Decimal(1),
    "PARTIAL_75": Decimal("0.75"),
    "PARTIAL_50": Decimal("0.5"),
    "PARTIAL_25": Decimal("0.25"),
}
OPENING_ACTIONS = ("", "OPEN", "ENTRY_PROPOSED")
YES, NO = ("true", "1", "yes"), ("false", "0", "no")
LEVERAGE_MAX = 10
KILL_SCORE_CRITICAL = Decimal("0.8")
LONG_AGO = "1700000000"  # s since the epoch: years before the world begins


def says_exit(fields: Mapping[str, str]) -> bool:
    """Whether the plan calls itself an exit."""
    return (
        fields.get("reduceOnly", "").lower() in YES
        or fields.get("action", "") in FRACTIONS
        or fields.get("side") == "CLOSE"
    )


def forbidden(fields: Mapping[str, str], *, reduces: bool) -> str:
    """Return the field for which no order may ever be sent; empty where there is none.

    ``reduces`` tells what the order does: an exit is not refused for a malformed optional field.
    """
    wrong = _decisive(fields) or ("" if reduces else _of_open(fields))
    return "timestamp" if not wrong and fields.get("timestamp") == LONG_AGO else wrong


def most_asked(copies: Iterable[Mapping[str, str]], held: Decimal) -> Decimal:
    """Return the largest quantity that an exit may ask for on a position of ``held`` (its size)."""
    return max((_asked(fields, held) for fields in copies), default=ZERO)


def _asked(fields: Mapping[str, str], held: Decimal) -> Decimal:
    quantity = _number(fields.get("qty", "")) or ZERO
    fraction = FRACTIONS.get(fields.get("action", ""))
    if fraction is None:
        return quantity
    return min(fraction * held, quantity) if quantity else fraction * held


def _decisive(fields: Mapping[str, str]) -> str:
    action, quantity = fields.get("action", ""), _number(fields.get("qty", ""))
    closes = action in FRACTIONS
    rules = {
        "decision": fields.get("decision") == "EXECUTE",
        "side": fields.get("side") in ("BUY", "SELL", "CLOSE"),
        "type": fields.get("type", "") in ("", "MARKET"),
        "action": closes or action in OPENING_ACTIONS,
        "reduceOnly": closes or fields.get("reduceOnly", "").lower() in (*YES, *NO),
        "qty": quantity is not None and (quantity > 0 or (closes and quantity == 0)),
    }
    return _first_broken(rules)


def _of_open(fields: Mapping[str, str]) -> str:
    leverage, score = fields.get("leverage", ""), fields.get("kill_score", "")
    rules = {
        "reduceOnly": not says_exit(fields),
        "confidence": _is_number_or_absent(fields.get("confidence", "")),
        "leverage": leverage == "" or (leverage.isdigit() and 1 <= int(leverage) <= LEVERAGE_MAX),
        "kill_score": score == "" or (_number(score) or KILL_SCORE_CRITICAL) < KILL_SCORE_CRITICAL,
        "venue": fields.get("venue", "binance") == "binance",
        "timestamp": _is_number_or_absent(fields.get("timestamp", "")),
    }
    return _first_broken(rules)


def _first_broken(rules: Mapping[str, bool]) -> str:
    return next((field for field, holds in rules.items() if not holds), "")


def _is_number_or_absent(text: str) -> bool:
    return text == "" or _number(text) is not None


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
