"""The parameters of a MARKET order, from the order alone (BINANCE.md 8.2)."""

from __future__ import annotations

from decimal import Decimal

from quantum_trader.domain.order import ExitOrder, OpenOrder
from quantum_trader.domain.trading import PositionSide
from quantum_trader.exchange.reads import timing_params
from quantum_trader.exchange.rest import Params


def plain_decimal(number: Decimal) -> str:
    """Write ``number`` without exponent and without trailing zeros, exactly.

    Raises ``ValueError`` for NaN and infinities.
    """
    if not number.is_finite():
        raise ValueError(f"{number} cannot be sent as a quantity")
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def open_params(order: OpenOrder, recv_window_ms: int) -> Params:
    """Return the parameters of an order that opens."""
    return (*_market_params(order), *timing_params(recv_window_ms, order.timestamp_ms))


def exit_params(order: ExitOrder, recv_window_ms: int) -> Params:
    """Return the parameters of an order that only reduces.

    One-way mode says ``reduceOnly=true``. Hedge mode takes no reduceOnly (-1106); there the side
    against the leg cannot open, which ``ExitOrder`` has made sure of.
    """
    reducing = (("reduceOnly", "true"),) if order.leg.side is PositionSide.BOTH else ()
    return (*_market_params(order), *reducing, *timing_params(recv_window_ms, order.timestamp_ms))


def _market_params(order: OpenOrder | ExitOrder) -> Params:
    return (
        ("symbol", order.leg.symbol),
        ("side", order.side),
        ("positionSide", order.leg.side),
        ("type", "MARKET"),
        ("quantity", plain_decimal(order.quantity)),
        ("newClientOrderId", order.client_order_id),
        ("newOrderRespType", "RESULT"),
    )
