"""redis-py on the stand-in: its own commands and conversions, without connections.

A request is the engine's until it is sent and from when its reply arrives; what lies between
belongs to the network, which may lose either half.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import redis.asyncio as redis
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as TimedOut
from simulation.world.loop import Process, VirtualLoop
from simulation.world.redis_lua import ReplyError
from simulation.world.redis_server import RedisServer, read_options

from quantum_trader.stores.connection import COMMAND_TIMEOUT_S, Database

Commands = list[list[bytes]]
Replies = list[Any]


class RedisFault(StrEnum):
    """What may happen to one request."""

    LOST_BEFORE = "redis_lost_before"  # the connection breaks, nothing was carried out
    LOST_AFTER = "redis_lost_after"  # carried out, and the reply is lost
    SILENT_BEFORE = "redis_silent_before"  # no answer until the timeout, nothing was carried out
    SILENT_AFTER = "redis_silent_after"  # carried out, and no answer until the timeout
    CRASH_BEFORE = "crash_before_redis"  # the engine dies, nothing was carried out
    CRASH_AFTER = "crash_after_redis"  # the engine dies, and it was carried out
    PAUSE_AFTER = "pause_after_redis"  # carried out, and the machine stops before the reply is read
    SLOW = "redis_slow"

    @property
    def ends_or_stops_engine(self) -> bool:
        return self.startswith(("crash", "pause"))


PAUSED_S = 20.0  # long enough for another engine to take over and prove that an order was never placed


class RedisNetwork:
    """The way to the server; ``fault_of`` is asked about every request."""

    def __init__(
        self,
        server: RedisServer,
        loop: VirtualLoop,
        *,
        latency_s: Callable[[], float],
        fault_of: Callable[[Process, Commands], RedisFault | None],
    ) -> None:
        self.server = server
        self.is_down = False
        self._loop = loop
        self._latency_s = latency_s
        self._fault_of = fault_of
        self._readers: list[_Reader] = []
        self._epoch = 0
        self.databases: list[Database] = []
        server.on_append.append(self._wake)

    def cut(self) -> None:
        """Break every connection: all that is under way is lost, and readers that wait are gone."""
        self._epoch += 1
        for database in self.databases:
            database.connections_lost += 1
        for reader in self._readers:
            reader.fail()
        self._readers.clear()

    def forget(self) -> None:
        """Let go of everybody who waits."""
        self._readers.clear()

    async def ask(self, process: Process, commands: Commands) -> Replies:
        """Send ``commands`` as one request; raises what redis-py would."""
        reply: asyncio.Future[Replies] = self._loop.create_future()
        fault = self._fault_of(process, commands)
        delay_s = self._latency_s()
        later = self._loop.later
        if fault is RedisFault.CRASH_BEFORE:
            process.kill()
        elif fault is RedisFault.LOST_BEFORE or self.is_down:
            later(delay_s, _fail, reply, Disconnected("connection lost"))
        elif fault is RedisFault.SILENT_BEFORE:
            later(COMMAND_TIMEOUT_S, _fail, reply, TimedOut("Timeout reading from server"))
        else:
            delay_s *= 100 if fault is RedisFault.SLOW else 1
            later(delay_s, self._carry_out, process, commands, reply, fault, self._epoch)
        return await reply

    def _carry_out(
        self,
        process: Process,
        commands: Commands,
        reply: asyncio.Future[Replies],
        fault: RedisFault | None,
        epoch: int,
    ) -> None:
        if self.is_down or epoch != self._epoch:
            _fail(reply, Disconnected("connection lost"))
            return
        blocked_ms = _blocks_for(commands[0])
        if blocked_ms is not None and not process.is_dead and self._nothing_new(commands[0]):
            self._readers.append(_Reader(self, process, commands, reply, blocked_ms))
            return
        replies = self.run(commands)
        if fault is RedisFault.CRASH_AFTER:
            process.kill()
        elif fault is RedisFault.LOST_AFTER:
            _fail(reply, Disconnected("connection lost"))
        elif fault is RedisFault.SILENT_AFTER:
            self._loop.later(COMMAND_TIMEOUT_S, _fail, reply, TimedOut("Timeout reading from server"))
        else:
            if fault is RedisFault.PAUSE_AFTER and not process.is_paused:
                process.pause()
                self._loop.later(PAUSED_S, process.resume)
            self._loop.later(self._latency_s(), _answer, reply, replies)

    def run(self, commands: Commands) -> Replies:
        """Carry out ``commands`` now; error replies are values."""
        replies: Replies = []
        for command in commands:
            try:
                replies.append(self.server.execute(command))
            except ReplyError as refused:
                replies.append(_as_exception(str(refused)))
        return replies

    def _nothing_new(self, command: list[bytes]) -> bool:
        name, _, key, start, _, _ = read_options(tuple(command[1:]))
        try:
            stream, group = self.server.group(key, name)
        except ReplyError:
            return False
        return start == b">" and stream.last <= group.last

    def _wake(self, key: bytes) -> None:
        for reader in [one for one in self._readers if one.key == key]:
            self._readers.remove(reader)
            self._loop.later(0, reader.serve)

    def give_up(self, reader: _Reader) -> None:
        """A reader has waited long enough."""
        if reader in self._readers:
            self._readers.remove(reader)
            reader.serve()

    def answer_later(self, reply: asyncio.Future[Replies], replies: Replies) -> None:
        """Send a reply on its way."""
        self._loop.later(self._latency_s(), _answer, reply, replies)


class _Reader:
    """A blocking read that waits for an entry."""

    def __init__(
        self,
        network: RedisNetwork,
        process: Process,
        commands: Commands,
        reply: asyncio.Future[Replies],
        blocked_ms: int,
    ) -> None:
        self._network, self._process, self._commands, self._reply = network, process, commands, reply
        self.key = read_options(tuple(commands[0][1:]))[2]
        network._loop.later(blocked_ms / 1000, network.give_up, self)

    def serve(self) -> None:
        if self._process.is_dead:  # its connection is closed: nothing is delivered to it
            return
        self._network.answer_later(self._reply, self._network.run(self._commands))

    def fail(self) -> None:
        _fail(self._reply, Disconnected("connection lost"))


class SimulatedRedis(redis.Redis):
    """redis-py's client with the network taken out from below."""

    def over(self, network: RedisNetwork, process: Process) -> SimulatedRedis:
        """Send through ``network`` as ``process``."""
        self.network, self.process = network, process
        return self

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        replies = await self.network.ask(self.process, [_packed(args)])
        return self.converted(replies[0], args[0], options)

    def converted(self, reply: Any, command: str, options: dict[str, Any]) -> Any:
        """Return what redis-py makes of a raw reply."""
        if isinstance(reply, Exception):
            raise reply
        options.pop("keys", None)
        callback = self.response_callbacks.get(command)
        return callback(reply, **options) if callback is not None else reply

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Any:
        return _Pipeline(self)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """There is nothing to close."""


class _Pipeline(redis.client.Pipeline):
    """Collects commands and sends them as one request."""

    def __init__(self, client: SimulatedRedis) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, True, None)
        self._client = client

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack, self.command_stack = self.command_stack, []
        if not stack:
            return []
        replies = await self._client.network.ask(self._client.process, [_packed(args) for args, _ in stack])
        found: list[Any] = []
        for reply, (args, options) in zip(replies, stack, strict=True):
            try:
                found.append(self._client.converted(reply, args[0], options))
            except ResponseError as refused:
                if raise_on_error:
                    raise
                found.append(refused)
        return found


def simulated_database(network: RedisNetwork, process: Process) -> Database:
    """Return the engine's own ``Database`` on the stand-in."""
    database = Database("redis://simulated?protocol=2")
    client = SimulatedRedis.from_url("redis://simulated?protocol=2")
    database.client = client.over(network, process)
    network.databases.append(database)
    return database


def _packed(args: Sequence[Any]) -> list[bytes]:
    words: list[bytes] = []
    for word in args:
        if isinstance(word, bytes):
            words.append(word)
        elif isinstance(word, str):
            words += word.encode().split(b" ") if not words else [word.encode()]  # "XGROUP CREATE"
        elif isinstance(word, (int, float)) and not isinstance(word, bool):
            words.append(repr(word).encode())
        else:
            raise TypeError(f"redis-py refuses {word!r}")
    return words


def _blocks_for(command: list[bytes]) -> int | None:
    return read_options(tuple(command[1:]))[5] if command[0] == b"XREADGROUP" else None


def _as_exception(text: str) -> Exception:
    code, _, rest = text.partition(" ")
    if code == "NOSCRIPT":
        return NoScriptError(rest)
    return ResponseError(rest if code == "ERR" else text)


def _answer(reply: asyncio.Future[Replies], replies: Replies) -> None:
    if not reply.done():
        reply.set_result(replies)


def _fail(reply: asyncio.Future[Replies], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)
