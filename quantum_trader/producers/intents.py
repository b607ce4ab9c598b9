"""From a signal to a plan, or to the reason why it becomes none (SPEC 9). Pure.

Only fields named here reach the plan: whatever else a signal says (a permit, a verdict, a plan id,
reduceOnly) changes nothing (INC-43). The plan is dated with the signal, never with the bridge's
own time (INC-65), and its id is a pure function of the signal (INC-05).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import NoReturn

from quantum_trader.domain.plan import stream_ms
from quantum_trader.domain.result import plain
from quantum_trader.domain.timestamps import read_ms
from quantum_trader.domain.trading import Position, Positions, PositionSide, Side
from quantum_trader.stores.codec import decode_as_written

SOURCE = "intent_bridge"
WRAPPERS = ("payload", "data")
CARRIED = ("confidence", "price", "leverage", "kill_score", "venue")
VALUE_LENGTH_MAX = 4096
WRAPPED_LENGTH_MAX = 65_536
QUANTITY_PLACES = Decimal("1e-12")
ID_DIGITS = 16

_DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
_SYMBOL = re.compile(r"[A-Z0-9_]{2,40}", re.ASCII)


class NoSignal(Exception):
    """An entry that no plan can be made of; the text is ``invalid_<field>: what is allowed``."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A signal, read. Quantity in base asset; it and ``timestamp_ms`` are None where they cannot be read.

    ``lacks`` is why the signal cannot open, "" where it can: a close needs neither size nor confidence.
    """

    stream_id: str
    symbol: str
    side: Side
    quantity: Decimal | None
    timestamp_ms: int | None
    lacks: str = ""
    source: str = ""
    carried: Mapping[str, str] = field(default_factory=dict)

    @property
    def issued_at_ms(self) -> int:
        """When the signal was made: the older of its own timestamp and its stream id."""
        arrived_ms = stream_ms(self.stream_id)
        return arrived_ms if self.timestamp_ms is None else min(arrived_ms, self.timestamp_ms)

    @property
    def plan_id(self) -> str:
        """16 hex digits of sha256 over stream id, symbol, side and quantity."""
        text = f"{self.stream_id}:{self.symbol}:{self.side}:{plain(self.quantity)}"
        return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


@dataclass(frozen=True, slots=True)
class Skip:
    """A signal that becomes no plan, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class BridgeTerms:
    """What the bridge goes by; ages in ms."""

    open_age_ms_max: int
    exit_age_ms_max: int
    sell_opens_short: bool

    @property
    def age_ms_max(self) -> int:
        """Beyond this age a signal can neither open nor close."""
        return max(self.open_age_ms_max, self.exit_age_ms_max)


def read_intent(stream_id: str, raw: Mapping[bytes, bytes]) -> Intent:
    """Read one entry of the stream.

    Raises:
        NoSignal: symbol or side is absent or malformed, or the entry cannot be read.
    """
    fields = _fields_of(raw)
    symbol = fields.get("symbol", "")
    if not _SYMBOL.fullmatch(symbol):
        _refuse("symbol", "as the exchange writes it, like BTCUSDT")
    side = fields.get("side", "").upper()
    if side not in ("BUY", "SELL"):
        _refuse("side", "BUY or SELL")
    quantity, unsized = _size(fields)
    return Intent(
        stream_id=stream_id,
        symbol=symbol,
        side=Side(side),
        quantity=quantity,
        timestamp_ms=_timestamp_ms(fields, stream_id),
        lacks=_doubtful_confidence(fields) or unsized,
        source=fields.get("source", ""),
        carried={name: fields[name] for name in CARRIED if fields.get(name)},
    )


def plan_of(intent: Intent, positions: Positions, now_ms: int, terms: BridgeTerms) -> dict[str, str] | Skip:
    """Return the plan that ``intent`` becomes against the live ``positions``, or why it becomes none.

    Raises:
        NoSignal: it would open, and lacks a size or a confidence.
    """
    held = positions.of_symbol(intent.symbol)
    against = [one for one in held if one.side_to_close is intent.side]
    age_ms = now_ms - intent.issued_at_ms
    if against:
        return Skip("stale") if age_ms > terms.exit_age_ms_max else _close(intent, against[0], positions)
    if held:
        return Skip("position_exists")
    if intent.side is Side.SELL and not terms.sell_opens_short:
        return Skip("flat_sell")
    if intent.timestamp_ms is None:
        return Skip("invalid_timestamp")
    return Skip("stale") if age_ms > terms.open_age_ms_max else _open(intent)


def _open(intent: Intent) -> dict[str, str]:
    if intent.lacks:
        raise NoSignal(intent.lacks)
    return _common(intent) | {"qty": plain(intent.quantity), "reduceOnly": "false", "action": "OPEN"}


def _close(intent: Intent, held: Position, positions: Positions) -> dict[str, str]:
    plan = _common(intent) | {"qty": "0", "reduceOnly": "true", "action": "FULL_CLOSE_PROPOSED"}
    if intent.lacks:  # ignored on an exit, and reported in its trace (SPEC 3)
        plan["intent_lacks"] = intent.lacks
    if positions.hedge_mode and held.leg.side is not PositionSide.BOTH:
        plan["positionSide"] = held.leg.side.value
    return plan


def _common(intent: Intent) -> dict[str, str]:
    return {
        **intent.carried,
        "plan_id": intent.plan_id,
        "decision": "EXECUTE",
        "symbol": intent.symbol,
        "side": intent.side.value,
        "timestamp": str(intent.issued_at_ms),
        "source": SOURCE,
        "intent_source": intent.source,
        "intent_stream_id": intent.stream_id,
    }


def _fields_of(raw: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the entry's fields; those of a wrapped JSON object count before flat ones."""
    flat = {name.decode(errors="replace"): _text(name, value) for name, value in raw.items()}
    for wrapper in WRAPPERS:
        if flat.get(wrapper):
            return flat | _unwrapped(wrapper, flat[wrapper])
    return flat


def _text(name: bytes, value: bytes) -> str:
    limit = WRAPPED_LENGTH_MAX if name.decode(errors="replace") in WRAPPERS else VALUE_LENGTH_MAX
    try:
        text = value.decode()
    except UnicodeDecodeError:
        _refuse(name.decode(errors="replace")[:64], "UTF-8 text")
    if len(text) > limit:
        _refuse(name.decode(errors="replace")[:64], f"at most {limit} characters")
    return text


def _unwrapped(wrapper: str, text: str) -> dict[str, str]:
    """Return the JSON object's plain values as they were written; numbers keep every digit."""
    try:
        content = decode_as_written(text)
    except ValueError:
        _refuse(wrapper, "a JSON object")
    if not isinstance(content, dict):
        _refuse(wrapper, "a JSON object")
    return {name: value for name, value in content.items() if isinstance(value, str)}


def _doubtful_confidence(fields: Mapping[str, str]) -> str:
    text = fields.get("confidence", "")
    is_share = _DECIMAL.fullmatch(text) is not None and Decimal(text) <= 1
    return "" if is_share else "invalid_confidence: a number from 0 to 1"


def _size(fields: Mapping[str, str]) -> tuple[Decimal | None, str]:
    """Return the quantity, or None and why there is none."""
    try:
        return _quantity(fields), ""
    except NoSignal as unsized:
        return None, str(unsized)


def _quantity(fields: Mapping[str, str]) -> Decimal:
    if fields.get("qty"):
        return _positive(fields, "qty")
    if not fields.get("position_size_usd"):
        _refuse("qty", "a number above 0, or position_size_usd and price")
    notional, price = _positive(fields, "position_size_usd"), _positive(fields, "price")
    with localcontext(prec=80):  # 20 digits over 20 decimal places, exactly enough
        quantity = (notional / price).quantize(QUANTITY_PLACES, rounding=ROUND_DOWN)
    if quantity <= 0:
        _refuse("position_size_usd", "enough for some quantity at this price")
    return quantity


def _positive(fields: Mapping[str, str], name: str) -> Decimal:
    text = fields.get(name, "")
    if not _DECIMAL.fullmatch(text) or Decimal(text) <= 0:
        _refuse(name, "a number above 0 without exponent")
    return Decimal(text)


def _timestamp_ms(fields: Mapping[str, str], stream_id: str) -> int | None:
    text = fields.get("timestamp", "")
    try:
        return read_ms(text) if text else stream_ms(stream_id)
    except ValueError:
        return None


def _refuse(name: str, allowed: str) -> NoReturn:
    raise NoSignal(f"invalid_{name}: {allowed}")
