"""What goes on beside the plans: readings kept fresh, lease renewed, streams trimmed, status written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import structlog

from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.errors import ExchangeError, KeyRefused
from quantum_trader.pipeline.evidence import Rooms
from quantum_trader.stores.connection import RedisError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Chore:
    """Something done every ``interval_s`` seconds; failing, it is tried again at the next turn."""

    name: str
    interval_s: float
    work: Callable[[], Awaitable[None]]


class Upkeep:
    """Runs chores, each in a task of its own, and says once when one begins or ceases to fail."""

    def __init__(self, chores: Iterable[Chore], rooms: Rooms, clock: Clock) -> None:
        self._chores = tuple(chores)
        self._rooms = rooms
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin every chore with a pause of its interval."""
        self._tasks = [asyncio.create_task(self._repeat(chore), name=chore.name) for chore in self._chores]

    async def stop(self) -> None:
        """End every chore."""
        await end_tasks(self._tasks)

    async def _repeat(self, chore: Chore) -> None:
        failing = False
        while True:
            await self._clock.sleep(chore.interval_s)
            failing = await self._do(chore, failing=failing)

    async def _do(self, chore: Chore, *, failing: bool) -> bool:
        """Do the chore once; true if it failed."""
        try:
            await chore.work()
        except (ExchangeError, RedisError) as failed:
            if isinstance(failed, KeyRefused):
                self._rooms.keys.read_refused(failed)
            if not failing:
                log.warning("upkeep_failed", chore=chore.name, error=str(failed))
            return True
        except Exception:
            log.exception("upkeep_broken", chore=chore.name)
            return True
        if failing:
            log.info("upkeep_works_again", chore=chore.name)
        return False
