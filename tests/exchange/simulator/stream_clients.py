"""A raw WebSocket client of an exchange over a socket, and ways to wait for its frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson

PATIENCE_S = 20.0


class Follower:
    """One stream connection; frames are kept in the order in which they came."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[Any] = []

    async def say(self, method: str, params: list[Any], request_id: Any = 1) -> Any:
        """Send a control frame and return its answer."""
        await self.socket.send_json({"method": method, "params": params, "id": request_id})
        return await self.until(lambda frame: "result" in frame or "code" in frame)

    async def until(self, wanted: Callable[[Any], Any]) -> Any:
        """Read on until a frame is ``wanted`` and return it."""
        while True:
            frame = await self.next()
            if wanted(frame):
                return frame

    async def next(self) -> Any:
        """The next frame; ConnectionError when the connection ended instead."""
        message = await self.socket.receive(timeout=PATIENCE_S)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ConnectionError(f"{message.type.name} {message.data}")
        frame = orjson.loads(message.data)
        self.frames.append(frame)
        return frame

    async def events(self, count: int) -> list[Any]:
        """The next ``count`` frames."""
        return [await self.next() for _ in range(count)]

    async def is_silent(self, during_s: float = 0.4) -> bool:
        """Whether nothing comes for a while."""
        try:
            await self.socket.receive(timeout=during_s)
        except TimeoutError:
            return True
        return False


async def follow(client: Any, path: str) -> Follower:
    """Connect to the stream URL ``path``."""
    url = client.url.replace("http://", "ws://") + path
    return Follower(await client.http.ws_connect(url, autoping=True))


async def listen_key(client: Any, method: str = "POST") -> str:
    """Ask for the account's listen key."""
    _, body, _ = await client.send(method, "/fapi/v1/listenKey")
    return str(body.get("listenKey", ""))


async def settled(condition: Callable[[], bool]) -> None:
    """Return once ``condition`` holds; TimeoutError where it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 -- what it looks at has no event to wait for
            await asyncio.sleep(0.005)
