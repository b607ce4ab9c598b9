"""Auto-disarm: after burst denials or broken gates nothing opens until an operator says so (SPEC 5)."""

from __future__ import annotations

from collections import deque

import structlog

from quantum_trader.config_tables import AutoDisarmTable
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.reasons import Reason
from quantum_trader.pipeline.results import Ending
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.operator import StopStore

log = structlog.get_logger()


class AutoDisarm:
    """Counts what it sees over a sliding window; missing evidence is no exception and does not count."""

    def __init__(self, store: StopStore, limits: AutoDisarmTable, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.govern(limits)

    def govern(self, limits: AutoDisarmTable) -> None:
        """Go by ``limits`` from now on; what was counted under others is forgotten."""
        self._limits = limits
        self._burst_denials = _Window(limits.burst_denials, limits.window_s)
        self._internal_errors = _Window(limits.internal_errors, limits.window_s)

    async def observe(self, ending: Ending) -> None:
        """Count one plan's end, and disarm when that was one too many."""
        if not self._limits.enabled:
            return
        try:
            await self._count(ending)
        except RedisError as failed:
            log.critical("disarm_failed", reason=ending.reason, error=str(failed), retry="with the next one")

    async def _count(self, ending: Ending) -> None:
        now_s = self._clock.monotonic_s()
        if ending.reason == Reason.BURST_LIMIT_EXCEEDED.value and self._burst_denials.add(now_s):
            await self.disarm(f"{self._limits.burst_denials} burst denials in {self._limits.window_s} s")
        for verdict in ending.decision.verdicts if ending.decision is not None else ():
            if verdict.code == Reason.GATE_ERROR and self._internal_errors.add(now_s):
                await self.disarm(f"{self._limits.internal_errors} gate errors in {self._limits.window_s} s")

    async def disarm(self, reason: str) -> None:
        """Block opens until an operator arms the engine; said once, loudly. Raises ``RedisError``."""
        if await self._store.disarm(reason, self._clock.now_ms()):
            log.critical(
                "disarmed", reason=reason, cure="`quantum-trader arm --reason …` once it is clear why"
            )


class _Window:
    """Times of the newest events, as many as are one too many."""

    def __init__(self, limit: int, window_s: int) -> None:
        self._times_s: deque[float] = deque(maxlen=limit)
        self._window_s = window_s

    def add(self, now_s: float) -> bool:
        """Count one more; whether the limit is reached within the window."""
        self._times_s.append(now_s)
        return len(self._times_s) == self._times_s.maxlen and now_s - self._times_s[0] <= self._window_s
