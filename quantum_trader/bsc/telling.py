"""What is written down and told of each poll: state, authority, health, events, status (SPEC 10)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from quantum_trader.bsc import limits
from quantum_trader.bsc.events import Event, Sink
from quantum_trader.bsc.exits import Breach, Reading
from quantum_trader.bsc.health import Authority, Health, State, state_of
from quantum_trader.bsc.lifespan import ENDED, Activation, Lifespan
from quantum_trader.bsc.status import StatusFile, position_row, status_of
from quantum_trader.bsc.watch_log import WatchLog
from quantum_trader.domain.clock import Clock

DISK_TIMEOUT_S = 10.0

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Memory:
    """What outlives the process: authority, polls, and what ``bsc status`` shows."""

    lifespan: Lifespan
    polls: WatchLog
    status: StatusFile


class Teller:
    """Keeps count of how well BSC sees and what it may do, and tells it. Raises nothing."""

    def __init__(self, memory: Memory, sink: Sink, clock: Clock) -> None:
        self._memory = memory
        self._sink = sink
        self._clock = clock
        self._activation = Activation.new(clock.now_ms())
        self._authority: Authority | None = None
        self._state: State | None = None
        self._closes = True
        self._cycle = 0

    @property
    def authority(self) -> Authority:
        """What BSC may do now."""
        return self._activation.authority(self._clock.now_ms())

    async def begin(self, *, closes: bool) -> None:
        """Activate, or find the activation of long ago, and say with which limits the watch begins."""
        self._closes = closes
        await self._read_activation()
        await self._on_disk(self._memory.polls.read)
        self._authority = self.authority
        self._state = state_of(self._memory.polls.failures_in_a_row)
        days_left = self._activation.days_left(self._clock.now_ms())
        self._sink.event(
            Event.ACTIVATED,
            max_loss_pct=str(limits.MAX_LOSS_PCT),
            max_duration_h=limits.MAX_DURATION_H,
            max_margin=limits.MAX_MARGIN,
            poll_s=int(limits.POLL_S),
            lifespan_days=limits.LIFESPAN_DAYS,
            activated_at=self._activation.activated_ms,
            authority=self._authority,
            days_left=days_left,
            closes=closes,
        )
        log.info("bsc_started", authority=self._authority, days_left=days_left, closes=closes)
        if self._authority is Authority.OBSERVER:  # nothing is protected: every start says so, at once
            self._tell_authority(self._authority)
            self._sink.health(self._health(self._clock.now_ms()))

    async def tell(
        self, reading: Reading | None, breaches: Sequence[Breach], problems: Sequence[str]
    ) -> State:
        """Write one poll down and tell it; good is a poll with a reading and without problems."""
        self._cycle += 1
        now_ms = self._clock.now_ms()
        good = reading is not None and not problems
        await self._on_disk(lambda: self._memory.polls.note(now_ms, good=good))
        self._tell_state(state_of(self._memory.polls.failures_in_a_row), problems)
        await self._judge_lifespan(now_ms)
        health = self._health(now_ms)
        self._sink.health(health)
        positions = len(reading.watched) if reading is not None else 0
        self._sink.event(
            Event.HEALTH_CHECK,
            positions_checked=positions,
            cycle=self._cycle,
            state=health.state,
            authority=health.authority,
            days_left=health.days_left,
            breaches=[f"{breach.leg.key} {breach.trigger.value}" for breach in breaches],
            problems=list(problems),
        )
        await self._write_status(health, reading, breaches, problems)
        return health.state

    # -- state

    def _tell_state(self, state: State, problems: Sequence[str]) -> None:
        before, self._state = self._state, state
        if state is not State.OK:
            log.warning("bsc_poll_failed", state=state.value, problems=list(problems))
        if state is before:
            return
        if state is State.BLIND:
            last_good_ms = self._memory.polls.last_good_ms
            log.critical("bsc_blind", last_good_poll_ms=last_good_ms, cure="run `quantum-trader doctor`")
            self._sink.event(Event.BLIND, last_good_poll_ms=last_good_ms, problems=list(problems))
        elif state is State.OK and before is not None:
            log.info("bsc_sees_again", after=before.value)

    def _health(self, now_ms: int) -> Health:
        return Health(
            state=self._state or State.DEGRADED,
            authority=self._activation.authority(now_ms),
            days_left=self._activation.days_left(now_ms),
            last_good_poll_ms=self._memory.polls.last_good_ms,
            cycle=self._cycle,
        )

    # -- lifespan

    async def _judge_lifespan(self, now_ms: int) -> None:
        await self._read_activation()
        authority = self._activation.authority(now_ms)
        if authority is Authority.OBSERVER and self._activation.demoted_ms is None:
            await self._change_activation(lambda: self._memory.lifespan.demote(now_ms, ENDED))
        if authority is not self._authority:
            self._tell_authority(authority)
        self._authority = authority
        day = self._activation.warning_day(now_ms)
        if day is not None:
            days_left = self._activation.days_left(now_ms)
            log.warning(
                "bsc_lifespan_ends_soon", day=day, days_left=days_left, cure="quantum-trader bsc extend"
            )
            await self._change_activation(lambda: self._memory.lifespan.warned(now_ms, day))

    def _tell_authority(self, authority: Authority) -> None:
        if authority is Authority.OBSERVER:
            because = self._activation.demoted_because or ENDED
            log.critical(
                "bsc_demoted", because=because, cure="quantum-trader bsc extend --days N --evidence FILE"
            )
            self._sink.event(Event.DEMOTED, because=because, authority=authority)
        else:
            log.warning("bsc_reinstated", days_left=self._activation.days_left(self._clock.now_ms()))

    async def _read_activation(self) -> None:
        """Take over what is on disk; where nothing can be written there, what can be read."""
        now_ms, lifespan = self._clock.now_ms(), self._memory.lifespan
        found = await self._on_disk(lambda: lifespan.begin(now_ms))
        if found is None:
            found = await self._on_disk(lambda: lifespan.read(now_ms))
        if found is not None:
            self._activation = found

    async def _change_activation(self, change: Callable[[], Activation]) -> None:
        changed = await self._on_disk(change)
        if changed is not None:
            self._activation = changed

    # -- disk

    async def _write_status(
        self, health: Health, reading: Reading | None, breaches: Sequence[Breach], problems: Sequence[str]
    ) -> None:
        by_leg = {breach.leg: breach for breach in breaches}
        watched = reading.watched if reading is not None else ()
        rows = [position_row(each, reading, by_leg.get(each.position.leg)) for each in watched if reading]
        facts: dict[str, Any] = {"pid": os.getpid(), "closes": self._closes, "problems": list(problems)}
        status = status_of(health, rows, timestamp=self._clock.now_ms(), **facts)
        await self._on_disk(lambda: self._memory.status.write(status))

    async def _on_disk(self, work: Callable[[], T]) -> T | None:
        """Do ``work`` beside the loop; a disk that fails or hangs is told and waited for no longer."""
        try:
            async with asyncio.timeout(DISK_TIMEOUT_S):
                return await asyncio.to_thread(work)
        except OSError as failed:  # a TimeoutError is one
            log.error("bsc_disk_failed", error=failed.strerror or type(failed).__name__)  # noqa: TRY400
            return None
