"""How late the event loop wakes what sleeps: whatever blocks it shows here (INC-91).

That a loop blocked for 30 s ends the process is the guard's business (bsc/guard.py).
"""

from __future__ import annotations

from collections import deque

from quantum_trader.domain.clock import Clock

MEASURED_EVERY_S = 0.1
REMEMBERED = 100  # the last ten seconds


class LoopLag:
    """Measures again and again; remembers the newest ``REMEMBERED`` lags."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lags_ms: deque[float] = deque(maxlen=REMEMBERED)

    async def measure(self) -> None:
        """Sleep for ``MEASURED_EVERY_S`` and remember how much later than that it went on."""
        asleep_s = self._clock.monotonic_s()
        await self._clock.sleep(MEASURED_EVERY_S)
        late_s = self._clock.monotonic_s() - asleep_s - MEASURED_EVERY_S
        self._lags_ms.append(max(0.0, late_s * 1000))

    def worst_ms(self) -> float:
        """Return the largest lag of the last ten seconds, in ms; 0 before the first."""
        return max(self._lags_ms, default=0.0)
