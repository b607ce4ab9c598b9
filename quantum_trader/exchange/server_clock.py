"""The exchange's clock: how far it is from ours, measured and kept (SPEC 7, INC-90).

It is kept against our monotonic clock, so that a step of our wall clock changes nothing; what changes
something, a machine that was suspended, shows as -1021, after which it is measured anew.

A skew is no fault: requests are signed in the exchange's time. Only a skew that cannot be measured
is: ``is_measured`` is then False, which blocks opens (``clock_skew``) and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.errors import ExchangeError

_SAMPLES = 3
_RESYNC_INTERVAL_S = 10.0
_AGE_MAX_S = 3_600.0


class _Sample(NamedTuple):
    round_trip_s: float
    ahead_ms: int
    """The exchange's time minus our monotonic time, in ms."""
    measured_at_s: float


class ServerClock:
    """Tells the exchange's wall time from ours plus a measured offset.

    ``ask_server_time_ms`` asks ``GET /fapi/v1/time`` once and raises ``ExchangeError`` when it fails.
    """

    def __init__(self, clock: Clock, ask_server_time_ms: Callable[[], Awaitable[int]]) -> None:
        self._clock = clock
        self._ask_server_time_ms = ask_server_time_ms
        self._kept: _Sample | None = None
        self._tried_at_s = float("-inf")
        self._measuring = asyncio.Lock()

    def signing_time_ms(self) -> int:
        """Milliseconds since the epoch by the exchange's clock; by ours while never measured."""
        if self._kept is None:
            return self._clock.now_ms()
        return round(self._clock.monotonic_s() * 1000) + self._kept.ahead_ms

    @property
    def offset_ms(self) -> int | None:
        """Exchange's time minus our wall time of this moment, in ms; None while it was never measured."""
        return self.signing_time_ms() - self._clock.now_ms() if self._kept is not None else None

    @property
    def age_s(self) -> float | None:
        """Seconds since the offset was measured; None while it never was."""
        return self._clock.monotonic_s() - self._kept.measured_at_s if self._kept is not None else None

    @property
    def is_measured(self) -> bool:
        """Whether an offset is known and at most an hour old."""
        age_s = self.age_s
        return age_s is not None and age_s <= _AGE_MAX_S

    async def measure(self) -> int:
        """Measure anew, keep and return the offset (ms): the best of three round trips.

        Half the round trip is taken to be the way back. Raises ``ExchangeError`` when no request
        was answered; the offset known before is then kept, with its age.
        """
        async with self._measuring:
            return await self._measure()

    async def resync(self) -> bool:
        """Measure after a -1021 or -5028; return whether signing anew makes sense.

        At most one measurement in 10 s, however many requests were refused: those that come while
        one runs, or soon after, share it. False when it failed.
        """
        async with self._measuring:
            if self._clock.monotonic_s() - self._tried_at_s >= _RESYNC_INTERVAL_S:
                self._tried_at_s = self._clock.monotonic_s()
                try:
                    await self._measure()
                except ExchangeError:
                    return False
            return self._kept is not None and self._kept.measured_at_s >= self._tried_at_s

    async def _measure(self) -> int:
        samples, failure = [], None
        for _ in range(_SAMPLES):
            try:
                samples.append(await self._sample())
            except ExchangeError as error:
                failure = error
        if not samples and failure is not None:
            raise failure
        self._kept = min(samples)
        return self.signing_time_ms() - self._clock.now_ms()

    async def _sample(self) -> _Sample:
        asked_at_s = self._clock.monotonic_s()
        server_time_ms = await self._ask_server_time_ms()
        answered_at_s = self._clock.monotonic_s()
        round_trip_s = answered_at_s - asked_at_s
        ahead_ms = server_time_ms - round((asked_at_s + round_trip_s / 2) * 1000)
        return _Sample(round_trip_s, ahead_ms, answered_at_s)
