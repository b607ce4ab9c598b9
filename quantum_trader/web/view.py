"""What the HTTP side may know of the engine: its memory, read where it lies. No request asks Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from quantum_trader.bsc.events import EventSink
from quantum_trader.config import Config
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.facts import BscHealth
from quantum_trader.housekeeping import Housekeeping
from quantum_trader.joining import Joined
from quantum_trader.web.bsc_report import BscReport
from quantum_trader.web.event_tail import EventTail
from quantum_trader.web.feed import DecisionFeed
from quantum_trader.web.history import History
from quantum_trader.web.latch_times import LatchTimes
from quantum_trader.web.loop_lag import LoopLag


class EngineView:
    """One engine as seen from outside; ``joined`` is None until it has an account and the lease."""

    def __init__(self, config: Callable[[], Config], clock: Clock) -> None:
        self._config = config
        self.clock = clock
        self.started_s = clock.monotonic_s()
        self.started_ms = clock.now_ms()
        self.attached_ms = self.started_ms
        self.feed = DecisionFeed(clock)
        self.events = EventTail(clock)
        self.history = History(clock)
        self.loop_lag = LoopLag(clock)
        self.latch_times = LatchTimes(clock)
        self.bsc_report = BscReport(config().state_dir)
        self.waiting_since_ms: int | None = None
        self.joined: Joined | None = None
        self.bsc_sink: EventSink | None = None
        self._housekeeping: Housekeeping | None = None

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config()

    @property
    def uptime_s(self) -> int:
        """Seconds since the engine was started."""
        return round(self.clock.monotonic_s() - self.started_s)

    @property
    def status(self) -> dict[str, Any] | None:
        """What the engine last said of itself (housekeeping.py); None before the first time."""
        return self._housekeeping.latest if self._housekeeping is not None else None

    @property
    def waiting(self) -> int:
        """Plans on the stream that nobody works on yet, as of the last status."""
        status = self.status
        return max(0, status["backlog"] - status["plans_in_flight"]) if status else 0

    @property
    def bsc(self) -> BscHealth:
        """How BSC is, by who saw the account last: the BSC in this process, or the one that wrote the key.

        The first needs neither Redis nor an engine with an account. Gates and /readyz go by the key alone.
        """
        operator = self.joined.consumer.operator if self.joined is not None else None
        written = operator.bsc if operator is not None else BscHealth(self.config.bsc_required)
        said = self.bsc_sink.last_health if self.bsc_sink is not None else None
        if said is None or (written.last_good_poll_ms or 0) > (said.last_good_poll_ms or 0):
            return written
        return BscHealth(written.required, said.state.value, said.authority.value, said.last_good_poll_ms)

    def listen_to_bsc(self, sink: EventSink) -> None:
        """From now on know what the BSC in this process says: Redis may be gone."""
        self.bsc_sink = sink

    def attach(self, joined: Joined, housekeeping: Housekeeping) -> None:
        """Show this engine from now on."""
        self.joined, self._housekeeping = joined, housekeeping
        self.attached_ms = self.clock.now_ms()

    def note_waiting(self) -> None:
        """Remember since when plans wait; called every second."""
        if self.waiting == 0:
            self.waiting_since_ms = None
        elif self.waiting_since_ms is None:
            self.waiting_since_ms = self.clock.now_ms()


VIEW: web.AppKey[EngineView] = web.AppKey("view", EngineView)
