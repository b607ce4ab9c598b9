"""How late the event loop is: a blocking call anywhere in the engine shows here (INC-91)."""

from __future__ import annotations

from collections import deque

from quantum_trader.domain.clock import Clock

EVERY_S = 0.25
KEPT = 40  # ten seconds


class LoopLag:
    """Sleeps, and measures how much longer than asked it took."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lags_s: deque[float] = deque(maxlen=KEPT)
        self.longest_ever_s = 0.0

    @property
    def longest_s(self) -> float:
        """The longest lag of the last ten seconds, in seconds."""
        return max(self._lags_s, default=0.0)

    async def run(self) -> None:
        """Measure for ever."""
        while True:
            asked_s = self._clock.monotonic_s()
            await self._clock.sleep(EVERY_S)
            self.note(self._clock.monotonic_s() - asked_s - EVERY_S)

    def note(self, lag_s: float) -> None:
        """Take one measurement in."""
        self._lags_s.append(max(0.0, lag_s))
        self.longest_ever_s = max(self.longest_ever_s, lag_s)
