import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aioresponses import aioresponses
from exchange_stubs import KEY, NOW_MS, SECRET, Connect, ManualClock, StartServer, Treatment, WireServer

from quantum_trader.domain.order import Claimed, ExitOrder, OpenOrder
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.binance import Exchange, connect
from quantum_trader.exchange.settings import ExchangeSettings


class _StubbedResponse(aiohttp.ClientResponse):
    """aioresponses 0.7.9 does not know the stream_writer that aiohttp 3.14 asks for."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


def _roomy_stream(loop: asyncio.AbstractEventLoop) -> aiohttp.StreamReader:
    """Hold a whole body: aioresponses feeds it at once, and its own stream overflows at 128 KiB."""
    return aiohttp.StreamReader(ResponseHandler(loop=loop), limit=2**24, loop=loop)


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    monkeypatch.setattr("aioresponses.core.ClientResponse", _StubbedResponse)
    monkeypatch.setattr("aioresponses.core.stream_reader_factory", _roomy_stream)
    with aioresponses() as stubbed:
        yield stubbed


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def connected(clock: ManualClock) -> AsyncIterator[Connect]:
    """Return a function that connects to an URL; whatever it made is closed at the end."""
    made: list[Exchange] = []

    def make(rest_url: str, **settings: object) -> Exchange:
        made.append(connect(ExchangeSettings(rest_url, KEY, SECRET, **settings), clock))
        return made[-1]

    yield make
    for exchange in made:
        await exchange.close()


@pytest.fixture
async def exchange(connected: Connect) -> Exchange:
    return connected("https://exchange.test")


@pytest.fixture
def exit_order() -> ExitOrder:
    return ExitOrder(Leg("BTCUSDT"), Side.SELL, Decimal("0.0100"), "qt-exit", NOW_MS - 7)


@pytest.fixture
def claimed() -> Claimed:
    order = OpenOrder(Leg("BTCUSDT", PositionSide.BOTH), Side.BUY, Decimal("0.002"), "qt-open", NOW_MS - 9)
    return Claimed.granted(order, "plan-1", 3)


@pytest.fixture
async def wire() -> AsyncIterator[StartServer]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(treat: Treatment) -> WireServer:
            server = WireServer(treat)
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            stack.callback(listening.close)
            server.port = listening.sockets[0].getsockname()[1]
            return server

        yield start
