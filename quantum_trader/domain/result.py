"""The one terminal entry about a plan on the result stream (SPEC 4)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from msgspec import Struct

from quantum_trader.domain.intention import Effect
from quantum_trader.domain.plan import PlanSide
from quantum_trader.domain.trading import ZERO


class Ended(StrEnum):
    """How a plan ended: the result's ``decision``."""

    FILLED = "FILLED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    REJECTED = "REJECTED"
    BLOCKED = "BLOCKED"
    EXPIRED = "EXPIRED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    DRY_RUN = "DRY_RUN"


class Result(Struct, frozen=True, gc=False):
    """Flat facts of a plan's end; quantities in base asset, price in quote asset, time in ms."""

    plan_id: str
    decision: Ended
    reason: str
    timestamp_ms: int
    mode: str
    symbol: str = ""
    side: str = ""
    action: str = ""
    effect: str = ""
    gate: str = ""
    error: str = ""
    reduce_only: bool | None = None
    quantity: Decimal | None = None
    filled_quantity: Decimal = ZERO
    avg_price: Decimal | None = None
    order_id: str = ""
    client_order_id: str = ""
    order_status: str = ""
    would_execute: bool = False
    source: str = ""
    trace: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        """A reason is never empty (INC-92)."""
        if not self.reason:
            raise ValueError(f"result of plan {self.plan_id!r} without a reason")

    @property
    def executed(self) -> bool:
        """Only a filled quantity is an execution (INC-11)."""
        return self.filled_quantity > 0

    @property
    def is_exit(self) -> bool:
        """Whether a position was to be reduced, by the plan's words or its effect (SPEC 1)."""
        by_effect = self.effect in (Effect.REDUCE, Effect.CLOSE)
        return self.reduce_only is True or self.side == PlanSide.CLOSE or by_effect

    def as_fields(self, trace_json: str) -> dict[str, str]:
        """Return the flat stream fields of SPEC 4, with the trace already encoded."""
        return {
            "plan_id": self.plan_id,
            "symbol": self.symbol,
            "side": self.side,
            "action": self.action,
            "effect": self.effect,
            "decision": self.decision._value_,
            "executed": _boolean(self.executed),
            "reason": self.reason,
            "gate": self.gate,
            "error": self.error,
            "reduceOnly": "" if self.reduce_only is None else _boolean(self.reduce_only),
            "qty": plain(self.quantity),
            "filled_qty": plain(self.filled_quantity),
            "avg_price": plain(self.avg_price),
            "order_id": self.order_id,
            "client_order_id": self.client_order_id,
            "order_status": self.order_status,
            "would_execute": _boolean(self.would_execute),
            "mode": self.mode,
            "source": self.source,
            "timestamp": str(self.timestamp_ms),
            "trace": trace_json,
        }


def plain(number: Decimal | None) -> str:
    """Return ``number`` without exponent and without trailing zeros; "" for None."""
    if number is None:
        return ""
    text = str(number)
    if "E" in text:  # rare, and formatting costs three times as much
        text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _boolean(value: bool) -> str:  # noqa: FBT001  # one value in, its word out
    return "true" if value else "false"
