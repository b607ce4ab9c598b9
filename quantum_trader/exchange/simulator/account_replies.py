"""Reply bodies of accounts, positions and brackets, to the letter of BINANCE.md 8.4."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from quantum_trader.domain.trading import Leg, PositionSide
from quantum_trader.exchange.simulator.brackets import notional_cap
from quantum_trader.exchange.simulator.model import Account
from quantum_trader.exchange.simulator.replies import Body, number, plain, usdt
from quantum_trader.exchange.simulator.valuation import (
    Balances,
    LegValue,
    brackets_of,
    liquidation_price_of,
)

ZERO: Final = Decimal(0)
ADL_LOW: Final = 1


def balance_row(account: Account, totals: Balances) -> Body:
    """The USDT row of ``GET /fapi/v3/balance`` and v2."""
    return {
        "accountAlias": account.alias,
        "asset": "USDT",
        "balance": usdt(totals.wallet),
        "crossWalletBalance": usdt(totals.cross_wallet),
        "crossUnPnl": usdt(totals.cross_pnl),
        "availableBalance": usdt(totals.available),
        "maxWithdrawAmount": usdt(totals.withdrawable),
        "marginAvailable": True,
        "updateTime": account.updated_ms,
    }


def account_totals(totals: Balances) -> Body:
    """The totals at the head of ``GET /fapi/v3/account`` and v2."""
    return {
        "totalInitialMargin": usdt(totals.initial_margin),
        "totalMaintMargin": usdt(totals.maintenance),
        "totalWalletBalance": usdt(totals.wallet),
        "totalUnrealizedProfit": usdt(totals.pnl),
        "totalMarginBalance": usdt(totals.margin_balance),
        "totalPositionInitialMargin": usdt(totals.position_margin),
        "totalOpenOrderInitialMargin": usdt(totals.order_margin),
        "totalCrossWalletBalance": usdt(totals.cross_wallet),
        "totalCrossUnPnl": usdt(totals.cross_pnl),
        "availableBalance": usdt(totals.available),
        "maxWithdrawAmount": usdt(totals.withdrawable),
    }


def account_asset(account: Account, totals: Balances) -> Body:
    """The USDT row of an account reply's ``assets``."""
    return {
        "asset": "USDT",
        "walletBalance": usdt(totals.wallet),
        "unrealizedProfit": usdt(totals.pnl),
        "marginBalance": usdt(totals.margin_balance),
        "maintMargin": usdt(totals.maintenance),
        "initialMargin": usdt(totals.initial_margin),
        "positionInitialMargin": usdt(totals.position_margin),
        "openOrderInitialMargin": usdt(totals.order_margin),
        "crossWalletBalance": usdt(totals.cross_wallet),
        "crossUnPnl": usdt(totals.cross_pnl),
        "availableBalance": usdt(totals.available),
        "maxWithdrawAmount": usdt(totals.withdrawable),
        "updateTime": account.updated_ms,
    }


def account_position_v3(value: LegValue) -> Body:
    """One row of ``positions`` in ``GET /fapi/v3/account``."""
    return {
        "symbol": value.leg.symbol,
        "positionSide": value.leg.side.value,
        "positionAmt": plain(value.held.amount),
        "unrealizedProfit": usdt(value.pnl),
        "isolatedMargin": _isolated_margin(value),
        "notional": plain(value.notional),
        "isolatedWallet": usdt(value.held.isolated_wallet),
        "initialMargin": usdt(value.position_margin + value.order_margin),
        "maintMargin": usdt(value.maintenance),
        "updateTime": value.held.updated_ms,
    }


def account_position_v2(value: LegValue) -> Body:
    """One row of ``positions`` in ``GET /fapi/v2/account``."""
    return {
        "symbol": value.leg.symbol,
        "initialMargin": usdt(value.position_margin + value.order_margin),
        "maintMargin": usdt(value.maintenance),
        "unrealizedProfit": usdt(value.pnl),
        "positionInitialMargin": usdt(value.position_margin),
        "openOrderInitialMargin": usdt(value.order_margin),
        "leverage": str(value.leverage),
        "isolated": value.isolated,
        "entryPrice": plain(value.held.entry),
        "breakEvenPrice": plain(break_even(value)),
        "maxNotional": _cap(value),
        "bidNotional": plain(value.bid_notional),
        "askNotional": plain(value.ask_notional),
        "positionSide": value.leg.side.value,
        "positionAmt": plain(value.held.amount),
        "notional": plain(value.notional),
        "isolatedWallet": usdt(value.held.isolated_wallet),
        "updateTime": value.held.updated_ms,
    }


def position_risk_v3(value: LegValue, totals: Balances) -> Body:
    """One row of ``GET /fapi/v3/positionRisk``."""
    return {
        "symbol": value.leg.symbol,
        "positionSide": value.leg.side.value,
        "positionAmt": plain(value.held.amount),
        "entryPrice": plain(value.held.entry),
        "breakEvenPrice": plain(break_even(value)),
        "markPrice": usdt(value.mark),
        "unRealizedProfit": usdt(value.pnl),
        "liquidationPrice": usdt(liquidation_price_of(value, totals)),
        "isolatedMargin": _isolated_margin(value),
        "notional": plain(value.notional),
        "marginAsset": "USDT",
        "isolatedWallet": usdt(value.held.isolated_wallet),
        "initialMargin": usdt(value.position_margin + value.order_margin),
        "maintMargin": usdt(value.maintenance),
        "positionInitialMargin": usdt(value.position_margin),
        "openOrderInitialMargin": usdt(value.order_margin),
        "adl": ADL_LOW if value.held.amount else 0,
        "bidNotional": plain(value.bid_notional),
        "askNotional": plain(value.ask_notional),
        "updateTime": value.held.updated_ms,
    }


def position_risk_v2(value: LegValue, totals: Balances) -> Body:
    """One row of ``GET /fapi/v2/positionRisk``."""
    return {
        "symbol": value.leg.symbol,
        "positionAmt": plain(value.held.amount),
        "entryPrice": plain(value.held.entry),
        "breakEvenPrice": plain(break_even(value)),
        "markPrice": usdt(value.mark),
        "unRealizedProfit": usdt(value.pnl),
        "liquidationPrice": usdt(liquidation_price_of(value, totals)),
        "leverage": str(value.leverage),
        "maxNotionalValue": _cap(value),
        "marginType": "isolated" if value.isolated else "cross",
        "isolatedMargin": _isolated_margin(value),
        "isAutoAddMargin": "false",
        "positionSide": value.leg.side.value,
        "notional": plain(value.notional),
        "isolatedWallet": usdt(value.held.isolated_wallet),
        "updateTime": value.held.updated_ms,
    }


def break_even(value: LegValue) -> Decimal:
    """Price at which the position has earned back the fees that were paid to build it."""
    held = value.held
    return held.entry if held.amount == 0 else (held.entry + held.fees / held.amount).normalize()


def bracket_rows(symbol: str) -> Body:
    """The object of ``GET /fapi/v1/leverageBracket``: JSON numbers, as on the wire."""
    return {
        "symbol": symbol,
        "notionalCoef": 1.0,
        "brackets": [
            {
                "bracket": row.number,
                "initialLeverage": row.leverage,
                "notionalCap": int(row.cap),
                "notionalFloor": int(row.floor),
                "maintMarginRatio": float(row.rate),
                "cum": number(row.cum),
            }
            for row in brackets_of(symbol)
        ],
    }


def all_legs(symbols: list[str], *, hedge_mode: bool) -> list[Leg]:
    """Every leg that a v2 reply lists: BOTH of each symbol, or LONG and SHORT in hedge mode."""
    sides = (PositionSide.LONG, PositionSide.SHORT) if hedge_mode else (PositionSide.BOTH,)
    return [Leg(symbol, side) for symbol in symbols for side in sides]


def _isolated_margin(value: LegValue) -> str:
    return usdt(value.held.isolated_wallet + value.pnl if value.isolated else ZERO)


def _cap(value: LegValue) -> str:
    return plain(notional_cap(brackets_of(value.leg.symbol), value.leverage))
