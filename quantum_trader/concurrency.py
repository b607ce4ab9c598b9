"""Two things about tasks: reads that are shared, and endings that are certain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

RETRY_S = 0.2


class SharedRead:
    """Runs ``read`` so that all callers who asked before it began share it, its failure too.

    If each who waits tried anew, the hundredth would wait for a hundred time-outs.
    """

    def __init__(self, read: Callable[[], Awaitable[None]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._begun = 0
        self._ended = 0
        self._failure: Exception | None = None

    async def fresh(self) -> None:
        """Return once a read that began after this call has succeeded; raises what the read raises."""
        begun_before = self._begun
        async with self._lock:
            if self._ended <= begun_before:
                await self._read_once()
            elif self._failure is not None:
                raise self._failure

    async def _read_once(self) -> None:
        self._begun += 1
        this_one = self._begun
        try:
            await self._read()
        except Exception as failed:
            self._ended, self._failure = this_one, failed
            raise
        self._ended, self._failure = this_one, None


async def end_tasks(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel ``tasks`` and return when they have ended.

    A cancellation that arrives while a library is cleaning up a connection can be lost in there;
    what has not ended soon is therefore cancelled again.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=RETRY_S)
