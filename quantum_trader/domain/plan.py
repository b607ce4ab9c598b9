"""A plan: an immutable request to trade one symbol (SPEC 3)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from quantum_trader.domain.trading import PositionSide


class PlanSide(StrEnum):
    """Side of a plan; CLOSE means the opposite of the live position."""

    BUY = "BUY"
    SELL = "SELL"
    CLOSE = "CLOSE"


class Action(StrEnum):
    """What a producer proposed; a close action implies reduce-only (SPEC 3)."""

    OPEN = "OPEN"
    ENTRY_PROPOSED = "ENTRY_PROPOSED"
    FULL_CLOSE_PROPOSED = "FULL_CLOSE_PROPOSED"
    PARTIAL_75 = "PARTIAL_75"
    PARTIAL_50 = "PARTIAL_50"
    PARTIAL_25 = "PARTIAL_25"

    @property
    def close_fraction(self) -> Decimal | None:
        """Share of the live position that the action closes; None for an opening action."""
        return _CLOSE_FRACTIONS.get(self)


_CLOSE_FRACTIONS = {
    Action.FULL_CLOSE_PROPOSED: Decimal(1),
    Action.PARTIAL_75: Decimal("0.75"),
    Action.PARTIAL_50: Decimal("0.5"),
    Action.PARTIAL_25: Decimal("0.25"),
}


_DECIMAL_NUMBER = "a decimal number without exponent"
_ALLOWED: Mapping[str, str] = {
    "price": _DECIMAL_NUMBER,
    "confidence": _DECIMAL_NUMBER,
    "kill_score": _DECIMAL_NUMBER,
    "leverage": "a whole number, 1 or more",
    "timestamp": "seconds, milliseconds or ISO 8601",
    "positionSide": f"one of {', '.join(PositionSide)}",
    "venue": "binance, or nothing",
}


def allowed_in(field: str) -> str:
    """Return, in words, what an optional field of a plan may say."""
    return _ALLOWED.get(field, "UTF-8 text, not too long, in not too many fields")


class Plan(Struct, frozen=True, gc=False):
    """One request as it was read from the stream, checked field by field.

    ``quantity`` in base asset, 0 where a close action stands for it. ``issued_at_ms`` is the older
    of the plan's own timestamp and its stream id (SPEC 3). ``malformed`` names optional fields
    that could not be read: they refuse an open and are ignored on an exit. ``carried`` holds all
    fields that only travel through to the result's trace.
    """

    plan_id: str
    decision: str
    symbol: str
    side: PlanSide
    quantity: Decimal
    reduce_only: bool
    stream_id: str
    issued_at_ms: int
    content_hash: str
    action: Action | None = None
    position_side: PositionSide | None = None
    leverage: int | None = None
    source: str = ""
    confidence: Decimal | None = None
    kill_score: Decimal | None = None
    carried: Mapping[str, str] | None = None
    malformed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def close_fraction(self) -> Decimal | None:
        """Share of the live position to close, where a close action names one."""
        return self.action.close_fraction if self.action is not None else None

    @property
    def says_exit(self) -> bool:
        """Whether the plan is an exit by its own words, whatever the live position is.

        SELL on LONG and BUY on SHORT only reduce (BINANCE.md 12.1): on a flat leg there is nothing to.
        """
        side, leg = self.side, self.position_side
        return (
            self.reduce_only
            or side is PlanSide.CLOSE
            or (leg is PositionSide.LONG and side is PlanSide.SELL)
            or (leg is PositionSide.SHORT and side is PlanSide.BUY)
        )

    @property
    def blind_quantity(self) -> Decimal | None:
        """What the plan asks to be closed where no position can be read, in base asset.

        None where that depends on the position: without a quantity, or for a part of it.
        """
        return self.quantity if self.quantity > 0 and self.close_fraction in (None, 1) else None

    @property
    def stream_ms(self) -> int:
        """When the plan was put on the stream, ms since the epoch, by its stream id."""
        return stream_ms(self.stream_id)


def stream_ms(stream_id: str) -> int:
    """Return the wall time in a Redis stream id such as ``1795000000000-0``, in ms."""
    return int(stream_id.partition("-")[0])
