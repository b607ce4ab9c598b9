"""Orders over the WebSocket API: every kind of key, every way in which a reply can stay away."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from support.house import Wire, until

from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.order import Accepted, Claimed, ExitOrder, NotSent, OpenOrder, Rejected, Unknown
from quantum_trader.domain.trading import Leg, Side
from quantum_trader.exchange.binance import Exchange, connect
from quantum_trader.exchange.replies import Reply
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.simulator import (
    AccountSettings,
    EmbeddedExchange,
    FaultKind,
    FaultRule,
    SimulatorSettings,
)
from quantum_trader.exchange.weight import Counter
from quantum_trader.trading_mode import endpoints_on

KEY = "ws-key-that-nobody-may-see"
SECRET = "ws-secret"
LEG = Leg("XRPUSDT")
MINUTE_MS = 60_000

_numbers = itertools.count(1)


def pems(key: Any) -> tuple[str, str]:
    """Private and public PEM of ``key``."""
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


class Scene:
    """An exchange, and a client of it whose orders go over the WebSocket API."""

    def __init__(self, venue: EmbeddedExchange, client: Exchange) -> None:
        self.venue = venue
        self.client = client
        self.wire = Wire()
        self.wire.watch(venue.gateway)

    def fault(self, kind: FaultKind, **rule: Any) -> None:
        """Let the next order go wrong."""
        self.venue.faults.add(FaultRule(kind, method="WS", path="order.place", **rule))

    async def buy(self, quantity: int = 20) -> Any:
        """Open as the pipeline would."""
        name, now_ms = f"qt-{next(_numbers)}", self.client.clock.signing_time_ms()
        order = OpenOrder(LEG, Side.BUY, Decimal(quantity), name, now_ms)
        return await self.client.entry.open_position(Claimed.granted(order, "plan", 1))

    async def sell(self, quantity: int = 20) -> Any:
        """Reduce as the pipeline would."""
        name, now_ms = f"qt-{next(_numbers)}", self.client.clock.signing_time_ms()
        return await self.client.exits.reduce_position(
            ExitOrder(LEG, Side.SELL, Decimal(quantity), name, now_ms)
        )

    async def until_ready(self) -> None:
        """Wait for the connection."""

        async def ready() -> bool:
            return self.client.ws_api is not None and self.client.ws_api.is_ready

        await until(ready, 30, "the WebSocket API")

    def wait_for_replies(self, timeout_s: float) -> None:
        """Let orders that are sent from now on give up after so long."""
        assert self.client.ws_api is not None
        settings = self.client.ws_api._settings
        self.client.ws_api._settings = replace(settings, request_timeout_s=timeout_s)


@asynccontextmanager
async def scene(secret: str = SECRET, public_key_pem: str = "") -> AsyncIterator[Scene]:
    """Run both; the client is connected."""
    account = AccountSettings(KEY, "" if public_key_pem else secret, Decimal(10_000), public_key_pem)
    venue = EmbeddedExchange(SimulatorSettings(accounts=(account,)), SystemClock())
    urls = endpoints_on(await venue.start())
    settings = ExchangeSettings(urls.rest_url, KEY, secret, ws_api_url=urls.ws_api_url, orders_over_ws=True)
    client = connect(settings, SystemClock())
    client.start()
    try:
        running = Scene(venue, client)
        await client.clock.measure()
        await running.until_ready()
        yield running
    finally:
        await client.close()
        await venue.stop()


@pytest.fixture
async def connected_ws() -> AsyncIterator[Scene]:
    async with scene() as running:
        yield running


@pytest.mark.parametrize(
    "make_key",
    [
        pytest.param(ed25519.Ed25519PrivateKey.generate, id="ed25519"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2048), id="rsa"),
        pytest.param(None, id="hmac"),
    ],
)
async def test_every_kind_of_key_opens_and_reduces(make_key: Callable[[], Any] | None) -> None:
    keys = pems(make_key()) if make_key is not None else (SECRET, "")
    async with scene(*keys) as running:
        bought, sold = await running.buy(), await running.sell()
        assert isinstance(bought, Accepted)
        assert isinstance(sold, Accepted)
        assert (bought.order.executed_quantity, sold.order.executed_quantity) == (20, 20)
        assert running.wire.over_ws == 2
        is_logged_on = [("signature" in order, "apiKey" in order) for order in running.wire.orders]
        assert is_logged_on == [(False, "ed25519" not in str(make_key).lower())] * 2


async def test_an_exit_says_that_it_only_reduces(connected_ws: Scene) -> None:
    await connected_ws.buy()
    await connected_ws.sell()
    assert [order.get("reduceOnly") for order in connected_ws.wire.orders] == [None, "true"]


@pytest.mark.parametrize(
    ("kind", "rule", "outcome"),
    [
        pytest.param(FaultKind.TIMEOUT_AFTER, {"ms": 1500}, Unknown, id="no reply"),
        pytest.param(FaultKind.LATENCY, {"ms": 1500}, Unknown, id="a late reply"),
        pytest.param(FaultKind.RESET_AFTER, {}, Unknown, id="connection lost after"),
        pytest.param(FaultKind.RESET_BEFORE, {}, Unknown, id="connection lost before"),
        pytest.param(FaultKind.STATUS_AFTER, {"preset": "503_unknown"}, Unknown, id="503 unknown"),
        pytest.param(FaultKind.STATUS_AFTER, {"preset": "408_timeout"}, Unknown, id="-1007"),
        pytest.param(FaultKind.STATUS_AFTER, {"preset": "502_gateway"}, Unknown, id="502"),
        pytest.param(FaultKind.STATUS_BEFORE, {"preset": "503_unavailable"}, Rejected, id="503 B"),
        pytest.param(FaultKind.STATUS_BEFORE, {"preset": "503_throttled"}, Rejected, id="-1008"),
        pytest.param(FaultKind.STATUS_BEFORE, {"preset": "400_timestamp"}, Rejected, id="-1021"),
        pytest.param(FaultKind.STATUS_BEFORE, {"preset": "401_key"}, Rejected, id="-2015"),
    ],
)
async def test_inc_06_what_is_not_answered_is_unknown_and_what_is_refused_is_not(
    connected_ws: Scene, kind: FaultKind, rule: dict[str, Any], outcome: type
) -> None:
    connected_ws.fault(kind, **rule)
    if "ms" in rule:
        connected_ws.wait_for_replies(0.5)
    got = await connected_ws.buy()
    assert isinstance(got, outcome)
    assert KEY not in repr(got)
    assert len(connected_ws.wire.orders) <= 1  # never by both ways


async def test_a_late_reply_answers_nothing_and_later_orders_go_on(connected_ws: Scene) -> None:
    connected_ws.fault(FaultKind.LATENCY, ms=800)
    connected_ws.wait_for_replies(0.5)
    assert isinstance(await connected_ws.buy(), Unknown)
    connected_ws.wait_for_replies(5)
    for _ in range(3):
        assert isinstance(await connected_ws.buy(), Accepted)
    assert connected_ws.wire.over_ws >= 3


async def test_each_request_times_out_when_its_own_time_is_over(connected_ws: Scene) -> None:
    connected_ws.wait_for_replies(0.5)
    assert isinstance(await connected_ws.buy(), Accepted)
    ended_s = []

    async def buy_after(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        begun_s = time.monotonic()
        assert isinstance(await connected_ws.buy(), Unknown)
        ended_s.append(time.monotonic() - begun_s)

    connected_ws.fault(FaultKind.LATENCY, ms=2_000, count=2)
    await asyncio.gather(buy_after(0.2), buy_after(0.4))
    assert all(0.45 < after_s < 1.5 for after_s in ended_s)


@pytest.mark.parametrize("shown", [KEY, KEY.replace("w", "\\u0077")], ids=["as it is", "escaped"])
async def test_a_reply_that_shows_the_key_is_told_without_it(connected_ws: Scene, shown: str) -> None:
    api = connected_ws.client.ws_api
    assert api is not None
    connected_ws.fault(FaultKind.LATENCY, ms=5_000)
    buying = asyncio.create_task(connected_ws.buy())

    async def is_in_flight() -> bool:
        return bool(api._pending)

    await until(is_in_flight, 20, "the order to be written")
    (request_id,) = api._pending
    api._receive(b'{"id":%d,"status":200,"result":{"symbol":["%b"]}}' % (request_id, shown.encode()))
    outcome = await buying
    assert isinstance(outcome, Unknown)
    assert "[key]" in outcome.reason
    assert KEY not in outcome.reason


async def test_a_lost_connection_ends_every_order_in_flight_as_unknown_and_comes_back(
    connected_ws: Scene,
) -> None:
    connected_ws.fault(FaultKind.LATENCY, ms=2500, count=2)
    connected_ws.fault(FaultKind.RESET_BEFORE, after=2)
    got = await asyncio.gather(*(connected_ws.buy() for _ in range(3)))
    assert [type(one) for one in got] == [Unknown] * 3
    await connected_ws.until_ready()
    assert isinstance(await connected_ws.buy(), Accepted)


async def test_many_orders_at_once_get_each_its_own_reply(connected_ws: Scene) -> None:
    sizes = range(20, 60)
    got = await asyncio.gather(*(connected_ws.buy(size) for size in sizes))
    assert [one.order.executed_quantity for one in got] == list(sizes)


async def test_while_not_connected_orders_go_over_rest(connected_ws: Scene) -> None:
    assert connected_ws.client.ws_api is not None
    await connected_ws.client.ws_api.stop()
    assert isinstance(await connected_ws.buy(), Accepted)
    assert (connected_ws.wire.over_ws, len(connected_ws.wire.orders)) == (0, 1)


async def test_order_counts_of_replies_are_observed(connected_ws: Scene) -> None:
    await connected_ws.buy()
    await connected_ws.buy()
    assert connected_ws.client.weight.used(Counter.ORDERS, MINUTE_MS) >= 1


async def test_inc_86_a_throttle_holds_opens_back_for_as_long_as_it_says_and_no_exit(
    connected_ws: Scene,
) -> None:
    await connected_ws.buy()
    connected_ws.fault(FaultKind.STATUS_BEFORE, preset="429_orders", retry_after_s=30)
    assert isinstance(await connected_ws.buy(), Rejected)
    held = await connected_ws.buy()
    assert isinstance(held, NotSent)
    assert "free in" in held.reason
    wait_s = float(held.reason.split("free in ")[1].split(" ")[0])
    assert 20 < wait_s <= 31  # told as a moment of the exchange's clock, and rounded up to whole seconds
    assert isinstance(await connected_ws.sell(), Accepted)


async def test_inc_86_a_ban_lets_no_connection_be_made_until_it_is_over(connected_ws: Scene) -> None:
    ws_api = connected_ws.client.ws_api
    assert ws_api is not None
    await ws_api.stop()
    connected_ws.client.weight.observe(Reply(418, {"retry-after": "60"}, b"{}"))
    before = ws_api.link.connections
    assert "banned, free in" in await ws_api.link._live_once()
    assert ws_api.link.connections == before


async def test_an_answer_without_id_is_no_answer_to_any_order(connected_ws: Scene) -> None:
    api = connected_ws.client.ws_api
    assert api is not None
    connected_ws.fault(FaultKind.LATENCY, ms=5_000)
    connected_ws.wait_for_replies(0.5)
    buying = asyncio.create_task(connected_ws.buy())

    async def is_in_flight() -> bool:
        return bool(api._pending)

    await until(is_in_flight, 20, "the order to be written")
    api._receive(b'{"id":null,"status":401,"error":{"code":-2015,"msg":"Invalid API-key"}}')
    assert isinstance(await buying, Unknown)


@pytest.mark.parametrize(
    "frame",
    [
        *(b"", b"[]", b"{", b'{"status":"x","id":1}', b'{"id":7}', b"\xff\xfe"),
        *(
            b'{"status":200,"id":1e999}',
            b'{"status":200,"id":[],"rateLimits":{}}',
            b'{"status":1,"id":"\\ud800"}',
        ),
        b'{"status":200,"id":1,"result":%b%b}' % (b"[" * 100_000, b"]" * 100_000),
        b'{"status":400,"id":7,"error":%b,"event":{"e":[]}}' % (b"9" * 5_000),
    ],
)
async def test_frames_that_make_no_sense_do_no_harm(connected_ws: Scene, frame: bytes) -> None:
    assert connected_ws.client.ws_api is not None
    connected_ws.client.ws_api._receive(frame)
    assert isinstance(await connected_ws.buy(), Accepted)
