"""The exits' own rate bucket: it makes an exit wait, and never denies one (SPEC 5.4)."""

from __future__ import annotations

from collections import deque

from quantum_trader.domain.clock import Clock

WINDOW_S = 60.0


class ExitPace:
    """At most ``per_minute`` exits within any minute."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._clock = clock
        self._taken_s: deque[float] = deque(maxlen=per_minute)

    def widen(self, per_minute: int) -> None:
        """Have ``per_minute`` exits fit into a minute from now on; turns taken go on counting."""
        self._taken_s = deque(self._taken_s, maxlen=per_minute)

    async def take_turn(self) -> bool:
        """Return when one more exit fits into the minute, and count it; true if it had to wait."""
        waited = False
        while len(self._taken_s) == self._taken_s.maxlen:
            wait_s = self._taken_s[0] + WINDOW_S - self._clock.monotonic_s()
            if wait_s <= 0:
                break
            waited = True
            await self._clock.sleep(wait_s)
        self._taken_s.append(self._clock.monotonic_s())
        return waited
