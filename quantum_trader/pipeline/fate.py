"""What became of a plan's orders, summed up for its one result."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.result import Ended
from quantum_trader.domain.trading import ZERO


class Fate(Struct, frozen=True, gc=False):
    """How a claimed plan ended.

    ``orders`` are the accepted ones, oldest first; ``attempts`` tells every send for the trace.
    ``bytes_sent`` is False only where nothing can have left: the rate token is then given back.
    """

    ended: Ended
    reason: str
    gate: str = ""
    error: str = ""
    orders: tuple[OrderState, ...] = ()
    attempts: list[dict[str, Any]] = []
    bytes_sent: bool = True
    rejected_code: int = 0

    @property
    def filled_quantity(self) -> Decimal:
        """Σ executed quantity, in base asset."""
        return filled_quantity(self.orders)

    @property
    def avg_price(self) -> Decimal | None:
        """Average price over all fills, weighted by quantity; None without a fill."""
        if len(self.orders) == 1:  # nearly always, and exact
            only = self.orders[0]
            return only.avg_price if only.executed_quantity > 0 else None
        priced = [
            order for order in self.orders if order.avg_price is not None and order.executed_quantity > 0
        ]
        quantity = filled_quantity(priced)
        if quantity == 0:
            return None
        paid = sum((order.executed_quantity * (order.avg_price or ZERO) for order in priced), ZERO)
        return paid / quantity

    @property
    def last_order(self) -> OrderState | None:
        """The newest accepted order."""
        return self.orders[-1] if self.orders else None


def filled_quantity(orders: Sequence[OrderState]) -> Decimal:
    """Return Σ executed quantity of ``orders``, in base asset."""
    return sum([order.executed_quantity for order in orders], ZERO)


def fate_of_order(order: OrderState, attempts: list[dict[str, Any]]) -> Fate:
    """Return how a final order ended: only an executed quantity is a fill (INC-11)."""
    if order.executed_quantity == 0:
        return Fate(
            Ended.REJECTED, Reason.NO_FILL.value, error=order.status.value, orders=(order,), attempts=attempts
        )
    if order.status is OrderStatus.FILLED:
        return Fate(Ended.FILLED, Reason.FILLED.value, orders=(order,), attempts=attempts)
    return Fate(Ended.PARTIALLY_FILLED, Reason.PARTIALLY_FILLED.value, orders=(order,), attempts=attempts)


def with_former_orders(fate: Fate, former: Sequence[OrderState], attempts: list[dict[str, Any]]) -> Fate:
    """Return an exit's ``fate`` with its orders of a former life, which ``attempts`` tell of (INC-17)."""
    told = replace(fate, orders=(*former, *fate.orders), attempts=[*attempts, *fate.attempts])
    if filled_quantity(former) == 0:
        return told
    if fate.ended in (Ended.FILLED, Ended.SKIPPED):
        return replace(told, ended=Ended.FILLED, reason=Reason.FILLED.value, error="")
    return replace(told, ended=Ended.PARTIALLY_FILLED, reason=Reason.PARTIALLY_FILLED.value)
