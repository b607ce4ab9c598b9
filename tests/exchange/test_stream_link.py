"""A link is judged by what it hears, opened anew when it is dead, and renewed without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMsgType, web
from support.house import until

from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.streams.link import PAUSE_MAX_S, Link, LinkTerms

QUICK = LinkTerms(silent_s_max=1.0, ask_every_s=0.2)
BEATING = LinkTerms(silent_s_max=1.0, ask_every_s=0.2, messages_are_the_beat=True)
Behaviour = Callable[[web.WebSocketResponse], Awaitable[None]]


class Peer:
    """A WebSocket server whose connections behave as a test says."""

    def __init__(self, behave: Behaviour, *, answers_pings: bool) -> None:
        self._behave = behave
        self._answers_pings = answers_pings
        self.connections = 0
        self.open = 0
        self.open_max = 0

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=self._answers_pings)
        await socket.prepare(request)
        self.connections += 1
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        behaving = asyncio.ensure_future(self._behave(socket))
        try:
            async for message in socket:
                assert message.type in (WSMsgType.TEXT, WSMsgType.PING)
        finally:
            self.open -= 1
            await end_tasks([behaving])
        return socket


@asynccontextmanager
async def peer(behave: Behaviour, *, answers_pings: bool = True) -> AsyncIterator[tuple[Peer, str]]:
    made = Peer(behave, answers_pings=answers_pings)
    runner = web.ServerRunner(web.Server(made.serve), shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield made, f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(url: str, terms: LinkTerms, told: list[bytes]) -> AsyncIterator[Link]:
    async def find_url() -> str:
        return url

    link = Link("test", find_url, told.append, SystemClock(), terms, jitter=lambda: 0.0)
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        await end_tasks([task])


async def eventually(condition: Callable[[], bool], what: str) -> None:
    async def holds() -> bool:
        return condition()

    await until(holds, 30, what)


async def say_nothing(_: web.WebSocketResponse) -> None:
    await asyncio.Event().wait()


async def beat(socket: web.WebSocketResponse) -> None:
    while True:
        await socket.send_str("beat")
        await asyncio.sleep(0.1)


async def beat_once(socket: web.WebSocketResponse) -> None:
    await socket.send_str("beat")
    await asyncio.Event().wait()


async def test_a_quiet_link_whose_peer_answers_pings_stays() -> None:
    async with peer(say_nothing) as (server, url), running(url, QUICK, []) as link:
        await eventually(lambda: link.live_for_s > 3 * QUICK.silent_s_max, "a long quiet life")
        assert server.connections == 1


async def test_inc_88_a_link_whose_peer_answers_nothing_never_counts_as_live() -> None:
    async with peer(say_nothing, answers_pings=False) as (server, url), running(url, QUICK, []) as link:
        await eventually(lambda: server.connections >= 3, "attempts to do better")
        assert not link.is_live


async def test_inc_88_pongs_do_not_keep_a_link_alive_whose_messages_are_the_beat() -> None:
    async with peer(beat_once) as (server, url), running(url, BEATING, []) as link:
        await eventually(lambda: link.is_live, "life")
        await eventually(lambda: server.connections >= 2, "a new connection")


async def test_inc_87_a_link_comes_back_after_it_was_dropped() -> None:
    async def drop(socket: web.WebSocketResponse) -> None:
        await socket.send_str("hello")
        if server.connections == 1:
            await socket.close()
        await asyncio.Event().wait()

    told: list[bytes] = []
    async with peer(drop) as (server, url), running(url, QUICK, told) as link:
        await eventually(lambda: link.is_live and link.connections == 2, "the second connection")
        assert told == [b"hello", b"hello"]


async def test_a_renewal_opens_the_new_connection_before_the_old_one_goes() -> None:
    told: list[bytes] = []
    async with peer(beat) as (server, url), running(url, BEATING, told) as link:
        await eventually(lambda: link.is_live, "life")
        link.renew()
        await eventually(lambda: link.connections == 2, "the renewal")
        assert link.is_live
        await eventually(lambda: server.open == 1, "the end of the old connection")
        assert (server.open_max, link.is_live) == (2, True)


async def test_a_link_renews_itself_when_its_time_has_come() -> None:
    short = LinkTerms(silent_s_max=5.0, ask_every_s=0.2, renew_after_s=0.5)
    async with peer(say_nothing) as (_, url), running(url, short, []) as link:
        await eventually(lambda: link.connections == 2, "the renewal")
        assert link.is_live


async def test_pauses_between_attempts_double_up_to_a_bound() -> None:
    slept: list[float] = []

    class Napless(SystemClock):
        async def sleep(self, duration_s: float) -> None:
            slept.append(duration_s)
            await super().sleep(0)

    async def no_url() -> str:
        raise ExchangeError("test", "refused")

    link = Link("test", no_url, bytes, Napless(), QUICK, jitter=lambda: 1.0)
    task = asyncio.create_task(link.run())
    await eventually(lambda: len(slept) >= 10, "ten attempts")
    await end_tasks([task])
    assert slept[:3] == [0.25, 0.5, 1.0]
    assert max(slept) == PAUSE_MAX_S


@pytest.mark.parametrize("parts", [[b"one message"], [b"in ", b"three ", b"parts"]])
async def test_a_message_is_told_whole_however_many_frames_it_takes(parts: list[bytes]) -> None:
    async def speak(socket: web.WebSocketResponse) -> None:
        transport = socket._req.transport  # type: ignore[union-attr]
        for number, part in enumerate(parts):
            opcode = (0x1 if number == 0 else 0x0) | (0x80 if number == len(parts) - 1 else 0)
            transport.write(bytes([opcode, len(part)]) + part)  # type: ignore[union-attr]
        await asyncio.Event().wait()

    told: list[bytes] = []
    async with peer(speak) as (_, url), running(url, QUICK, told):
        await eventually(lambda: bool(told), "the message")
        assert told == [b"".join(parts)]
