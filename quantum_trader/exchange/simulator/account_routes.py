"""Endpoints of the account, its positions and its settings (BINANCE.md 8.4, 8.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from quantum_trader.exchange.simulator import account_replies
from quantum_trader.exchange.simulator.brackets import notional_cap
from quantum_trader.exchange.simulator.calls import Call, Route, Security, Weight
from quantum_trader.exchange.simulator.errors import missing
from quantum_trader.exchange.simulator.model import Account
from quantum_trader.exchange.simulator.parameters import boolean, integer, limit, optional_integer
from quantum_trader.exchange.simulator.replies import Body, income_row, plain
from quantum_trader.exchange.simulator.symbols import SymbolSpec
from quantum_trader.exchange.simulator.valuation import (
    Balances,
    LegValue,
    balances,
    brackets_of,
    value_leg,
    value_legs,
)

_INCOME_ROWS: Final = 100
_INCOME_ROWS_MAX: Final = 1000
_TRADE_GROUP_NONE: Final = -1


def account_v3(call: Call) -> Body:
    """``GET /fapi/v3/account``: positions only where there is one, or a resting order."""
    account, values, totals = _valued(call)
    return {
        **account_replies.account_totals(totals),
        "assets": [account_replies.account_asset(account, totals)],
        "positions": [account_replies.account_position_v3(value) for value in values],
    }


def account_v2(call: Call) -> Body:
    """``GET /fapi/v2/account``: a row for every leg there could be."""
    account, values, totals = _valued(call)
    asset = {**account_replies.account_asset(account, totals), "marginAvailable": True}
    every = _with_flat_legs(call, account, values)
    return {
        **_permissions(),
        "updateTime": account.updated_ms,
        "multiAssetsMargin": False,
        "tradeGroupId": _TRADE_GROUP_NONE,
        **account_replies.account_totals(totals),
        "assets": [asset],
        "positions": [account_replies.account_position_v2(value) for value in every],
    }


def balance(call: Call) -> list[Body]:
    """``GET /fapi/v3/balance`` and v2."""
    account, _, totals = _valued(call)
    return [account_replies.balance_row(account, totals)]


def position_risk_v3(call: Call) -> list[Body]:
    """``GET /fapi/v3/positionRisk``, of one symbol or all."""
    _, values, totals = _valued(call)
    return [account_replies.position_risk_v3(value, totals) for value in _of_symbol(call, values)]


def position_risk_v2(call: Call) -> list[Body]:
    """``GET /fapi/v2/positionRisk``: flat legs too."""
    account, values, totals = _valued(call)
    every = _with_flat_legs(call, account, values)
    return [account_replies.position_risk_v2(value, totals) for value in _of_symbol(call, every)]


def account_config(call: Call) -> Body:
    """``GET /fapi/v1/accountConfig``."""
    return {
        **_permissions(),
        "dualSidePosition": call.account.hedge_mode,
        "updateTime": 0,
        "multiAssetsMargin": False,
        "tradeGroupId": _TRADE_GROUP_NONE,
    }


def symbol_config(call: Call) -> list[Body]:
    """``GET /fapi/v1/symbolConfig``, of one symbol or all."""
    return [_symbol_config_row(call.account, spec) for spec in _specs(call)]


def leverage_bracket(call: Call) -> Body | list[Body]:
    """``GET /fapi/v1/leverageBracket``: a list, or one object for one symbol."""
    if call.params.get("symbol"):
        return account_replies.bracket_rows(call.spec().symbol)
    return [account_replies.bracket_rows(symbol) for symbol in call.venue.specs]


def set_leverage(call: Call) -> Body:
    """``POST /fapi/v1/leverage``."""
    _let_pass(call)
    symbol, leverage = call.spec().symbol, integer(call.params, "leverage")
    cap = call.venue.set_leverage(call.account, symbol, leverage, call.now_ms)
    return {"symbol": symbol, "leverage": leverage, "maxNotionalValue": plain(cap)}


def set_margin_type(call: Call) -> Body:
    """``POST /fapi/v1/marginType``."""
    _let_pass(call)
    kind = call.params["marginType"]
    if kind not in ("ISOLATED", "CROSSED"):
        raise missing("marginType")
    isolated = kind == "ISOLATED"
    call.venue.set_isolated(call.account, call.spec().symbol, call.now_ms, isolated=isolated)
    return {"code": 200, "msg": "success"}


def position_mode(call: Call) -> Body:
    """``GET /fapi/v1/positionSide/dual``."""
    return {"dualSidePosition": call.account.hedge_mode}


def set_position_mode(call: Call) -> Body:
    """``POST /fapi/v1/positionSide/dual``."""
    _let_pass(call)
    hedge = boolean(call.params, "dualSidePosition")
    call.venue.set_hedge_mode(call.account, call.now_ms, hedge=hedge)
    return {"code": 200, "msg": "success"}


def asset_mode(call: Call) -> Body:  # noqa: ARG001 -- a handler answers a call
    """``GET /fapi/v1/multiAssetsMargin``: single-asset mode only."""
    return {"multiAssetsMargin": False}


def income(call: Call) -> list[Body]:
    """``GET /fapi/v1/income``: the oldest of the window, ascending."""
    _let_pass(call)
    symbol, kind = call.params.get("symbol"), call.params.get("incomeType")
    start_ms = optional_integer(call.params, "startTime") or 0
    end_ms = optional_integer(call.params, "endTime") or call.now_ms
    rows = [
        row
        for row in call.account.incomes
        if start_ms <= row.time_ms <= end_ms
        and (not symbol or row.symbol == symbol)
        and (not kind or row.type == kind)
    ]
    count = limit(call.params, _INCOME_ROWS, _INCOME_ROWS_MAX)
    return [income_row(row) for row in (rows[:count] if start_ms else rows[-count:])]


def commission_rate(call: Call) -> Body:
    """``GET /fapi/v1/commissionRate``."""
    terms = call.venue.terms
    return {
        "symbol": call.spec().symbol,
        "makerCommissionRate": f"{terms.maker_fee:.6f}",
        "takerCommissionRate": f"{terms.taker_fee:.6f}",
        "rpiCommissionRate": f"{terms.maker_fee:.6f}",
    }


def order_rate_limits(call: Call) -> list[Body]:
    """``GET /fapi/v1/rateLimit/order``."""
    return call.limits.order_rows()


def start_listening(call: Call) -> Body:
    """``POST /fapi/v1/listenKey``: the same key while it lives."""
    return {"listenKey": call.venue.listen_keys.start(call.account, call.now_ms)}


def go_on_listening(call: Call) -> Body:
    """``PUT /fapi/v1/listenKey``; -1125 where there is none."""
    return {"listenKey": call.venue.listen_keys.extend(call.account, call.now_ms)}


def stop_listening(call: Call) -> Body:
    """``DELETE /fapi/v1/listenKey``."""
    call.venue.listen_keys.close(call.account)
    return {}


def _valued(call: Call) -> tuple[Account, list[LegValue], Balances]:
    """The caller's account at mark prices; of the past, where a fault says so."""
    _let_pass(call)
    account, stale_ms = call.account, call.distortion.stale_ms
    seen = account.seen_at(call.now_ms - stale_ms) if stale_ms else account
    values = value_legs(seen, lambda symbol: call.venue.market.quote(symbol, call.now_ms).mark)
    return seen, values, balances(seen, values)


def _with_flat_legs(call: Call, account: Account, values: list[LegValue]) -> list[LegValue]:
    known = {value.leg: value for value in values}
    market = call.venue.market
    return [
        known.get(leg) or value_leg(account, leg, market.quote(leg.symbol, call.now_ms).mark, ())
        for leg in account_replies.all_legs(list(call.venue.specs), hedge_mode=account.hedge_mode)
    ]


def _of_symbol(call: Call, values: list[LegValue]) -> list[LegValue]:
    if not call.params.get("symbol"):
        return values
    symbol = call.spec().symbol
    return [value for value in values if value.leg.symbol == symbol]


def _specs(call: Call) -> list[SymbolSpec]:
    return [call.spec()] if call.params.get("symbol") else list(call.venue.specs.values())


def _symbol_config_row(account: Account, spec: SymbolSpec) -> Body:
    setting = account.setting(spec.symbol)
    return {
        "symbol": spec.symbol,
        "marginType": "ISOLATED" if setting.isolated else "CROSSED",
        "isAutoAddMargin": False,
        "leverage": setting.leverage,
        "maxNotionalValue": plain(notional_cap(brackets_of(spec.symbol), setting.leverage)),
    }


def _permissions() -> Body:
    return {"feeTier": 0, "feeBurn": False, "canTrade": True, "canDeposit": True, "canWithdraw": True}


def _let_pass(call: Call) -> None:
    call.venue.let_pass(call.account, call.now_ms)


def _signed(handler: Callable[[Call], Any], weight: Weight, *required: str) -> Route:
    return Route(Security.SIGNED, handler, weight, required)


ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("GET", "/fapi/v3/account"): _signed(account_v3, 5),
    ("GET", "/fapi/v2/account"): _signed(account_v2, 5),
    ("GET", "/fapi/v3/balance"): _signed(balance, 5),
    ("GET", "/fapi/v2/balance"): _signed(balance, 5),
    ("GET", "/fapi/v3/positionRisk"): _signed(position_risk_v3, 5),
    ("GET", "/fapi/v2/positionRisk"): _signed(position_risk_v2, 5),
    ("GET", "/fapi/v1/accountConfig"): _signed(account_config, 5),
    ("GET", "/fapi/v1/symbolConfig"): _signed(symbol_config, 5),
    ("GET", "/fapi/v1/leverageBracket"): _signed(leverage_bracket, 1),
    ("POST", "/fapi/v1/leverage"): _signed(set_leverage, 1, "symbol", "leverage"),
    ("POST", "/fapi/v1/marginType"): _signed(set_margin_type, 1, "symbol", "marginType"),
    ("GET", "/fapi/v1/positionSide/dual"): _signed(position_mode, 30),
    ("POST", "/fapi/v1/positionSide/dual"): _signed(set_position_mode, 1, "dualSidePosition"),
    ("GET", "/fapi/v1/multiAssetsMargin"): _signed(asset_mode, 30),
    ("GET", "/fapi/v1/income"): _signed(income, 30),
    ("GET", "/fapi/v1/commissionRate"): _signed(commission_rate, 20, "symbol"),
    ("GET", "/fapi/v1/rateLimit/order"): _signed(order_rate_limits, 1),
    ("POST", "/fapi/v1/listenKey"): Route(Security.KEY, start_listening),
    ("PUT", "/fapi/v1/listenKey"): Route(Security.KEY, go_on_listening),
    ("DELETE", "/fapi/v1/listenKey"): Route(Security.KEY, stop_listening),
}
