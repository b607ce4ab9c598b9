"""Reply bodies of orders, trades and income, to the letter of BINANCE.md 8.2 and 8.4."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from quantum_trader.domain.order import OrderStatus
from quantum_trader.domain.trading import Side
from quantum_trader.exchange.simulator.margin import money
from quantum_trader.exchange.simulator.model import Income, Order, Trade

Body = dict[str, Any]
ZERO: Final = Decimal(0)


def plain(number: Decimal) -> str:
    """A decimal in plain notation, never an exponent."""
    return f"{number:f}"


def usdt(amount: Decimal) -> str:
    """An amount with the eight decimals of account replies."""
    return f"{money(amount):f}"


def number(amount: Decimal) -> int | float:
    """A JSON number where the real venue sends one; whole ones without a point."""
    return int(amount) if amount == amount.to_integral() else float(amount)


def average_price(order: Order) -> Decimal:
    """Σ price × quantity / quantity of the order's fills; 0 without one."""
    if order.executed == 0:
        return ZERO
    return money(order.quote / order.executed).normalize()


def placed(order: Order) -> Body:
    """Reply to placing or cancelling: no avgPrice, no cumQuote since 2026-06-30."""
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": order.status.value,
        "clientOrderId": order.client_order_id,
        "price": plain(order.price),
        "origQty": plain(order.quantity),
        "executedQty": plain(order.executed),
        "cumQty": plain(order.executed),
        "timeInForce": order.time_in_force,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side.value,
        "positionSide": order.position_side.value,
        "stopPrice": plain(order.stop_price),
        "workingType": order.working_type,
        "priceProtect": order.price_protect,
        "origType": order.original_type or order.type,
        "priceMatch": order.price_match,
        "selfTradePreventionMode": order.self_trade_prevention,
        "goodTillDate": order.good_till_ms,
        "updateTime": order.updated_ms,
    }


def acknowledged(order: Order) -> Body:
    """Reply to placing with ACK: NEW and nothing filled, whatever happened since."""
    body = placed(order)
    body.update(status=OrderStatus.NEW.value, executedQty="0", cumQty="0", updateTime=order.created_ms)
    return body


def queried(order: Order) -> Body:
    """The shape of ``GET /fapi/v1/order`` and its lists."""
    body = placed(order)
    del body["cumQty"]
    body.update(
        avgPrice=plain(average_price(order)), cumQuote=plain(order.quote.normalize()), time=order.created_ms
    )
    return body


def listed(order: Order) -> Body:
    """The shape of ``GET /fapi/v1/allOrders``."""
    return {**queried(order), "cumBase": plain(order.executed), "pair": order.symbol}


def trade_row(trade: Trade) -> Body:
    """One row of ``GET /fapi/v1/userTrades``."""
    return {
        "buyer": trade.side is Side.BUY,
        "commission": usdt(trade.commission),
        "commissionAsset": "USDT",
        "id": trade.trade_id,
        "maker": trade.maker,
        "orderId": trade.order_id,
        "price": plain(trade.price),
        "qty": plain(trade.quantity),
        "quoteQty": plain(trade.quantity * trade.price),
        "baseQty": plain(trade.quantity),
        "marginAsset": "USDT",
        "realizedPnl": usdt(trade.realized_pnl),
        "side": trade.side.value,
        "positionSide": trade.position_side.value,
        "symbol": trade.symbol,
        "pair": trade.symbol,
        "time": trade.time_ms,
    }


def income_row(income: Income) -> Body:
    """One row of ``GET /fapi/v1/income``."""
    return {
        "symbol": income.symbol,
        "incomeType": income.type,
        "income": usdt(income.amount),
        "asset": "USDT",
        "info": income.type,
        "time": income.time_ms,
        "tranId": income.tran_id,
        "tradeId": income.trade_id,
    }
