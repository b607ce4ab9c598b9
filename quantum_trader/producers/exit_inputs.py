"""The kill score's inputs of a symbol, with their source and age: a model's, else computed ones.

An external model may write ``quantum:harvest:inputs:<symbol>`` (docs/harvest.md). What it wrote counts
only whole, in range, signed with a source, and as long as its own time is fresh (INC-63, INC-65).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from quantum_trader.domain.evidence import Reading
from quantum_trader.domain.timestamps import read_ms
from quantum_trader.market.tendencies import Tendencies

MODEL = "model"
CANDLES_AGE_MS_MAX = 2 * 3_600_000
AHEAD_MS_MAX = 5_000
SUM_TOLERANCE = Decimal("0.01")
DIGITS_MAX = 30
PLACES = Decimal("1e-8")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is known of one symbol; ``reading`` None: nothing. ``note`` says why it is not the model's."""

    reading: Reading[Tendencies] | None
    note: str = ""

    @property
    def sigma(self) -> Decimal | None:
        """The volatility of an hour, as a ratio."""
        return self.reading.value.sigma if self.reading is not None else None

    def provenance(self, now_ms: int) -> dict[str, Any]:
        """Return source, time and age of what was used, for people to read."""
        if self.reading is None:
            return {"source": "none", "note": self.note}
        values = self.reading.value
        return {
            "source": self.reading.source,
            "read_at": self.reading.read_at_ms,
            "age_s": (now_ms - self.reading.read_at_ms) // 1000,
            "note": self.note,
            "sigma": values.sigma,
            "ts": values.ts,
            "p_trend": values.p_trend,
            "p_chop": values.p_chop,
            "p_mr": values.p_mr,
        }


class _Unusable(Exception):
    """What a model wrote cannot be used; the text says why."""


def choose(
    written: Mapping[str, str] | None,
    computed: Reading[Tendencies] | None,
    now_ms: int,
    *,
    model_age_ms_max: int,
) -> Inputs:
    """Return the model's inputs if they can be used, else the computed ones if they are fresh, else none."""
    note = ""
    if written is not None:
        try:
            return Inputs(_read_model(written, now_ms, model_age_ms_max))
        except _Unusable as why:
            note = f"model not used: {why}"
    if computed is None:
        return Inputs(None, note or "no candles")
    age_ms = now_ms - computed.read_at_ms
    if age_ms > CANDLES_AGE_MS_MAX:
        return Inputs(None, note or f"candles {age_ms // 1000} s old")
    return Inputs(computed, note)


def _read_model(written: Mapping[str, str], now_ms: int, age_ms_max: int) -> Reading[Tendencies]:
    source = written.get("source", "")
    if not source or not source.isprintable():
        raise _Unusable("no source")
    try:
        at_ms = read_ms(written.get("timestamp", ""))
    except ValueError:
        raise _Unusable("no timestamp") from None
    if at_ms - now_ms > AHEAD_MS_MAX:
        raise _Unusable("timestamp lies in the future")
    if now_ms - at_ms > age_ms_max:
        raise _Unusable(f"{(now_ms - at_ms) // 1000} s old")
    names = ("sigma", "ts", "p_trend", "p_chop", "p_mr")
    values = Tendencies(*(_ratio(written, name) for name in names))
    if abs(values.p_trend + values.p_chop + values.p_mr - 1) > SUM_TOLERANCE:
        raise _Unusable("p_trend, p_chop and p_mr do not sum up to 1")
    return Reading(values, at_ms, f"{MODEL}:{source[:64]}")


def _ratio(written: Mapping[str, str], name: str) -> Decimal:
    text = written.get(name, "")
    try:
        number = Decimal(text) if len(text) <= DIGITS_MAX else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not (number.is_finite() and 0 <= number <= 1):
        raise _Unusable(f"{name} is no number from 0 to 1")
    return number.quantize(PLACES)
