"""When mark prices are read anew: what a read leaves out is an answer as well."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from support.cases import NOW_MS

from quantum_trader.domain.case import Terms
from quantum_trader.domain.evidence import Reading
from quantum_trader.market.live import LiveMarket
from quantum_trader.pipeline.evidence import refresh_stale


class Prices:
    """Mark prices of one symbol, and how often they were read."""

    reads = 0

    async def mark_prices(self) -> Mapping[str, Decimal]:
        self.reads += 1
        return {"XRPUSDT": Decimal(2)}


async def test_a_symbol_without_a_mark_price_does_not_have_all_of_them_read_for_each_plan() -> None:
    prices, now_ms = Prices(), [NOW_MS]
    clock: Any = SimpleNamespace(now_ms=lambda: now_ms[0])
    market = LiveMarket(prices, clock)  # type: ignore[arg-type]
    positions = Reading(None, NOW_MS, "test")
    rooms: Any = SimpleNamespace(
        clock=clock, market=market, account=SimpleNamespace(trusted_positions=positions)
    )
    rooms.account.refresh_positions = None
    for _ in range(10):
        assert await refresh_stale(rooms, Terms(frozenset()), "BTCUSD") == []
    assert prices.reads == 1
    now_ms[0] += Terms(frozenset()).mark_age_ms_max + 1
    await refresh_stale(rooms, Terms(frozenset()), "BTCUSD")
    assert prices.reads == 2
