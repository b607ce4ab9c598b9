"""What a client sends and what it gets back (SPEC 3, 4)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from quantum_trader.domain.plan import Action
from quantum_trader.domain.result import Ended, plain


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """One plan. ``quantity`` in base asset, as text or Decimal; 0 with a close action.

    ``reduce_only`` None: false for an open, true with a close action. Give a ``plan_id`` of your own
    wherever a request may be repeated: the same id never trades twice.
    """

    symbol: str
    side: Literal["BUY", "SELL", "CLOSE"]
    quantity: Decimal | str | int = 0
    reduce_only: bool | None = None
    action: Action | str | None = None
    plan_id: str = field(default_factory=lambda: f"client-{secrets.token_hex(8)}")
    leverage: int | None = None
    position_side: Literal["LONG", "SHORT"] | None = None
    confidence: Decimal | str | None = None
    kill_score: Decimal | str | None = None
    timestamp_ms: int | None = None
    source: str = "client"
    extra: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def close(cls, symbol: str, **more: Any) -> PlanRequest:
        """Return a plan that closes the whole position of ``symbol``, whichever side it is on."""
        return cls(symbol, "CLOSE", action=Action.FULL_CLOSE_PROPOSED, **more)

    def fields(self) -> dict[str, str]:
        """Return the fields of the stream entry."""
        action = Action(self.action) if self.action is not None else None
        closes = action is not None and action.close_fraction is not None
        reduce_only = closes if self.reduce_only is None else self.reduce_only
        optional = {
            "action": action,
            "leverage": self.leverage,
            "positionSide": self.position_side,
            "confidence": self.confidence,
            "kill_score": self.kill_score,
            "timestamp": self.timestamp_ms,
        }
        return {
            **self.extra,
            "plan_id": self.plan_id,
            "decision": "EXECUTE",
            "symbol": self.symbol,
            "side": self.side,
            "qty": _text(self.quantity),
            "reduceOnly": "true" if reduce_only else "false",
            "source": self.source,
            **{name: _text(value) for name, value in optional.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What became of a plan. Quantities in base asset, price in quote asset, time in ms."""

    plan_id: str
    decision: Ended
    executed: bool
    reason: str
    gate: str
    error: str
    filled_quantity: Decimal
    avg_price: Decimal | None
    order_id: str
    timestamp_ms: int
    fields: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> PlanResult:
        """Read the fields of a result; raises ``KeyError`` or ``ValueError`` if it is none."""
        return cls(
            plan_id=fields["plan_id"],
            decision=Ended(fields["decision"]),
            executed=fields["executed"] == "true",
            reason=fields["reason"],
            gate=fields["gate"],
            error=fields["error"],
            filled_quantity=Decimal(fields["filled_qty"] or "0"),
            avg_price=Decimal(fields["avg_price"]) if fields["avg_price"] else None,
            order_id=fields["order_id"],
            timestamp_ms=int(fields["timestamp"]),
            fields=dict(fields),
        )

    @property
    def trace(self) -> dict[str, Any]:
        """Every gate's verdict with its numbers, and every order sent."""
        trace: dict[str, Any] = json.loads(self.fields.get("trace") or "{}")
        return trace


def _text(value: Any) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value)
