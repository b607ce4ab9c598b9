"""Producers are kept running: one that fails starts again, later each time, and stops nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from redis.exceptions import ConnectionError as RedisGone
from support.clock import HandClock

from quantum_trader.producers.crew import PAUSE_MAX_S, Crew


class Producer:
    """Does what it is told at each start: raises, or works for ``work_s`` and raises."""

    def __init__(self, name: str, clock: HandClock, failures: list[Exception], work_s: float = 0) -> None:
        self.name = name
        self.counts: Mapping[str, int] = {"starts": 0}
        self.failures = failures
        self.settled = asyncio.Event()
        self._clock = clock
        self._work_s = work_s

    async def run(self) -> None:
        self.counts = {"starts": self.counts["starts"] + 1}
        self._clock.time_s += self._work_s
        if self.failures:
            raise self.failures.pop(0)
        self.settled.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("kind", [RedisGone, ValueError])
async def test_a_failing_producer_starts_again_later_each_time(kind: type[Exception]) -> None:
    clock = HandClock()
    failing, steady = Producer("failing", clock, [kind("x") for _ in range(8)]), Producer("steady", clock, [])
    crew = Crew((failing, steady), clock)
    crew.start()
    await asyncio.wait_for(asyncio.gather(failing.settled.wait(), steady.settled.wait()), 20)
    await crew.stop()
    assert clock.slept_s == [1, 2, 4, 8, 16, PAUSE_MAX_S, PAUSE_MAX_S, PAUSE_MAX_S]
    assert crew.counts() == {"failing": {"starts": 9}, "steady": {"starts": 1}}


async def test_one_that_worked_for_a_while_waits_little_again() -> None:
    clock = HandClock()
    producer = Producer("long", clock, [ValueError("x")] * 3, work_s=120)
    crew = Crew((producer,), clock)
    crew.start()
    await asyncio.wait_for(producer.settled.wait(), 20)
    await crew.stop()
    assert clock.slept_s == [1, 1, 1]
