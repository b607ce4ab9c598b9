"""One plan at a time on a symbol: a buy and a sell of one symbol must not race (SPEC 2, 5)."""

from __future__ import annotations

import asyncio
from types import TracebackType


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

    def hold(self, symbol: str, wait_s: float | None = None) -> _Holding:
        """Wait, in an ``async with``, for the symbol's lane; hold it until the block ends or it is released.

        Raises, where the block begins:
            LaneTaken: the lane was not free within ``wait_s`` seconds.
        """
        return _Holding(self, symbol, wait_s)

    def enter(self, symbol: str) -> tuple[Lane, bool]:
        """Count one more user of the symbol's lane; also return whether others are before it."""
        others = self._users.get(symbol, 0)
        self._users[symbol] = others + 1
        if not others:
            self._locks[symbol] = asyncio.Lock()
        return Lane(self._locks[symbol]), others > 0

    def leave(self, symbol: str) -> None:
        """Count one user less, and forget the lane after the last one."""
        self._users[symbol] -= 1
        if self._users[symbol] == 0:
            del self._users[symbol], self._locks[symbol]


class _Holding:
    """One block that holds a lane; written out, as a generator for it costs more than all that it does."""

    __slots__ = ("_lane", "_lanes", "_symbol", "_wait_s")

    _lane: Lane

    def __init__(self, lanes: SymbolLanes, symbol: str, wait_s: float | None) -> None:
        self._lanes = lanes
        self._symbol = symbol
        self._wait_s = wait_s

    async def __aenter__(self) -> Lane:
        self._lane, has_others = self._lanes.enter(self._symbol)
        try:
            await (self._wait() if has_others else self._lane.take())
        except BaseException:
            self._lanes.leave(self._symbol)
            raise
        return self._lane

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lane.release()
        self._lanes.leave(self._symbol)

    async def _wait(self) -> None:
        self._lanes.waiting += 1
        try:
            await self._lane.take(self._wait_s)
        finally:
            self._lanes.waiting -= 1
