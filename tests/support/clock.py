"""A clock moved by hand: sleeping lets its time pass at once."""

from __future__ import annotations

import asyncio


class HandClock:
    """Wall and monotonic time from one number of seconds; ``slept_s`` keeps every sleep."""

    def __init__(self, time_s: float = 1_795_000_000.0) -> None:
        self.time_s = time_s
        self.slept_s: list[float] = []

    def now_ms(self) -> int:
        """Return the wall time, ms."""
        return round(self.time_s * 1000)

    def monotonic_s(self) -> float:
        """Return the monotonic time, seconds."""
        return self.time_s

    async def sleep(self, duration_s: float) -> None:
        """Let ``duration_s`` pass and other tasks run."""
        self.slept_s.append(duration_s)
        self.time_s += duration_s
        await asyncio.sleep(0)
