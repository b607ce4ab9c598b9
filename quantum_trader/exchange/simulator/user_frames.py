"""Payloads of user data streams, to the letter of BINANCE.md 10.2 and of recorded frames."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.simulator.account_replies import break_even
from quantum_trader.exchange.simulator.events import AccountEvent, OrderEvent
from quantum_trader.exchange.simulator.margin import money
from quantum_trader.exchange.simulator.market import Market
from quantum_trader.exchange.simulator.model import Account, Order
from quantum_trader.exchange.simulator.replies import Body, average_price, plain, usdt
from quantum_trader.exchange.simulator.valuation import LegValue, order_notionals, value_leg

ZERO: Final = Decimal(0)
TAKES_BALANCES: Final = frozenset({"ORDER", "FUNDING_FEE", "INSURANCE_CLEAR", "MARGIN_TRANSFER"})


def trade_lite(event: OrderEvent) -> Body:
    """``TRADE_LITE`` of a fill."""
    order, trade = event.order, event.trade
    assert trade is not None  # noqa: S101 -- only fills have one
    return {
        "e": "TRADE_LITE",
        "E": event.at_ms,
        "T": event.at_ms,
        "s": order.symbol,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "m": trade.maker,
        "c": order.client_order_id,
        "S": order.side.value,
        "L": plain(trade.price),
        "l": plain(trade.quantity),
        "t": trade.trade_id,
        "i": order.order_id,
    }


def order_update(event: OrderEvent) -> Body:
    """``ORDER_TRADE_UPDATE``."""
    order, trade = event.order, event.trade
    bids, asks = _resting_notionals(event.account, order)
    body: Body = {
        "s": order.symbol,
        "c": order.client_order_id,
        "S": order.side.value,
        "o": order.type,
        "f": order.time_in_force,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "ap": plain(average_price(order)),
        "sp": plain(order.stop_price),
        "x": event.execution,
        "X": order.status.value,
        "i": order.order_id,
        "l": plain(trade.quantity) if trade else "0",
        "z": plain(order.executed),
        "L": plain(trade.price) if trade else "0",
        "n": usdt(trade.commission) if trade else "0",
        "N": "USDT",
        "T": event.at_ms,
        "t": trade.trade_id if trade else 0,
        "b": plain(bids),
        "a": plain(asks),
        "m": trade.maker if trade else False,
        "R": order.reduce_only,
        "wt": order.working_type,
        "ot": order.original_type or order.type,
        "ps": order.position_side.value,
        "cp": order.close_position,
        "rp": usdt(trade.realized_pnl) if trade and trade.realized_pnl else "0",
        "pP": order.price_protect,
        "si": 0,
        "ss": 0,
        "V": order.self_trade_prevention,
        "pm": order.price_match,
        "gtd": order.good_till_ms,
        "er": str(order.expiry_reason),
    }
    if event.execution == "AMENDMENT" and order.modify_id is not None:
        body["M"] = order.modify_id
    return {"e": "ORDER_TRADE_UPDATE", "T": event.at_ms, "E": event.at_ms, "o": body}


def _resting_notionals(account: Account, order: Order) -> tuple[Decimal, Decimal]:
    key = order.symbol, order.order_id
    resting = [other for other in account.open_on(order.symbol) if other.order_id != order.order_id]
    if not order.status.is_final and (key in account.open_orders or order.executed == 0):
        resting.append(order)
    return order_notionals(resting)


def account_update(event: AccountEvent, market: Market) -> Body:
    """``ACCOUNT_UPDATE``: the wallet where it changed, and the legs that changed."""
    account = event.account
    legs: Iterable[Leg] = event.legs
    if event.reason == "FUNDING_FEE":  # cross positions are left out (BINANCE.md 10.2)
        legs = [leg for leg in legs if account.setting(leg.symbol).isolated]
    body: Body = {
        "B": [_balance(event)] if event.reason in TAKES_BALANCES else [],
        "P": [_position(account, leg, market, event.at_ms) for leg in legs],
        "m": event.reason,
    }
    if event.reason == "FUNDING_FEE":
        body["S"] = event.legs[0].symbol
    return {"e": "ACCOUNT_UPDATE", "T": event.at_ms, "E": event.at_ms, "a": body}


def _balance(event: AccountEvent) -> Body:
    account = event.account
    return {
        "a": "USDT",
        "wb": usdt(account.wallet),
        "cw": usdt(account.wallet - account.isolated_wallets()),
        "bc": usdt(event.change) if event.change else "0",
    }


def _position(account: Account, leg: Leg, market: Market, now_ms: int) -> Body:
    value = value_leg(account, leg, market.quote(leg.symbol, now_ms).mark, ())
    held = value.held
    return {
        "s": leg.symbol,
        "pa": plain(held.amount),
        "ep": plain(held.entry),
        "cr": plain(account.realized.get(leg, ZERO)),
        "up": plain(money(value.pnl)) if held.amount else "0",
        "mt": _margin_type(value),
        "iw": usdt(held.isolated_wallet) if held.isolated_wallet else "0",
        "ps": leg.side.value,
        "ma": "USDT",
        "bep": plain(break_even(value)),
    }


def _margin_type(value: LegValue) -> str:
    return "isolated" if value.isolated else "cross"


def leverage_update(event: AccountEvent) -> Body:
    """``ACCOUNT_CONFIG_UPDATE`` of a changed leverage."""
    symbol = event.legs[0].symbol
    return {
        "e": "ACCOUNT_CONFIG_UPDATE",
        "T": event.at_ms,
        "E": event.at_ms,
        "ac": {"s": symbol, "l": event.account.setting(symbol).leverage},
    }


def listen_key_expired(key: str, now_ms: int) -> Body:
    """``listenKeyExpired``: nothing will follow until there is a new key."""
    return {"e": "listenKeyExpired", "E": now_ms, "listenKey": key}


def margin_call(account: Account, values: Iterable[LegValue], now_ms: int) -> Body:
    """``MARGIN_CALL`` about positions that are close to liquidation."""
    return {
        "e": "MARGIN_CALL",
        "E": now_ms,
        "cw": usdt(account.wallet - account.isolated_wallets()),
        "p": [
            {
                "s": value.leg.symbol,
                "ps": value.leg.side.value,
                "pa": plain(value.held.amount),
                "mt": "ISOLATED" if value.isolated else "CROSSED",
                "iw": usdt(value.held.isolated_wallet) if value.held.isolated_wallet else "0",
                "mp": usdt(value.mark),
                "up": usdt(value.pnl),
                "mm": usdt(value.maintenance),
            }
            for value in values
        ],
    }
