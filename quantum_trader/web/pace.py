"""How many requests are taken in a minute."""

from __future__ import annotations

import math
from collections import deque

from quantum_trader.domain.clock import Clock

WINDOW_S = 60.0


class Pace:
    """A sliding window of a minute; holds as many moments as it lets pass."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken_s: deque[float] = deque()

    def wait_s(self, per_min: int) -> int:
        """Take one of ``per_min``; return 0, or whole seconds until one is free again."""
        now_s = self._clock.monotonic_s()
        while self._taken_s and self._taken_s[0] <= now_s - WINDOW_S:
            self._taken_s.popleft()
        if len(self._taken_s) < per_min:
            self._taken_s.append(now_s)
            return 0
        return math.ceil(self._taken_s[len(self._taken_s) - per_min] + WINDOW_S - now_s)
