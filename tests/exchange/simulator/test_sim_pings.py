"""Ping frames, and peers that do not answer them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import EmbeddedExchange
from quantum_trader.exchange.simulator.sockets import PING_EVERY_S, PONG_WITHIN_S


class HastyClock(SystemClock):
    """Three minutes pass in no time; every other wait is real."""

    async def sleep(self, duration_s: float) -> None:
        await super().sleep(0.02 if duration_s == PING_EVERY_S else duration_s)


@pytest.fixture
async def url(make_settings: Any) -> AsyncIterator[str]:
    exchange = EmbeddedExchange(make_settings(), HastyClock())
    yield (await exchange.start()).replace("http://", "ws://")
    await exchange.stop()


@pytest.mark.parametrize("path", ["/market/ws", "/ws-fapi/v1"])
async def test_a_peer_that_answers_pings_stays(url: str, path: str) -> None:
    pings = 2 * PONG_WITHIN_S // PING_EVERY_S
    async with aiohttp.ClientSession() as http, http.ws_connect(url + path, autoping=False) as socket:
        for _ in range(pings):
            message = await socket.receive(timeout=5)
            assert message.type is aiohttp.WSMsgType.PING
            await socket.pong(message.data)


@pytest.mark.parametrize("path", ["/market/ws", "/ws-fapi/v1"])
async def test_a_peer_that_stays_silent_is_closed_after_ten_minutes(url: str, path: str) -> None:
    async with aiohttp.ClientSession() as http, http.ws_connect(url + path, autoping=False) as socket:
        pings = 0
        while (message := await socket.receive(timeout=5)).type is aiohttp.WSMsgType.PING:
            pings += 1
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert pings >= PONG_WITHIN_S // PING_EVERY_S


async def test_a_ping_of_the_client_is_answered_with_its_payload(url: str) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url + "/ws-fapi/v1", autoping=False) as socket,
    ):
        await socket.ping(b"hello")
        while (message := await socket.receive(timeout=5)).type is not aiohttp.WSMsgType.PONG:
            pass
        assert message.data == b"hello"
