"""Keeps producers running beside the chain: a failing one starts again, and disturbs nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

import structlog

from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import Clock
from quantum_trader.stores.connection import RedisError

PAUSE_FIRST_S = 1.0
PAUSE_MAX_S = 30.0
WORKED_S = 60.0  # after so long without failing the pause begins small again

log = structlog.get_logger()


class Producer(Protocol):
    """Something that works for ever beside the chain."""

    @property
    def name(self) -> str:
        """What logs call it."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """What it did since the start, by kind."""
        ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class Crew:
    """Runs each producer in a task of its own."""

    def __init__(self, producers: Iterable[Producer], clock: Clock) -> None:
        self._producers = tuple(producers)
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._keep_running(one), name=one.name) for one in self._producers]

    async def stop(self) -> None:
        """End every producer."""
        await end_tasks(self._tasks)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return what each producer did since the start."""
        return {one.name: dict(one.counts) for one in self._producers}

    async def _keep_running(self, producer: Producer) -> None:
        pause_s = PAUSE_FIRST_S
        while True:
            began_s = self._clock.monotonic_s()
            try:
                await producer.run()
            except RedisError as lost:
                log.warning("producer_interrupted", producer=producer.name, error=str(lost), retry_s=pause_s)
            except Exception:
                log.exception("producer_failed", producer=producer.name, retry_s=pause_s)
            if self._clock.monotonic_s() - began_s > WORKED_S:
                pause_s = PAUSE_FIRST_S
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
