"""From a request's body to the fields of a plan; what cannot be one is refused by name (SPEC 3, 9). Pure.

Two forms: the plan itself as JSON, with the fields of the stream, and an alert as TradingView sends it,
known by its field ``ticker``. The stream's own reader judges both, so that HTTP takes nothing that the
chain would call malformed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from quantum_trader.domain.plan import Plan, allowed_in
from quantum_trader.pipeline.intake import DeadLetter, Refused, read_entry
from quantum_trader.stores.codec import decode_as_written, encode

ALERT_TOKEN = "token"  # noqa: S105  # the name of a field
FIELDS_MAX = 48
SIDES = {"buy": "BUY", "long": "BUY", "sell": "SELL", "short": "SELL", "close": "CLOSE"}
ALERT_FIELDS = frozenset(
    {
        "ticker",
        "action",
        "contracts",
        "time",
        "market_position",
        "reduceOnly",
        "price",
        "leverage",
        "confidence",
        "positionSide",
        "plan_id",
        "comment",
        ALERT_TOKEN,
    }
)
CARRIED = ("price", "leverage", "confidence", "positionSide", "comment")

_TICKER = re.compile(r"(?:(?P<venue>[A-Z0-9_]+):)?(?P<symbol>[A-Z0-9_]{2,40}?)(?:\.P|PERP)?", re.ASCII)


class BadForm(Exception):
    """A body that is no plan: the field that is wrong ("" for the whole), and what is allowed."""

    def __init__(self, field: str, allowed: str) -> None:
        super().__init__(f"{field}: {allowed}" if field else allowed)
        self.field = field


def read_object(body: bytes) -> dict[str, str]:
    """Return the plain values of a JSON object as text, every number as it was written.

    Raises:
        BadForm: it is none, or a value is a list or an object.
    """
    try:
        content: Any = decode_as_written(body)
    except ValueError:
        raise BadForm("", "the body must be a JSON object, encoded in UTF-8") from None
    if not isinstance(content, dict):
        raise BadForm("", "the body must be a JSON object with the fields of a plan")
    if len(content) > FIELDS_MAX:
        raise BadForm("", f"at most {FIELDS_MAX} fields")
    return {name: _plain(name, value) for name, value in content.items() if value is not None}


def is_alert(fields: Mapping[str, str]) -> bool:
    """Whether the body is an alert and not a plan."""
    return "ticker" in fields


def plan_of_alert(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of the plan that an alert means.

    The id is derived from what the alert says, its time included: sent twice, it is the same plan.
    An alert after which the strategy is flat closes; every other one opens, unless it says reduceOnly.

    Raises:
        BadForm: a field is absent, unknown or out of its range.
    """
    unknown = sorted(fields.keys() - ALERT_FIELDS)
    if unknown:
        raise BadForm(unknown[0][:64], f"unknown in an alert; known are {', '.join(sorted(ALERT_FIELDS))}")
    side = SIDES.get(fields.get("action", "").lower())
    if side is None:
        raise BadForm("action", f"one of {', '.join(SIDES)}; {{{{strategy.order.action}}}} gives it")
    if not fields.get("time"):
        raise BadForm("time", "required, as {{timenow}} gives it: it dates the plan and tells alerts apart")
    plan = {
        **{name: fields[name] for name in CARRIED if fields.get(name)},
        "plan_id": fields.get("plan_id") or _alert_id(fields),
        "symbol": _symbol(fields["ticker"]),
        "side": side,
        "timestamp": fields["time"],
        "source": "tradingview",
    }
    if side == "CLOSE" or fields.get("market_position", "").lower() == "flat":
        return plan | {"qty": "0", "action": "FULL_CLOSE_PROPOSED", "reduceOnly": "true"}
    return plan | {"qty": fields.get("contracts", ""), "reduceOnly": fields.get("reduceOnly", "false")}


def checked(fields: Mapping[str, str], now_ms: int) -> Plan | Refused:
    """Return the plan as the chain will read it at ``now_ms``, or SKIPPED for another decision than EXECUTE.

    Raises:
        BadForm: the chain would refuse it for one of its fields.
    """
    raw = {name.encode(): value.encode() for name, value in fields.items()}
    entry = read_entry(f"{now_ms}-0", raw)
    if isinstance(entry, DeadLetter):
        raise BadForm("plan_id", "1 to 128 printable characters")
    if isinstance(entry, Refused) and entry.reason.startswith("invalid_"):
        raise BadForm(entry.reason.removeprefix("invalid_"), entry.detail)
    if isinstance(entry, Plan) and entry.malformed and not entry.says_exit:
        raise BadForm(entry.malformed[0], allowed_in(entry.malformed[0]))
    return entry


def _plain(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    raise BadForm(name[:64], "a text, a number, true or false; no list and no object")


def _symbol(ticker: str) -> str:
    found = _TICKER.fullmatch(ticker.upper())
    if found is None:
        raise BadForm("ticker", "a symbol like BTCUSDT, BTCUSDT.P or BINANCE:BTCUSDT.P")
    if found["venue"] not in (None, "BINANCE"):
        raise BadForm("ticker", f"this engine trades on BINANCE, not on {found['venue'][:40]}")
    return str(found["symbol"])


def _alert_id(fields: Mapping[str, str]) -> str:
    said = {name: value for name, value in sorted(fields.items()) if name != ALERT_TOKEN}
    return f"tv_{hashlib.sha256(encode(said)).hexdigest()[:24]}"
