"""The one place that reads time.

Wall time (``now_ms``) dates things that others see: orders, results, evidence.
Monotonic time (``monotonic_s``) measures durations. The two are never mixed.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and sleep, so that tests can move all three."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Return after ``duration_s`` seconds of this clock."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1_000_000

    monotonic_s = staticmethod(time.monotonic)
    """Seconds on the machine's monotonic clock; asked so often that a function around it would tell."""

    async def sleep(self, duration_s: float) -> None:
        """Suspend the calling task for ``duration_s`` seconds."""
        await asyncio.sleep(duration_s)
