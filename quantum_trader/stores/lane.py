"""A thin lane to the server for the few commands that stand in every plan's way.

redis-py spends ten times as long on a command as the server does. The lane packs commands and
reads replies with hiredis alone, on one connection whose replies come in the order of the commands.
Everything else stays redis-py's: it opens the connection (address, TLS, AUTH, Sentinel, timeouts),
and then hands it over.

A lane repeats nothing. A connection that breaks, or a reply that does not come in time, ends every
call under way with an error: whether the server carried it out is for the caller to find out. The
next call connects anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
import redis.asyncio as redis
from redis._parsers.base import BaseParser
from redis.exceptions import BusyLoadingError, MasterDownError, ReadOnlyError
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

Word = str | bytes | int
Command = tuple[Word, ...]

_packed = cast("Callable[[Command], bytes]", hiredis.pack_command)  # its own types know one word only
CALLS_MAX = 4096
WRITTEN_TOGETHER = 8
SERVER_GONE = (ReadOnlyError, BusyLoadingError, MasterDownError)
"""Replies of a server that is none to talk to any more: another one may be, so the line is cut."""


class Batch:
    """Commands that are sent together again and again: packed once."""

    __slots__ = ("commands", "packed")

    def __init__(self, commands: tuple[Command, ...]) -> None:
        """Pack ``commands``."""
        self.commands = commands
        self.packed = b"".join([_packed(command) for command in commands])


NOTHING = Batch(())


class Lane:
    """One connection, made when first needed and again after it broke."""

    def __init__(self, pool: redis.ConnectionPool, timeout_s: float, lost: Callable[[], None]) -> None:
        """``lost`` is called whenever a connection breaks, whether or not anyone waits for a reply."""
        self._pool = pool
        self._timeout_s = timeout_s
        self._lost = lost
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, commands: tuple[Command, ...], others: Batch = NOTHING) -> list[Any]:
        """Send ``commands``, then ``others``, in one breath and return their replies.

        Errors of the server stand among them as values.

        Raises:
            RedisError: no connection, or it broke, or no reply in time. The commands may have run.
        """
        line = self._line
        if line is None or line.is_broken:
            line = await self._connected()
        return await line.ask(commands, others)

    async def close(self) -> None:
        """Cut the connection; calls under way fail. The lane can be used again."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    async def _connected(self) -> _Line:
        async with self._connecting:
            if self._line is not None and not self._line.is_broken:
                return self._line
            await self.close()
            self._line = await _open_line(self._pool, self._timeout_s, self._lost)
            return self._line


async def _open_line(pool: redis.ConnectionPool, timeout_s: float, lost: Callable[[], None]) -> _Line:
    """Let redis-py open a connection of ``pool``, in the older protocol, and take it over."""
    options = {**pool.connection_kwargs, "protocol": 2}
    connection: Any = pool.connection_class(**options)
    await connection.connect()
    return _Line(connection, timeout_s, lost)


class _Line(asyncio.Protocol):
    """A connection that was taken over: calls in, replies out, in the same order."""

    def __init__(self, connection: Any, timeout_s: float, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._connection = connection  # kept: its stream writer closes the transport when collected
        self._transport = connection._writer.transport  # noqa: SLF001 -- it has no public name
        self._transport.set_protocol(self)
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._replies = hiredis.Reader(replyError=BaseParser.parse_error)  # the classes that redis-py raises
        self._calls: deque[_Call] = deque()
        self._unwritten: list[bytes] = []
        self._unwritten_calls = 0
        self._watch: asyncio.TimerHandle | None = None
        self.is_broken = False

    async def ask(self, commands: tuple[Command, ...], others: Batch) -> list[Any]:
        if len(self._calls) >= CALLS_MAX:
            raise Disconnected(f"{CALLS_MAX} calls wait for their replies already")
        packed = [_packed(command) for command in commands]  # raises before anyone waits for a reply
        wanted = len(commands) + len(others.commands)
        call = _Call(self._loop.create_future(), wanted, self._loop.time() + self._timeout_s)
        self._calls.append(call)
        self._unwritten_calls += 1
        self._unwritten += packed
        self._unwritten.append(others.packed)
        if len(self._calls) == 1 or self._unwritten_calls == WRITTEN_TOGETHER:
            self._write()
        elif self._unwritten_calls == 1:
            self._loop.call_soon(self._write)
        if self._watch is None:
            self._watch = self._loop.call_at(call.deadline_s, self._look_for_silence)
        return await call.answered

    def _write(self) -> None:
        """Write at once what was asked without a pause: each write is a call of the system."""
        if self._unwritten:
            self._transport.write(b"".join(self._unwritten))
            self._unwritten.clear()
            self._unwritten_calls = 0

    async def close(self) -> None:
        self._end(Disconnected("the connection was closed"))
        await self._connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        self._replies.feed(data)
        try:
            while self._calls and (reply := self._replies.gets()) is not False:
                self._take(reply)
        except hiredis.ProtocolError as garbled:
            self._break(Disconnected(f"a reply cannot be read: {garbled}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(Disconnected(f"the connection broke: {exc or 'the server closed it'}"))

    def _take(self, reply: Any) -> None:
        if isinstance(reply, SERVER_GONE):
            self._break(Disconnected(f"{type(reply).__name__}: {reply}"))
            return
        call = self._calls[0]
        call.replies.append(reply)
        if len(call.replies) < call.wanted:
            return
        self._calls.popleft()
        if not call.answered.done():
            call.answered.set_result(call.replies)

    def _look_for_silence(self) -> None:
        """The oldest call's time is up, or was when it had its reply already."""
        self._watch = None
        if not self._calls:
            return
        oldest_s = self._calls[0].deadline_s
        if self._loop.time() >= oldest_s:
            self._break(TimedOut(f"no reply within {self._timeout_s} s"))
        else:
            self._watch = self._loop.call_at(oldest_s, self._look_for_silence)

    def _break(self, error: Exception) -> None:
        if not self.is_broken:
            self._lost()
        self._end(error)

    def _end(self, error: Exception) -> None:
        self.is_broken = True
        self._unwritten.clear()
        self._unwritten_calls = 0
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._transport.abort()
        calls, self._calls = self._calls, deque()
        for call in calls:
            if not call.answered.done():
                call.answered.set_exception(error)


class _Call:
    """Commands sent together, and the replies that have come so far."""

    __slots__ = ("answered", "deadline_s", "replies", "wanted")

    def __init__(self, answered: asyncio.Future[list[Any]], wanted: int, deadline_s: float) -> None:
        self.answered = answered
        self.wanted = wanted
        self.deadline_s = deadline_s
        self.replies: list[Any] = []
