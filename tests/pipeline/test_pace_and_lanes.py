"""Exits wait for their turn and are never denied; a symbol has one plan at a time."""

import asyncio

import pytest
from support.clock import HandClock

from quantum_trader.pipeline.lanes import LaneTaken, SymbolLanes
from quantum_trader.pipeline.pace import ExitPace


async def test_as_many_exits_as_fit_into_a_minute_go_at_once() -> None:
    clock = HandClock()
    pace = ExitPace(3, clock)
    assert [await pace.take_turn() for _ in range(3)] == [False, False, False]
    assert clock.slept_s == []


async def test_a_further_exit_waits_until_the_first_is_a_minute_old() -> None:
    clock = HandClock(0)
    pace = ExitPace(2, clock)
    await pace.take_turn()
    clock.time_s += 20
    await pace.take_turn()
    assert await pace.take_turn()
    assert clock.time_s == 60
    assert await pace.take_turn()
    assert clock.time_s == 80


async def test_no_minute_holds_more_exits_than_allowed_however_many_wait_together() -> None:
    clock = HandClock(0)
    pace = ExitPace(5, clock)
    turns: list[float] = []

    async def one_exit() -> None:
        await pace.take_turn()
        turns.append(clock.time_s)

    await asyncio.gather(*(one_exit() for _ in range(23)))
    assert len(turns) == 23
    for start in turns:
        assert sum(start <= turn < start + 60 for turn in turns) <= 5


async def test_plans_of_one_symbol_go_one_after_another_and_first_come_first_served() -> None:
    lanes = SymbolLanes()
    seen: list[str] = []

    async def plan(name: str) -> None:
        async with lanes.hold("SOLUSDT"):
            seen.append(f"{name} in")
            await asyncio.sleep(0)
            seen.append(f"{name} out")

    await asyncio.gather(plan("a"), plan("b"), plan("c"))
    assert seen == ["a in", "a out", "b in", "b out", "c in", "c out"]


async def test_symbols_do_not_wait_for_each_other() -> None:
    lanes = SymbolLanes()
    async with lanes.hold("SOLUSDT"), lanes.hold("BTCUSDT"):
        assert lanes.is_busy("SOLUSDT")
        assert lanes.is_busy("BTCUSDT")
    assert not lanes.is_busy("SOLUSDT")


async def test_a_lane_given_up_early_lets_the_next_plan_on_and_is_not_given_up_twice() -> None:
    lanes = SymbolLanes()
    async with lanes.hold("SOLUSDT") as lane:
        lane.release()
        async with lanes.hold("SOLUSDT"):
            lane.release()
            assert lanes.is_busy("SOLUSDT")
    assert not lanes.is_busy("SOLUSDT")


async def test_a_lane_given_up_is_taken_again_behind_those_who_waited() -> None:
    lanes = SymbolLanes()
    seen: list[str] = []

    async def passes() -> None:
        async with lanes.hold("SOLUSDT"):
            seen.append("passed")

    async with lanes.hold("SOLUSDT") as lane:
        passing = asyncio.create_task(passes())
        await asyncio.sleep(0)
        lane.release()
        await lane.take()
        seen.append("again")
        assert lanes.is_busy("SOLUSDT")
    assert seen == ["passed", "again"]
    assert not lanes.is_busy("SOLUSDT")
    await passing


async def test_a_lane_that_is_not_free_in_time_is_not_held() -> None:
    lanes = SymbolLanes()
    async with lanes.hold("SOLUSDT") as lane:
        lane.release()
        async with lanes.hold("SOLUSDT"):
            with pytest.raises(LaneTaken):
                await lane.take(0.01)
            lane.release()
            assert lanes.is_busy("SOLUSDT")


async def test_a_plan_that_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    lanes = SymbolLanes()
    async with lanes.hold("SOLUSDT"):
        waiting = asyncio.create_task(lanes.hold("SOLUSDT").__aenter__())
        await asyncio.sleep(0)
        assert lanes.waiting == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert lanes.waiting == 0
    assert lanes._locks == lanes._users == {}
