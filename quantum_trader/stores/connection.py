"""The connection to Redis or Valkey, and the atomic scripts that run there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from importlib.resources import files
from typing import Any, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from quantum_trader.sentinel_address import SCHEME
from quantum_trader.stores import sentinel
from quantum_trader.stores.lane import Batch, Command, Lane, Word

__all__ = ["Database", "RedisError"]

CONNECT_TIMEOUT_S = 3
COMMAND_TIMEOUT_S = 5
CONNECTIONS_MAX = 128


class Database:
    """One server, one namespace's worth of commands; raises ``RedisError`` when it cannot answer.

    Nothing here is retried: a script whose reply was lost may have run (SPEC: unknown is not
    failed), so the caller asks what happened instead.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        connect = sentinel.client_of if url.startswith(SCHEME) else redis.Redis.from_url
        self.client: redis.Redis = connect(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=COMMAND_TIMEOUT_S,
            max_connections=CONNECTIONS_MAX,
            retry=Retry(NoBackoff(), 0),
            client_name="quantum-trader",
        )
        self._scripts_lane: Lane | None = None
        self._blocking_lane: Lane | None = None
        self.connections_lost = 0
        """Counts the lanes' connections that broke: the server may be another one since, and know less."""

    def open_lanes(self) -> None:
        """Send scripts and the blocking read of plans over thin lanes from now on (lane.py)."""
        pool = self.client.connection_pool
        self._scripts_lane = Lane(pool, COMMAND_TIMEOUT_S, self._count_loss)
        self._blocking_lane = Lane(pool, COMMAND_TIMEOUT_S, self._count_loss)

    def _count_loss(self) -> None:
        self.connections_lost += 1

    @cached_property
    def _scripts(self) -> dict[str, Any]:
        folder = files("quantum_trader.stores") / "scripts"
        return {
            entry.name.removesuffix(".lua"): self.client.register_script(entry.read_text(encoding="utf-8"))
            for entry in folder.iterdir()
            if entry.name.endswith(".lua")
        }

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {
            name: hashlib.sha1(script.script.encode(), usedforsecurity=False).hexdigest()
            for name, script in self._scripts.items()
        }

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Word]) -> list[bytes]:
        """Run the atomic script ``scripts/<script>.lua`` and return its reply."""
        lane = self._scripts_lane
        if lane is None:
            return cast("list[bytes]", await self._scripts[script](keys=list(keys), args=list(args)))
        command = ("EVALSHA", self._digests[script], len(keys), *keys, *args)
        reply: Any
        (reply,) = await lane.ask((command,))
        if isinstance(reply, NoScriptError):  # nothing was run
            load = ("SCRIPT", "LOAD", self._scripts[script].script)
            _, reply = await lane.ask((load, command))
        if isinstance(reply, RedisError):
            raise reply
        return reply  # type: ignore[no-any-return]

    async def ask_blocking(self, first: Command, others: Batch) -> list[Any]:
        """Send ``first``, which may block, and ``others`` in one trip; errors come back as values."""
        if self._blocking_lane is not None:
            return await self._blocking_lane.ask((first,), others)
        pipeline = self.client.pipeline(transaction=False)
        for command in (first, *others.commands):
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)

    async def reconnect(self) -> None:
        """Let go of idle connections: the next command goes to whoever answers at the address now.

        A server that hangs does not confirm the end of a TLS connection; that one is gone all the same.
        """
        await self._close_lanes()
        with suppress(RedisError, OSError):
            await self.client.connection_pool.disconnect(inuse_connections=False)

    async def _close_lanes(self) -> None:
        for lane in (self._scripts_lane, self._blocking_lane):
            if lane is not None:
                await lane.close()

    async def load_scripts(self) -> None:
        """Hand every script to the server, so that not even the first plan waits for it."""
        for script in self._scripts.values():
            await self.client.script_load(script.script)

    async def ping(self) -> None:
        """Raise ``RedisError`` unless the server answers."""
        await cast("Any", self.client.ping())

    @property
    def _is_watched(self) -> bool:
        return self.url.startswith(SCHEME)

    async def close(self) -> None:
        """Close every connection."""
        await self._close_lanes()
        await self.client.aclose()
        if self._is_watched:
            await sentinel.close_watchers(self.client)
