"""A conditional order as it was asked for, checked against all but the account's money.

Like order_request.py, in the same order of steps; there is no margin check before the trigger
(BINANCE.md 8.3).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from quantum_trader.domain.trading import PositionSide, Side
from quantum_trader.exchange.simulator.algo_model import TRAILING, ZERO, AlgoOrder
from quantum_trader.exchange.simulator.errors import RefusedError, missing
from quantum_trader.exchange.simulator.market import Quote
from quantum_trader.exchange.simulator.model import Account, closes_hedge_leg
from quantum_trader.exchange.simulator.order_request import (
    CONDITIONAL_TYPES,
    TIMES_IN_FORCE,
    OrderRequest,
    check_filters,
    check_mode,
    check_status,
    client_id,
    good_till_ms_of,
    limit_price,
    words,
)
from quantum_trader.exchange.simulator.parameters import Params, boolean, decimal, required
from quantum_trader.exchange.simulator.symbols import SymbolSpec

OPEN_ALGOS_MAX: Final = 200
_CLOSING_TYPES: Final = frozenset({"STOP_MARKET", "TAKE_PROFIT_MARKET"})
_CALLBACK_MIN, _CALLBACK_MAX = Decimal("0.1"), Decimal(20)


def parse_algo(params: Params, spec: SymbolSpec, quote: Quote, account: Account, now_ms: int) -> AlgoOrder:
    """Check ``params`` of ``POST /fapi/v1/algoOrder`` and turn them into an order without an id.

    Raises ``RefusedError`` with the code of the first failing step.
    """
    side, position_side, kind = _words(params)
    closes = boolean(params, "closePosition")
    check_status(spec, params, side, position_side)
    check_mode(params, position_side, hedge_mode=account.hedge_mode)
    client_algo_id = client_id(params, "clientAlgoId", account)
    if len(account.open_algos) >= OPEN_ALGOS_MAX:
        raise RefusedError(-4045)
    _check_closing(params, kind, side, position_side, closes=closes)
    match = params.get("priceMatch") or "NONE"
    is_limit = kind in ("STOP", "TAKE_PROFIT")
    algo = AlgoOrder(
        algo_id=0,
        client_algo_id=client_algo_id,
        symbol=spec.symbol,
        side=side,
        position_side=position_side,
        type=kind,
        time_in_force=params.get("timeInForce") or "GTC",
        quantity=ZERO if closes else decimal(params, "quantity"),
        price=limit_price(params, spec, quote, side, match) if is_limit else ZERO,
        trigger_price=ZERO if kind == TRAILING else _trigger_price(params, spec),
        working_type=params.get("workingType") or "CONTRACT_PRICE",
        price_match=match,
        close_position=closes,
        price_protect=boolean(params, "priceProtect"),
        reduce_only=boolean(params, "reduceOnly"),
        activate_price=_activate_price(params, side, quote) if kind == TRAILING else ZERO,
        callback_rate=_callback_rate(params) if kind == TRAILING else ZERO,
        self_trade_prevention=params.get("selfTradePreventionMode") or "EXPIRE_MAKER",
        good_till_ms=good_till_ms_of(params, now_ms),
        created_ms=now_ms,
        updated_ms=now_ms,
    )
    _check_numbers(algo, spec, quote)
    return algo


def as_plain(algo: AlgoOrder, spec: SymbolSpec, quantity: Decimal) -> OrderRequest:
    """The plain order that the trigger makes of ``algo``; its client id is the algo's own."""
    return OrderRequest(
        spec=spec,
        side=algo.side,
        position_side=algo.position_side,
        type=algo.plain_type,
        time_in_force="GTC" if algo.is_market else algo.time_in_force,
        quantity=quantity,
        price=algo.price,
        reduce_only=algo.position_side is PositionSide.BOTH and (algo.reduce_only or algo.close_position),
        client_order_id=algo.client_algo_id,
        wants_result=True,
        price_match=algo.price_match,
        self_trade_prevention=algo.self_trade_prevention,
        good_till_ms=algo.good_till_ms,
        origin=algo,
    )


def _words(params: Params) -> tuple[Side, PositionSide, str]:
    if required(params, "algoType") != "CONDITIONAL":
        raise RefusedError(-1130, name="algoType")
    side, position_side, kind = words(params, {*TIMES_IN_FORCE, "GTE_GTC"})
    if kind not in CONDITIONAL_TYPES:
        raise RefusedError(-1116)
    if (params.get("workingType") or "CONTRACT_PRICE") not in ("CONTRACT_PRICE", "MARK_PRICE"):
        raise RefusedError(-4031)
    return side, position_side, kind


def _check_closing(
    params: Params, kind: str, side: Side, position_side: PositionSide, *, closes: bool
) -> None:
    if not closes:
        return
    enlarges = position_side is not PositionSide.BOTH and not closes_hedge_leg(position_side, side)
    if kind not in _CLOSING_TYPES or enlarges:
        raise RefusedError(-4136, type=kind)
    if params.get("quantity"):
        raise RefusedError(-4137)
    if params.get("reduceOnly"):
        raise RefusedError(-1106, name="reduceonly")


def _trigger_price(params: Params, spec: SymbolSpec) -> Decimal:
    price = decimal(params, "triggerPrice")
    if price <= 0:
        raise RefusedError(-4006)
    if price > spec.price_max:
        raise RefusedError(-4007)
    if price % spec.tick:
        raise RefusedError(-4014)
    return price


def _activate_price(params: Params, side: Side, quote: Quote) -> Decimal:
    if not params.get("activatePrice"):
        return quote.last
    price = decimal(params, "activatePrice")
    if price <= 0 or (price - quote.last) * side.sign > 0:
        raise RefusedError(-4135)
    return price


def _callback_rate(params: Params) -> Decimal:
    rate = decimal(params, "callbackRate")
    if not _CALLBACK_MIN <= rate <= _CALLBACK_MAX:
        raise missing("callbackRate")
    return rate


def _check_numbers(algo: AlgoOrder, spec: SymbolSpec, quote: Quote) -> None:
    if not algo.close_position:
        there = algo.trigger_price or quote.mark  # the filters look at prices as of the trigger
        check_filters(as_plain(algo, spec, algo.quantity), quote._replace(mark=there))
    price = quote.mark if algo.working_type == "MARK_PRICE" else quote.last
    if algo.type != TRAILING and algo.is_hit(price, price):
        raise RefusedError(-2021)
