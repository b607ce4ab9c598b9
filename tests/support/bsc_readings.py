"""Readings for BSC's rules, written in few words."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from quantum_trader.bsc.exits import Reading, Watched
from quantum_trader.domain.order import AccountTrade
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.margin_reads import CrossMargin, MarginPosition


def position(
    symbol: str = "XRPUSDT",
    *,
    side: PositionSide = PositionSide.BOTH,
    amount: str = "1",
    entry: str = "100",
    pnl: str = "0",
    maintenance: str = "0",
    isolated_wallet: str = "0",
    isolated: bool | None = None,
    updated_ms: int = 0,
) -> MarginPosition:
    """One position; isolated where it has a wallet of its own."""
    return MarginPosition(
        leg=Leg(symbol, side),
        amount=Decimal(amount),
        entry_price=Decimal(entry),
        unrealized_pnl_usdt=Decimal(pnl),
        maintenance_usdt=Decimal(maintenance),
        isolated_wallet_usdt=Decimal(isolated_wallet),
        is_isolated=Decimal(isolated_wallet) != 0 if isolated is None else isolated,
        update_time_ms=updated_ms,
    )


def reading(
    positions: Sequence[MarginPosition],
    *,
    ages_ms: Sequence[int | None] | None = None,
    wallet: str = "1000000000",
    cross_pnl: str = "0",
) -> Reading:
    """What one poll saw."""
    ages = ages_ms if ages_ms is not None else [0] * len(positions)
    watched = tuple(Watched(held, age) for held, age in zip(positions, ages, strict=True))
    return Reading(watched, CrossMargin(Decimal(wallet), Decimal(cross_pnl)), 0)


def trade(
    number: int,
    signed_quantity: str,
    time_ms: int,
    *,
    side: PositionSide = PositionSide.BOTH,
    order_id: int = 0,
) -> AccountTrade:
    """One fill; a negative quantity sells."""
    quantity = Decimal(signed_quantity)
    return AccountTrade(
        leg=Leg("XRPUSDT", side),
        side=Side.BUY if quantity > 0 else Side.SELL,
        trade_id=number,
        order_id=order_id or number,
        quantity=abs(quantity),
        price=Decimal(1),
        realized_pnl=Decimal(0),
        time_ms=time_ms,
    )
