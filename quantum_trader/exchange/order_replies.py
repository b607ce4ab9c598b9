"""What the exchange says about an order, in the shape of a reply to it and of a query (BINANCE.md 8.2)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.fields import Row


def order_state(endpoint: str, content: Any) -> OrderState:
    """Read one order. Raises ``ReplyUnreadable`` naming the field.

    ``avgPrice`` and ``time`` are missing in replies to an order since 2026-06-30; an average price
    of 0 means that nothing was filled, and becomes None.
    """
    row = Row(endpoint, content)
    return OrderState(
        leg=Leg(row.text("symbol"), row.member("positionSide", PositionSide)),
        side=row.member("side", Side),
        order_id=row.integer("orderId"),
        client_order_id=row.text("clientOrderId"),
        status=row.member("status", OrderStatus),
        quantity=row.decimal("origQty"),
        executed_quantity=row.decimal("executedQty"),
        avg_price=_avg_price(row),
        update_time_ms=row.integer("updateTime"),
        created_ms=row.integer("time") if "time" in row else None,
    )


def _avg_price(row: Row) -> Decimal | None:
    return (row.decimal("avgPrice") or None) if "avgPrice" in row else None
