"""A clock and a server that do as a test says."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from quantum_trader.exchange.binance import Exchange

KEY = "an-api-key-that-nobody-may-see"
SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
NOW_MS = 1_789_478_299_014


class ManualClock:
    """A clock that moves only when told to, or by sleeping."""

    def __init__(self) -> None:
        self.wall_ms = NOW_MS
        self.stepped_ms = 0
        self.slept_s: list[float] = []

    def now_ms(self) -> int:
        return self.wall_ms + self.stepped_ms

    def monotonic_s(self) -> float:
        return self.wall_ms / 1_000

    async def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)
        self.advance(duration_s)

    def step(self, by_ms: int) -> None:
        """Set the wall clock; monotonic time goes on as it was."""
        self.stepped_ms += by_ms

    def advance(self, duration_s: float) -> None:
        self.wall_ms += round(duration_s * 1_000)


Connect = Callable[..., Exchange]
Treatment = Callable[["WireServer", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
StartServer = Callable[[Treatment], Awaitable["WireServer"]]


@dataclass
class WireServer:
    """A loopback server whose every connection is treated as the test says; keeps what it read."""

    treat: Treatment
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        self.requests.append(head + await reader.readexactly(length))
        return self.requests[-1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.treat(self, reader, writer)
        finally:
            writer.close()


def http_answer(status: str, body: bytes, headers: str = "") -> bytes:
    """Return the bytes of a whole reply; ``status`` is a number and its words."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def answering_in_turn(*answers: bytes) -> Treatment:
    """Answer each request with the next of ``answers``; what comes after the last is never answered."""
    left = list(answers)

    async def treat(server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read_request(reader)
            if left:
                writer.write(left.pop(0))
                await writer.drain()

    return treat


def reset(writer: asyncio.StreamWriter) -> None:
    """Make closing ``writer`` send RST instead of FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
