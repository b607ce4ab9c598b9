"""Writes to Redis and can do nothing else: two commands, and the hand-shake before them (SPEC 10).

BSC must not depend on what Redis says. So it holds no Redis client, but this: whoever wants to read
would have to add a command to ``Command``, and the audit looks there. Of each reply only "done" or
"refused" is taken. One connection a delivery, closed afterwards; nothing is kept while Redis is away.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

TIMEOUT_S = 3.0
PORT = 6379


class Command(StrEnum):
    """Every command that can be sent."""

    AUTH = "AUTH"
    SELECT = "SELECT"
    ADD_TO_STREAM = "XADD"
    SET = "SET"


class NotDelivered(Exception):
    """Redis could not be reached in time, or refused; the text carries no address and no password."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis listens. ``path`` is a Unix socket, or "" for TCP."""

    host: str = ""
    port: int = PORT
    path: str = ""
    is_encrypted: bool = False
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def from_url(cls, url: str) -> Address:
        """Read a redis://, rediss:// or unix:// URL. Raises ``ValueError`` for any other.

        What may stand in the query counts as it does for the engine's own client: ``db`` before the path,
        ``username`` and ``password`` after those before the host.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError("redis.url must start with redis://, rediss:// or unix://")
        is_socket = parts.scheme == "unix"
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return cls(
            host="" if is_socket else parts.hostname or "localhost",
            port=PORT if is_socket else parts.port or PORT,
            path=unquote(parts.path) if is_socket else "",
            is_encrypted=parts.scheme == "rediss",
            database=int(query["db"]) if "db" in query else _database_in(parts),
            username=unquote(parts.username or "") or query.get("username", ""),
            password=unquote(parts.password or "") or query.get("password", ""),
        )

    async def current(self) -> Address:
        """Return itself: it does not move."""
        return self


class Place(Protocol):
    """Where to write to, which may move from one delivery to the next."""

    async def current(self) -> Address:
        """Return where it is now. Raises ``NotDelivered`` where nobody can say."""
        ...


class RedisWriter:
    """Appends to one stream and sets one key, at ``place``."""

    def __init__(self, place: Place, *, stream: str, stream_entries_max: int, key: str) -> None:
        self._place = place
        self._stream = stream
        self._stream_entries_max = stream_entries_max
        self._key = key

    async def append(self, entries: Sequence[Mapping[str, str]]) -> None:
        """Add ``entries`` to the stream, in order. Raises ``NotDelivered``; then none may count as added."""
        limit = ("MAXLEN", "~", str(self._stream_entries_max))
        await self._send(
            [(Command.ADD_TO_STREAM, self._stream, *limit, "*", *_flat(entry)) for entry in entries]
        )

    async def set(self, text: str, ttl_s: int) -> None:
        """Set the key, with its time to live. Raises ``NotDelivered``."""
        await self._send([(Command.SET, self._key, text, "EX", str(ttl_s))])

    async def _send(self, commands: Sequence[Sequence[str]]) -> None:
        address = await self._place.current()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await _converse(address, [*_greeting(address), *commands])
        except (OSError, TimeoutError, EOFError, ValueError) as failed:
            raise NotDelivered(type(failed).__name__) from None


def encoded(command: Sequence[str]) -> bytes:
    """Return ``command`` as an array of bulk strings (RESP)."""
    parts = [part.encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


async def _converse(address: Address, commands: Sequence[Sequence[str]]) -> None:
    reader, writer = await _connect(address)
    try:
        writer.write(b"".join(map(encoded, commands)))
        await writer.drain()
        for command in commands:
            await _expect_done(reader, command[0])
    finally:
        writer.close()


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path)
    context = ssl.create_default_context() if address.is_encrypted else None
    return await asyncio.open_connection(address.host, address.port, ssl=context)


def _greeting(address: Address) -> list[tuple[str, ...]]:
    greeting: list[tuple[str, ...]] = []
    if address.password:
        who = (address.username,) if address.username else ()
        greeting.append((Command.AUTH, *who, address.password))
    if address.database:
        greeting.append((Command.SELECT, str(address.database)))
    return greeting


async def _expect_done(reader: asyncio.StreamReader, command: str) -> None:
    """Take one reply off the wire; its content is dropped. Raises ``NotDelivered`` for an error."""
    line = await reader.readuntil(b"\r\n")
    if line.startswith(b"-"):
        raise NotDelivered(f"{command} was refused: {line[1:40].decode('ascii', 'replace').strip()}")
    if line.startswith(b"$") and not line.startswith(b"$-"):
        await reader.readexactly(int(line[1:]) + 2)


def _flat(entry: Mapping[str, str]) -> list[str]:
    return [part for pair in entry.items() for part in pair]


def _database_in(parts: SplitResult) -> int:
    named = unquote(parts.path).replace("/", "")
    return int(named) if parts.scheme != "unix" and named.isdecimal() else 0
