"""When opens were claimed: ascending times, of which the old ones are dropped as they are asked for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

DROP_AT = 64  # dropping one by one would move the whole list each time


class ClaimTimes:
    """Wall times in ms."""

    def __init__(self) -> None:
        self._times_ms: list[int] = []

    def add(self, claimed_ms: int) -> None:
        """Record a claim; clocks may step back, so it need not be the newest."""
        insort(self._times_ms, claimed_ms)

    def remove(self, claimed_ms: int) -> None:
        """Forget one claim of that time, if there is one."""
        place = bisect_left(self._times_ms, claimed_ms)
        if self._times_ms[place : place + 1] == [claimed_ms]:
            del self._times_ms[place]

    def after(self, start_ms: int) -> tuple[int, ...]:
        """Return the times after ``start_ms``, which never goes back: older ones are let go of."""
        old = bisect_right(self._times_ms, start_ms)
        if old >= DROP_AT or old == len(self._times_ms):
            del self._times_ms[:old]
            old = 0
        return tuple(self._times_ms[old:])
