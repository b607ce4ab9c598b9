"""A size is held against BSC only where trades and position fit together: a FAIL takes its authority away."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from support.cases import NOW_MS, leg

from quantum_trader.bsc.opened import TRADES_LAG_MS
from quantum_trader.bsc.order_history import exit_only
from quantum_trader.domain.order import AccountTrade, OrderState, OrderStatus
from quantum_trader.domain.trading import QuantityLimits, Side
from quantum_trader.exchange.margin_reads import MarginPosition, PastOrder

ZERO = Decimal(0)
CLOSED_MS = NOW_MS - TRADES_LAG_MS - 10_000


def held(amount: int, update_time_ms: int) -> MarginPosition:
    return MarginPosition(leg(), Decimal(amount), Decimal(100), ZERO, ZERO, ZERO, False, update_time_ms)


def trade(number: int, side: Side, quantity: int, time_ms: int) -> AccountTrade:
    return AccountTrade(leg(), side, number, number, Decimal(quantity), Decimal(100), ZERO, time_ms)


class Account:
    """BSC closed 40 of what its owner then holds; each read may say something else."""

    def __init__(self, positions: Sequence[Sequence[MarginPosition]], trades: Sequence[AccountTrade]) -> None:
        self._positions, self._trades = list(positions), trades

    async def orders(self, since_ms: int, until_ms: int) -> list[PastOrder]:
        forty, at_ms = Decimal(40), CLOSED_MS
        state = OrderState(
            leg(), Side.SELL, 7, "bsc-x-1", OrderStatus.FILLED, forty, forty, Decimal(100), at_ms, at_ms
        )
        return [PastOrder(state, "MARKET", True, at_ms)]

    async def trades(self, symbol: str, since_ms: int) -> Sequence[AccountTrade]:
        return self._trades

    async def positions(self) -> Sequence[MarginPosition]:
        return self._positions.pop(0)

    async def market_quantity(self, symbol: str) -> QuantityLimits:
        return QuantityLimits(Decimal(1), Decimal(10_000), Decimal(1))


LEFT = [held(60, CLOSED_MS)]
OWN = trade(7, Side.SELL, 40, CLOSED_MS)


@pytest.mark.parametrize(
    ("positions", "trades", "verdict"),
    [
        ([LEFT, LEFT], [OWN], "FAIL"),  # 100 were held: 40 are no full close
        ([[], []], [OWN], "PASS"),
        ([LEFT, LEFT], [], "INCONCLUSIVE"),  # the trades lag behind: they lack its own fill
        ([[], LEFT], [OWN], "INCONCLUSIVE"),  # opened while the trades were read
        ([[held(60, NOW_MS - 5_000)]] * 2, [OWN], "INCONCLUSIVE"),  # a trade of late is not listed yet
        (
            [[held(60, NOW_MS - 5_000)]] * 2,
            [OWN, trade(8, Side.BUY, 60, NOW_MS - 5_000)],
            "PASS",
        ),
        ([[], []], [OWN, trade(8, Side.BUY, 60, NOW_MS - 5_000)], "INCONCLUSIVE"),  # its close is not listed
        (
            [[], []],
            [OWN, trade(8, Side.SELL, 60, NOW_MS - 5_000)],
            "FAIL",
        ),  # somebody closed what it had left
        ([LEFT, LEFT], [trade(6, Side.BUY, 60, CLOSED_MS - 8_000), OWN], "PASS"),  # added since it looked
        ([LEFT, LEFT], [trade(6, Side.BUY, 60, CLOSED_MS - 40_000), OWN], "FAIL"),
    ],
)
async def test_what_does_not_fit_together_is_inconclusive(
    positions: Any, trades: list[AccountTrade], verdict: str
) -> None:
    finding = await exit_only(Account(positions, trades), CLOSED_MS - 1_000, NOW_MS)  # type: ignore[arg-type]
    assert finding.verdict.value == verdict, finding.found
