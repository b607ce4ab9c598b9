"""The loop-lag gauge shows what blocks the loop."""

from __future__ import annotations

import asyncio
import time

from quantum_trader.domain.clock import SystemClock
from quantum_trader.loop_lag import REMEMBERED, LoopLag


async def test_inc_91_a_blocking_call_shows_in_the_gauge() -> None:
    lag = LoopLag(SystemClock())
    assert lag.worst_ms() == 0
    measuring = asyncio.create_task(lag.measure())
    await asyncio.sleep(0)
    time.sleep(0.4)  # noqa: ASYNC251  # the blocking call that is looked for
    await measuring
    assert lag.worst_ms() >= 250


async def test_it_forgets_what_is_long_ago() -> None:
    class Late:
        """A clock that wakes 50 ms late once, and in time ever after."""

        now_s, late_s = 0.0, 0.05

        def monotonic_s(self) -> float:
            return self.now_s

        async def sleep(self, duration_s: float) -> None:
            self.now_s += duration_s + self.late_s
            self.late_s = 0.0

    lag = LoopLag(Late())  # type: ignore[arg-type]
    await lag.measure()
    assert round(lag.worst_ms()) == 50
    for _ in range(REMEMBERED):
        await lag.measure()
    assert lag.worst_ms() < 1
