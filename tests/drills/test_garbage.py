"""No full garbage collection stops the loop while plans are under way."""

from __future__ import annotations

import asyncio
import gc

from support.house import SYMBOLS, House

from quantum_trader.garbage import NEVER, QuietGarbage, collect_when_idle

FULL = 2


def full_collections() -> int:
    return int(gc.get_stats()[FULL]["collections"])


async def test_no_full_collection_while_trading(running: House) -> None:
    quiet = QuietGarbage()
    former = gc.get_threshold()
    quiet.start()
    try:
        before = full_collections()
        for _ in range(3):
            await asyncio.gather(*(running.open(symbol, qty="0.0001") for symbol in SYMBOLS))
        assert full_collections() == before
        assert gc.get_threshold()[FULL] == NEVER
        assert gc.get_freeze_count() > 0
    finally:
        quiet.stop()
    assert (gc.get_threshold(), gc.get_freeze_count()) == (former, 0)


def test_a_full_collection_waits_until_no_plan_is_under_way() -> None:
    before = full_collections()
    assert not collect_when_idle(lambda: 1)
    assert full_collections() == before
    assert collect_when_idle(lambda: 0)
    assert full_collections() == before + 1
