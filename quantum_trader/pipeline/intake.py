"""Intake: from a raw stream entry to a plan, or to the reason why it is none (SPEC 3).

Everything outside is bytes that anyone may have written. What has a readable plan id gets a
result; the rest is a dead letter. Fields of unknown names only travel through. A malformed field
that a plan can do without refuses opens only (gates/admission.py), so it is reported, not raised.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import TypeVar

from quantum_trader.domain.plan import Action, Plan, PlanSide, stream_ms
from quantum_trader.domain.reasons import DECISION_PREFIX, invalid
from quantum_trader.domain.result import Ended
from quantum_trader.domain.timestamps import read_ms
from quantum_trader.domain.trading import PositionSide

PLAN_ID_LENGTH_MAX = 128
NAME_LENGTH_MAX = 128
VALUE_LENGTH_MAX = 4096
FIELDS_MAX = 64

DECISIVE = ("plan_id", "decision", "symbol", "side", "type", "qty", "action")
OPTIONAL = ("reduceOnly", "positionSide", "leverage", "timestamp", "source", "confidence", "kill_score")

TRUE_WORDS = frozenset({"true", "1", "yes"})
FALSE_WORDS = frozenset({"false", "0", "no"})
VENUE_NAMES = frozenset({"binance", "binanceusdm", "binancefutures", "binanceusdmfutures", "binanceusdsm"})

_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
_SYMBOL = re.compile(r"\w{2,40}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_length = struct.Struct(">Q").pack
_SIDES = {side.value: side for side in PlanSide}  # looked up in a third of the time that PlanSide(...) takes
_ACTIONS = {action.value: action for action in Action}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that ends at intake; ``decision`` is BLOCKED (``gate`` intake) or SKIPPED."""

    plan_id: str
    decision: Ended
    reason: str
    detail: str
    content_hash: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry that nobody can be answered about."""

    reason: str


class FieldError(Exception):
    """A field that refuses the plan."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


def read_entry(stream_id: str, raw: Mapping[bytes, bytes]) -> Plan | Refused | DeadLetter:
    """Read one stream entry; never raises, whatever it holds."""
    fields, unreadable = _decode(raw)
    plan_id = fields.get("plan_id", "")
    if "plan_id" in unreadable or not _is_plan_id(plan_id):
        return DeadLetter("plan_id_missing" if not plan_id else "plan_id_unreadable")
    content_hash = _hash(raw)
    try:
        _refuse_unreadable(unreadable)
        decision = _required(fields, "decision")
        if decision != "EXECUTE":
            reason = DECISION_PREFIX + _safe(decision)
            return Refused(plan_id, Ended.SKIPPED, reason, "only EXECUTE acts", content_hash, fields)
        return _read_plan(plan_id, decision, stream_id, fields, content_hash, unreadable=unreadable)
    except FieldError as wrong:
        reason = invalid(wrong.field)
        return Refused(plan_id, Ended.BLOCKED, reason, wrong.detail, content_hash, fields)


def _read_plan(
    plan_id: str,
    decision: str,
    stream_id: str,
    fields: dict[str, str],
    content_hash: str,
    *,
    unreadable: list[str],
) -> Plan:
    symbol = _required(fields, "symbol")
    if not _SYMBOL.fullmatch(symbol):
        raise FieldError("symbol", f"{symbol[:40]!r} is no symbol")
    side = _one_of(fields, "side", _SIDES)
    if fields.get("type") not in (None, "", "MARKET"):
        raise FieldError("type", "only MARKET is accepted")
    action = _one_of(fields, "action", _ACTIONS) if fields.get("action") else None
    closes = action is not None and action.close_fraction is not None
    notes: list[str] = []
    reduce_only = _reduce_only(fields, closes=closes, notes=notes)
    quantity = _quantity(fields, closes=closes)
    optional = _Optional(fields, unreadable)
    optional.number("price")
    optional.venue()
    written_ms, timestamp_ms = stream_ms(stream_id), optional.timestamp_ms()
    return Plan(
        plan_id=plan_id,
        decision=decision,
        symbol=symbol,
        side=side,
        quantity=quantity,
        reduce_only=reduce_only,
        stream_id=stream_id,
        issued_at_ms=written_ms if timestamp_ms is None else min(written_ms, timestamp_ms),
        content_hash=content_hash,
        action=action,
        position_side=optional.position_side(),
        leverage=optional.leverage(),
        source=fields.get("source", ""),
        confidence=optional.number("confidence"),
        kill_score=optional.number("kill_score"),
        carried=fields,
        malformed=tuple(optional.malformed),
        notes=tuple(notes),
    )


class _Optional:
    """Reads optional fields; one that is malformed is remembered, not raised (SPEC 3)."""

    def __init__(self, fields: Mapping[str, str], unreadable: list[str]) -> None:
        self._fields = fields
        self.malformed = [_safe(name) for name in unreadable if name != "reduceOnly"]

    def _spoil(self, name: str) -> None:
        if name not in self.malformed:
            self.malformed.append(name)

    def number(self, name: str) -> Decimal | None:
        text = self._fields.get(name)
        if not text:
            return None
        if not _DECIMAL.fullmatch(text):
            self._spoil(name)
            return None
        return Decimal(text)

    def leverage(self) -> int | None:
        number = self.number("leverage")
        if number is None:
            return None
        if number < 1 or number != number.to_integral_value():
            self._spoil("leverage")
            return None
        return int(number)

    def timestamp_ms(self) -> int | None:
        text = self._fields.get("timestamp")
        if not text:
            return None
        try:
            return read_ms(text)
        except ValueError:
            self._spoil("timestamp")
            return None

    def position_side(self) -> PositionSide | None:
        text = self._fields.get("positionSide")
        if not text:
            return None
        try:
            return PositionSide(text)
        except ValueError:
            self._spoil("positionSide")
            return None

    def venue(self) -> None:
        """Check that a named venue is this engine's."""
        given = self._fields.get("venue", "")
        if given and re.sub(r"[^a-z]", "", given.lower()) not in VENUE_NAMES:
            self._spoil("venue")


def _decode(raw: Mapping[bytes, bytes]) -> tuple[dict[str, str], list[str]]:
    """Return the fields as text, and the names of those that are no text of ordinary length."""
    if len(raw) <= FIELDS_MAX and max(map(len, raw), default=0) <= NAME_LENGTH_MAX:
        try:
            fields = {key.decode(): value.decode() for key, value in raw.items()}
        except UnicodeDecodeError:
            return _decode_one_by_one(raw)
        if max(map(len, fields.values()), default=0) <= VALUE_LENGTH_MAX:
            return fields, []
    return _decode_one_by_one(raw)


def _decode_one_by_one(raw: Mapping[bytes, bytes]) -> tuple[dict[str, str], list[str]]:
    fields: dict[str, str] = {}
    unreadable = ["fields"] if len(raw) > FIELDS_MAX else []
    for key, value in _bounded(raw).items():
        name = key.decode("utf-8", "replace")[:NAME_LENGTH_MAX]
        try:
            fields[name] = value.decode("utf-8")
        except UnicodeDecodeError:
            fields[name] = value[:VALUE_LENGTH_MAX].decode("utf-8", "replace")
            unreadable.append(name)
        if len(fields[name]) > VALUE_LENGTH_MAX or len(key) > NAME_LENGTH_MAX:
            fields[name] = fields[name][:VALUE_LENGTH_MAX]
            unreadable.append(name)
    return fields, unreadable


def _bounded(raw: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """Return the first fields, and those with a meaning wherever they stand."""
    if len(raw) <= FIELDS_MAX:
        return raw
    meant = (name.encode() for name in (*DECISIVE, *OPTIONAL, "price", "venue"))
    first = dict(islice(raw.items(), FIELDS_MAX))
    return first | {key: raw[key] for key in meant if key in raw}


def _refuse_unreadable(unreadable: list[str]) -> None:
    """Refuse a plan for a field that it cannot do without; the others are judged by the effect."""
    for name in unreadable:
        if name in DECISIVE:
            raise FieldError(name, f"not UTF-8, or over {VALUE_LENGTH_MAX} characters")


def _is_plan_id(plan_id: str) -> bool:
    return 0 < len(plan_id) <= PLAN_ID_LENGTH_MAX and plan_id.isprintable()


def _hash(raw: Mapping[bytes, bytes]) -> str:
    measured: list[bytes] = []
    for key in sorted(raw):
        value = raw[key]
        measured += (_length(len(key)), key, _length(len(value)), value)
    return hashlib.sha256(b"".join(measured)).hexdigest()[:32]


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text)[:64] or "empty"


def _required(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not value:
        raise FieldError(name, "required, and absent or empty")
    return value


def _one_of(fields: Mapping[str, str], name: str, allowed: Mapping[str, T]) -> T:
    value = _required(fields, name)
    found = allowed.get(value)
    if found is None:
        raise FieldError(name, f"{value[:40]!r} is none of {', '.join(allowed)}")
    return found


def readable_quantity(fields: Mapping[str, str]) -> Decimal | None:
    """Return the quantity that a refused entry gives, whether or not it would do; None for no number."""
    text = fields.get("qty", "")
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def readable_reduce_only(fields: Mapping[str, str]) -> bool | None:
    """Return what a refused entry says, or its close action implies; None where neither can be read."""
    with suppress(ValueError):
        if Action(fields.get("action", "")).close_fraction is not None:
            return True
    text = fields.get("reduceOnly", "").lower()
    return text in TRUE_WORDS if text in TRUE_WORDS | FALSE_WORDS else None


def _reduce_only(fields: Mapping[str, str], *, closes: bool, notes: list[str]) -> bool:
    text = fields.get("reduceOnly", "").lower()
    if closes:
        if text and text not in TRUE_WORDS:
            notes.append("reduce_only_implied_by_action")
        return True
    if text and text not in TRUE_WORDS | FALSE_WORDS:
        raise FieldError("reduceOnly", f"{text[:40]!r} is none of true, false, 1, 0, yes, no")
    if not text:
        raise FieldError("reduceOnly", "required without a close action; it is never assumed false")
    return text in TRUE_WORDS


def _quantity(fields: Mapping[str, str], *, closes: bool) -> Decimal:
    text = _required(fields, "qty")
    if not _DECIMAL.fullmatch(text):
        raise FieldError("qty", f"{text[:40]!r} is no decimal number without exponent")
    quantity = Decimal(text)
    if quantity < 0 or (quantity == 0 and not closes):
        raise FieldError("qty", "must be above 0; only a close action may say 0")
    return quantity
