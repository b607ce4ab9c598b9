"""From a request's body to the fields of a plan; what cannot be one is refused by name (SPEC 3, 9). Pure.

Two forms: the plan itself as JSON, with the fields of the stream, and an alert as TradingView sends it,
known by its field ``ticker``. The stream's own reader judges both, so that HTTP takes nothing that the
chain would call malformed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from quantum_trader.domain.plan import Plan, allowed_in
from quantum_trader.pipeline.intake import TRUE_WORDS, DeadLetter, Refused, read_entry
from quantum_trader.stores.codec import decode_as_written, encode

ALERT_TOKEN = "token"  # noqa: S105  # the name of a field
FIELDS_MAX = 48
SIDES = {"buy": "BUY", "long": "BUY", "sell": "SELL", "short": "SELL", "close": "CLOSE"}
PARTIAL_EXITS = {"long": "SELL", "short": "BUY"}  # by where the strategy still is after the order
NESTED = {
    "action": ("strategy.order_action", "strategy.order.action"),
    "contracts": ("strategy.order_contracts", "strategy.order.contracts"),
    "market_position": ("strategy.market_position",),
}
DEPTH_MAX = 2  # {"strategy": {"order": {"action": …}}}
READ = frozenset({"ticker", "action", "contracts", "time", "reduceOnly", "plan_id"})
SECRETS = frozenset({ALERT_TOKEN, "passphrase", "password", "secret"})  # as other receivers call theirs
OTHERWISE_MEANT = frozenset({"symbol", "side", "qty", "timestamp", "source"})  # on the stream

_TICKER = re.compile(r"(?:(?P<venue>[A-Z0-9_]+):)?(?P<symbol>[A-Z0-9_]{2,40}?)(?:\.P|PERP)?", re.ASCII)


class BadForm(Exception):
    """A body that is no plan: the field that is wrong ("" for the whole), and what is allowed."""

    def __init__(self, field: str, allowed: str) -> None:
        super().__init__(f"{field}: {allowed}" if field else allowed)
        self.field = field


def read_object(body: bytes) -> dict[str, str]:
    """Return the plain values of a JSON object as text, every number as it was written.

    What an alert nests is named by the way to it: ``strategy.order_action``.

    Raises:
        BadForm: it is none, or a value is a list, or an object where none may be.
    """
    try:
        content: Any = decode_as_written(body)
    except ValueError:
        raise BadForm("", "the body must be a JSON object, encoded in UTF-8") from None
    if not isinstance(content, dict):
        raise BadForm("", "the body must be a JSON object with the fields of a plan")
    depth_max = DEPTH_MAX if is_alert(content) else 0
    fields = {name: _plain(name, value) for name, value in _flat(content, depth_max) if value is not None}
    if len(fields) > FIELDS_MAX:
        raise BadForm("", f"at most {FIELDS_MAX} fields")
    return fields


def is_alert(fields: Mapping[str, Any]) -> bool:
    """Whether the body is an alert and not a plan."""
    return "ticker" in fields


def plan_of_alert(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of the plan that an alert means; what it says besides travels along.

    The id is derived from what the alert says, its time included: sent twice, it is the same plan.
    An exit that says no time gets none here: two alike are two exits.
    An alert after which the strategy is flat closes whatever is held.

    Raises:
        BadForm: a field is absent or out of its range.
    """
    said = _unnested(fields)
    side = SIDES.get(said.get("action", "").lower())
    if side is None:
        raise BadForm("action", f"one of {', '.join(SIDES)}; {{{{strategy.order.action}}}} gives it")
    order = _order(said, side)
    is_exit = order["reduceOnly"].lower() in TRUE_WORDS
    return {
        **_carried(said),
        "symbol": _symbol(said["ticker"]),
        "side": side,
        "source": "tradingview",
        **order,
        **_identity(fields, is_exit=is_exit),
    }


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


def _flat(content: Mapping[str, Any], depth_max: int, way: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict) and depth_max > 0:
            yield from _flat(value, depth_max - 1, f"{way}{name}.")
        else:
            yield way + name, value


def _unnested(fields: Mapping[str, str]) -> dict[str, str]:
    """Give what the object ``strategy`` says of the order its plain names, where these say nothing."""
    found = {
        name: fields[nested]
        for name, ways in NESTED.items()
        for nested in ways
        if fields.get(nested) and not fields.get(name)
    }
    return {**fields, **found}


def _carried(said: Mapping[str, str]) -> dict[str, str]:
    """Return what only travels along; where a plan means something else by a name, as ``alert_<name>``."""
    return {
        f"alert_{name}" if name in OTHERWISE_MEANT else name: value
        for name, value in said.items()
        if value and name not in READ and name.rpartition(".")[2] not in SECRETS
    }


def _order(said: Mapping[str, str], side: str) -> dict[str, str]:
    if side == "CLOSE" or said.get("market_position", "").lower() == "flat":
        return {"qty": "0", "action": "FULL_CLOSE_PROPOSED", "reduceOnly": "true"}
    return {"qty": said.get("contracts", ""), "reduceOnly": _reduce_only(said, side)}


def _identity(fields: Mapping[str, str], *, is_exit: bool) -> dict[str, str]:
    """Return date and id of the plan; without a time it is dated with its arrival.

    TradingView sends an alert again when it is answered with an error, though the plan may stand on the
    stream: without a time, or an id, nothing would tell that from the next alert, and it would open twice.
    """
    time, plan_id = fields.get("time"), fields.get("plan_id")
    if time:
        return {"timestamp": time, "plan_id": plan_id or _alert_id(fields)}
    if not (plan_id or is_exit):
        wanted = 'required to open, as {{timenow}} gives it (or a "plan_id" of its own)'
        raise BadForm("time", f"{wanted}: it tells an alert that is sent again from the next one")
    return {"plan_id": plan_id} if plan_id else {}


def _plain(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    raise BadForm(name[:64], "a text, a number, true or false; no list and no object")


def _reduce_only(fields: Mapping[str, str], side: str) -> str:
    """Return what the alert says about opening; one that says nothing is refused, never let open (INC-60).

    A strategy that is still long after a sell, or short after a buy, has sold or bought back a part: an exit,
    whatever ``reduceOnly`` says.
    """
    said, held = fields.get("reduceOnly", ""), fields.get("market_position", "").lower()
    if PARTIAL_EXITS.get(held) == side:
        return "true"
    if held and held not in PARTIAL_EXITS and said.lower() not in TRUE_WORDS:
        raise BadForm("market_position", "one of long, short, flat; {{strategy.market_position}} gives it")
    if not (said or held):
        raise BadForm("reduceOnly", "required without market_position; it is never assumed false")
    return said or "false"


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
