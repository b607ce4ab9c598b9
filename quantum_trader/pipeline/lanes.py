"""One plan at a time on a symbol: a buy and a sell of one symbol must not race (SPEC 2, 5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class LaneTaken(Exception):
    """The symbol's lane was not free in time."""


class Lane:
    """The right to act on one symbol; may be given up before the plan ends (unknown outcome)."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._held = False

    async def take(self, wait_s: float | None = None) -> None:
        """Wait for the lane, behind all who wait for it already.

        Raises:
            LaneTaken: it was not free within ``wait_s`` seconds.
        """
        if wait_s is None:
            await self._lock.acquire()
        else:
            try:
                async with asyncio.timeout(wait_s):
                    await self._lock.acquire()
            except TimeoutError:
                raise LaneTaken from None
        self._held = True

    def release(self) -> None:
        """Let the next plan of the symbol go on; doing it twice is harmless."""
        if self._held:
            self._held = False
            self._lock.release()


class SymbolLanes:
    """First come, first served, symbol by symbol; a lane nobody uses is forgotten."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}
        self.waiting = 0

    def is_busy(self, symbol: str) -> bool:
        """Whether a plan holds the symbol's lane."""
        lock = self._locks.get(symbol)
        return lock is not None and lock.locked()

    @asynccontextmanager
    async def hold(self, symbol: str, wait_s: float | None = None) -> AsyncIterator[Lane]:
        """Wait for the symbol's lane and hold it until the block ends or the lane is released.

        Raises:
            LaneTaken: the lane was not free within ``wait_s`` seconds.
        """
        others = self._users.get(symbol, 0)
        lock = self._locks[symbol] if others else self._locks.setdefault(symbol, asyncio.Lock())
        self._users[symbol] = others + 1
        try:
            lane = Lane(lock)
            await (self._first_turn(lane, wait_s) if others else lane.take())
            try:
                yield lane
            finally:
                lane.release()
        finally:
            self._users[symbol] -= 1
            if self._users[symbol] == 0:
                del self._users[symbol], self._locks[symbol]

    async def _first_turn(self, lane: Lane, wait_s: float | None) -> None:
        self.waiting += 1
        try:
            await lane.take(wait_s)
        finally:
            self.waiting -= 1
