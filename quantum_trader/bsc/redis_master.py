"""Where a Redis behind Sentinel is to be written to now: the master of the service, asked for anew each time.

This is the one thing that BSC asks anybody but the exchange. The answer, host and port, decides where
its words go and nothing else; it asks the sentinels, never Redis itself (SPEC 10).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from quantum_trader.bsc.redis_writer import Address, NotDelivered, encoded
from quantum_trader.sentinel_address import SentinelAddress

ASK_S = 1.0
QUESTION = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME")
ANSWER = b"*2\r\n"  # host and port; anything else is a refusal, or a service that is not known


class Master:
    """The master that the sentinels of ``watched`` name; login and database are those of Redis itself."""

    def __init__(self, watched: SentinelAddress) -> None:
        self._watched = watched

    async def current(self) -> Address:
        """Return its address, from the first sentinel that knows it. Raises ``NotDelivered`` if none does."""
        watched = self._watched
        for host, port in watched.hosts:
            named = await _named_by(host, port, watched.service)
            if named is not None:
                return Address(
                    *named,
                    database=watched.database,
                    username=watched.username or "",
                    password=watched.password or "",
                )
        raise NotDelivered("no sentinel names a master")


async def _named_by(host: str, port: int, service: str) -> tuple[str, int] | None:
    """Return host and port that one sentinel names; None where it does not answer, or knows none."""
    try:
        async with asyncio.timeout(ASK_S):
            return await _ask(host, port, (*QUESTION, service))
    except (OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError):
        return None


async def _ask(host: str, port: int, question: Sequence[str]) -> tuple[str, int] | None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(encoded(question))
        await writer.drain()
        if await reader.readuntil(b"\r\n") != ANSWER:
            return None
        return await _text(reader), int(await _text(reader))
    finally:
        writer.close()


async def _text(reader: asyncio.StreamReader) -> str:
    length = int((await reader.readuntil(b"\r\n")).removeprefix(b"$"))
    return (await reader.readexactly(length + 2))[:-2].decode()
