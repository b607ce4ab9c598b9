"""An account valued at mark prices: margins by position, and the balances that follow.

BINANCE.md 12.5 (single-asset mode). Used for replies, for the admission of orders and for
liquidation, so that all three agree by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quantum_trader.domain.trading import Leg, Side
from quantum_trader.exchange.simulator.brackets import TIERS, Bracket, bracket_of
from quantum_trader.exchange.simulator.margin import (
    initial_margin,
    liquidation_price_in,
    maintenance_margin,
    money,
    unrealized_pnl,
)
from quantum_trader.exchange.simulator.model import Account, Holding, Order
from quantum_trader.exchange.simulator.symbols import SYMBOLS

ZERO: Final = Decimal(0)
_FLAT: Final = Holding()

MarkOf = Callable[[str], Decimal]


def brackets_of(symbol: str) -> tuple[Bracket, ...]:
    """The maintenance brackets of a listed symbol."""
    return TIERS[SYMBOLS[symbol].tier]


@dataclass(frozen=True, slots=True)
class LegValue:
    """One position, or the resting orders on a flat leg, at the mark price. Money in USDT."""

    leg: Leg
    held: Holding
    leverage: int
    isolated: bool
    mark: Decimal
    notional: Decimal
    pnl: Decimal
    position_margin: Decimal
    order_margin: Decimal
    maintenance: Decimal
    bid_notional: Decimal
    ask_notional: Decimal


@dataclass(frozen=True, slots=True)
class Balances:
    """The account's totals in USDT (BINANCE.md 8.4, 12.5)."""

    wallet: Decimal
    cross_wallet: Decimal
    pnl: Decimal
    cross_pnl: Decimal
    position_margin: Decimal
    order_margin: Decimal
    maintenance: Decimal
    cross_maintenance: Decimal
    available: Decimal
    withdrawable: Decimal

    @property
    def margin_balance(self) -> Decimal:
        """Wallet plus unrealised PnL."""
        return self.wallet + self.pnl

    @property
    def initial_margin(self) -> Decimal:
        """Margin of positions and of resting orders."""
        return self.position_margin + self.order_margin


def value_legs(account: Account, mark_of: MarkOf) -> list[LegValue]:
    """Every leg with a position or resting orders, sorted by symbol and side."""
    resting: dict[Leg, list[Order]] = {}
    for order in account.open_orders.values():
        resting.setdefault(order.leg, []).append(order)
    legs = sorted({*account.positions, *resting})
    return [value_leg(account, leg, mark_of(leg.symbol), resting.get(leg, ())) for leg in legs]


def value_leg(account: Account, leg: Leg, mark: Decimal, resting: Iterable[Order]) -> LegValue:
    """One leg, flat or not, with its ``resting`` orders."""
    held = account.positions.get(leg, _FLAT)
    setting = account.setting(leg.symbol)
    notional = held.amount * mark
    bids, asks = order_notionals(resting)
    position_margin = initial_margin(notional, setting.leverage)
    exposure = max(abs(notional + bids), abs(notional - asks))
    return LegValue(
        leg=leg,
        held=held,
        leverage=setting.leverage,
        isolated=setting.isolated,
        mark=mark,
        notional=notional,
        pnl=money(unrealized_pnl(held.amount, held.entry, mark)),
        position_margin=position_margin,
        order_margin=max(ZERO, initial_margin(exposure, setting.leverage) - position_margin),
        maintenance=_maintenance(leg.symbol, notional),
        bid_notional=bids,
        ask_notional=asks,
    )


def order_notionals(resting: Iterable[Order]) -> tuple[Decimal, Decimal]:
    """Σ remaining × price of the buys and of the sells that could enlarge a position."""
    bids = asks = ZERO
    for order in resting:
        if order.only_reduces:
            continue
        if order.side is Side.BUY:
            bids += order.remaining * order.price
        else:
            asks += order.remaining * order.price
    return bids, asks


def balances(account: Account, values: Iterable[LegValue]) -> Balances:
    """Totals of an account whose legs were valued."""
    values = list(values)
    crossed = [value for value in values if not value.isolated]
    cross_wallet = account.wallet - account.isolated_wallets()
    cross_pnl = _sum(value.pnl for value in crossed)
    order_margin = _sum(value.order_margin for value in values)
    used = _sum(value.position_margin for value in crossed) + order_margin
    return Balances(
        wallet=account.wallet,
        cross_wallet=cross_wallet,
        pnl=_sum(value.pnl for value in values),
        cross_pnl=cross_pnl,
        position_margin=_sum(value.position_margin for value in values),
        order_margin=order_margin,
        maintenance=_sum(value.maintenance for value in values),
        cross_maintenance=_sum(value.maintenance for value in crossed),
        available=max(ZERO, cross_wallet + cross_pnl - used),
        withdrawable=max(ZERO, cross_wallet + min(ZERO, cross_pnl) - used),
    )


def liquidation_price_of(value: LegValue, totals: Balances) -> Decimal:
    """The mark price that liquidates the position; 0 where it is flat or none exists."""
    held = value.held
    if held.amount == 0:
        return ZERO
    brackets = brackets_of(value.leg.symbol)
    if value.isolated:
        return liquidation_price_in(held.isolated_wallet, held.amount, held.entry, brackets)
    return liquidation_price_in(
        totals.cross_wallet,
        held.amount,
        held.entry,
        brackets,
        others_maintenance=totals.cross_maintenance - value.maintenance,
        others_pnl=totals.cross_pnl - value.pnl,
    )


def _maintenance(symbol: str, notional: Decimal) -> Decimal:
    if notional == 0:
        return ZERO
    return maintenance_margin(notional, bracket_of(brackets_of(symbol), abs(notional)))


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, ZERO)
