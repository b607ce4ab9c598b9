"""What the exchange says about an order, in the shape of a reply to it and of a query (BINANCE.md 8.2)."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Decoder

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.fields import Integer, Text, number_in, typed, typed_body


class _Told(Struct, rename="camel", gc=False):
    """The fields of an order that are read, with what each must be."""

    symbol: Text
    position_side: PositionSide
    side: Side
    order_id: Integer
    client_order_id: Text
    status: OrderStatus
    orig_qty: str
    executed_qty: str
    update_time: Integer
    avg_price: str | UnsetType = UNSET
    time: Integer | UnsetType = UNSET


_BODIES = Decoder(_Told)  # several times as fast as looking the fields up in decoded JSON


def order_state(endpoint: str, content: Any) -> OrderState:
    """Read one order from decoded JSON. Raises ``ReplyUnreadable`` naming the field.

    ``avgPrice`` and ``time`` are missing in replies to an order since 2026-06-30; an average price
    of 0 means that nothing was filled, and becomes None.
    """
    return _state(endpoint, typed(endpoint, content, _Told))


def order_state_in(endpoint: str, body: bytes) -> OrderState:
    """Read one order from the body of a reply; otherwise as ``order_state``."""
    return _state(endpoint, typed_body(endpoint, body, _BODIES))


def _state(endpoint: str, told: _Told) -> OrderState:
    price = told.avg_price
    return OrderState(
        leg=Leg(told.symbol, told.position_side),
        side=told.side,
        order_id=told.order_id,
        client_order_id=told.client_order_id,
        status=told.status,
        quantity=number_in(endpoint, "origQty", told.orig_qty),
        executed_quantity=number_in(endpoint, "executedQty", told.executed_qty),
        avg_price=None if price is UNSET else number_in(endpoint, "avgPrice", price) or None,
        update_time_ms=told.update_time,
        created_ms=None if told.time is UNSET else told.time,
    )
