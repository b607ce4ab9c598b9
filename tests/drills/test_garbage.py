"""No full garbage collection stops the loop while plans are under way."""

from __future__ import annotations

import asyncio
import gc

from support.house import SYMBOLS, House

from quantum_trader.domain.clock import SystemClock
from quantum_trader.garbage import NEVER, QuietGarbage, collect_when_idle
from quantum_trader.housekeeping import Housekeeping

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


async def test_a_full_collection_that_was_due_is_made_in_the_next_idle_moment(running: House) -> None:
    joined = running.app._joined
    assert joined is not None
    chores = {chore.name: chore for chore in Housekeeping(running.app.config, joined, SystemClock()).chores()}
    joined.consumer._active["stands-for-a-plan"] = ""
    before = full_collections()
    collecting = asyncio.ensure_future(chores["garbage"].work())
    done, _ = await asyncio.wait({collecting}, timeout=0.2)
    assert not done
    assert full_collections() == before
    del joined.consumer._active["stands-for-a-plan"]
    await asyncio.wait_for(collecting, 10)
    assert full_collections() == before + 1
