"""The embedded exchange over real sockets, with a raw client."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
import pytest

from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import EmbeddedExchange, RateLimits, SimulatorSettings
from quantum_trader.exchange.simulator.signing import hmac_hex
from quantum_trader.exchange.simulator.state import StateFileError

D = Decimal

ORDER = "/fapi/v1/order"
BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}


async def test_a_bad_signature_is_refused(client: Any) -> None:
    status, body, _ = await client.send("GET", "/fapi/v3/account", secret="wrong")
    assert (status, body["code"]) == (400, -1022)


@pytest.mark.parametrize("skew_ms", [-5500, 1500])
async def test_a_timestamp_out_of_the_window_is_refused(client: Any, skew_ms: int) -> None:
    status, body, _ = await client.send("GET", "/fapi/v3/account", skew_ms=skew_ms)
    assert (status, body["code"]) == (400, -1021)


async def test_an_unknown_key_is_refused(client: Any) -> None:
    status, body, _ = await client.send("GET", "/fapi/v3/account", key="nobody")
    assert (status, body["code"]) == (401, -2015)


async def test_parameters_may_come_in_the_body_or_in_both(client: Any) -> None:
    stamp = f"&timestamp={SystemClock().now_ms()}"
    headers = {"X-MBX-APIKEY": "key-a", "Content-Type": "application/x-www-form-urlencoded"}
    total = urlencode(BUY) + stamp
    body = f"{total}&signature={hmac_hex('secret-a', total.encode())}".encode()
    status, _, _ = await client.exchange_bytes("POST", ORDER, headers, body)
    assert status == 200
    query, form = "symbol=BTCUSDT&side=BUY", "type=MARKET&quantity=0.1" + stamp
    signature = hmac_hex("secret-a", (query + form).encode())
    target, signed = f"{ORDER}?{query}", f"{form}&signature={signature}".encode()
    status, answer, _ = await client.exchange_bytes("POST", target, headers, signed)
    assert status == 200, answer


async def test_the_signature_is_over_the_exact_bytes_that_came(client: Any) -> None:
    query = f"symbol=%42TCUSDT&timestamp={SystemClock().now_ms()}"
    target = f"/fapi/v1/openOrders?{query}&signature={hmac_hex('secret-a', query.encode())}"
    status, body, _ = await client.exchange_bytes("GET", target, {"X-MBX-APIKEY": "key-a"})
    assert (status, body) == (200, [])


async def test_replies_count_weight_and_orders(client: Any) -> None:
    _, _, first = await client.send("GET", "/fapi/v3/account")
    _, _, order = await client.send("POST", ORDER, **BUY)
    used = int(first["x-mbx-used-weight-1m"])
    assert used >= 5
    assert (order["x-mbx-order-count-10s"], order["x-mbx-order-count-1m"]) == ("1", "1")
    assert "x-mbx-order-count-1m" not in first


class TestLimits:
    @pytest.fixture
    def exchange_settings(self, exchange_settings: SimulatorSettings) -> SimulatorSettings:
        return replace(exchange_settings, limits=RateLimits(100, 1200, 2))

    async def test_too_much_weight_is_throttled_with_the_time_to_wait(self, client: Any) -> None:
        replies = [await client.send("GET", "/fapi/v1/positionSide/dual") for _ in range(4)]
        status, body, headers = replies[-1]
        assert (status, body["code"]) == (429, -1003)
        assert 1 <= int(headers["Retry-After"]) <= 60

    async def test_too_many_orders_are_throttled(self, client: Any) -> None:
        answers = [await client.send("POST", ORDER, **BUY) for _ in range(5)]
        throttled = [body for status, body, _ in answers if status == 429]
        assert throttled
        assert {body["code"] for body in throttled} == {-1015}


async def test_unknown_paths_and_spot_pings_are_answered(client: Any) -> None:
    status, _, _ = await client.exchange_bytes("GET", "/fapi/v9/none", {})
    assert status == 404
    status, body, _ = await client.exchange_bytes("GET", "/api/v3/ping", {})
    assert (status, body) == (200, {})
    status, body, _ = await client.exchange_bytes("GET", "/api/v3/time", {})
    assert abs(body["serverTime"] - SystemClock().now_ms()) < 5000


async def test_a_skewed_clock_refuses_good_timestamps(client: Any) -> None:
    await client.admin("POST", "/sim/clock", {"offset_ms": 60_000})
    _, body, _ = await client.exchange_bytes("GET", "/fapi/v1/time", {})
    assert body["serverTime"] - SystemClock().now_ms() > 55_000
    status, body, _ = await client.send("GET", "/fapi/v3/account")
    assert (status, body["code"]) == (400, -1021)
    status, _, _ = await client.send("GET", "/fapi/v3/account", skew_ms=60_000)
    assert status == 200


async def test_prices_and_symbols_can_be_changed_by_the_admin(client: Any) -> None:
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "40000"})
    _, body, _ = await client.exchange_bytes("GET", "/fapi/v1/premiumIndex?symbol=BTCUSDT", {})
    assert D(body["markPrice"]) == 40000
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "factor": "0.9"})
    _, body, _ = await client.exchange_bytes("GET", "/fapi/v1/premiumIndex?symbol=BTCUSDT", {})
    assert D(body["markPrice"]) == 36000
    await client.admin("POST", "/sim/symbol", {"symbol": "BTCUSDT", "market_max": "0.05"})
    status, body, _ = await client.send("POST", ORDER, **BUY)
    assert (status, body["code"]) == (400, -4005)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sim/price", {"symbol": "NOPE", "price": "1"}),
        ("/sim/price", {"symbol": "BTCUSDT", "price": "NaN"}),
        ("/sim/price", []),
        ("/sim/clock", {"offset_ms": 10**12}),
        ("/sim/faults", {"kind": "explode"}),
    ],
)
async def test_a_senseless_admin_request_is_refused(client: Any, path: str, body: Any) -> None:
    status, answer = await client.admin("POST", path, body)
    assert status == 400
    assert answer["error"]


async def test_the_admin_shows_state_without_secrets_and_clears_faults(client: Any) -> None:
    await client.fault(kind="latency", count=5, api_key="key-a")
    status, body = await client.admin("GET", "/sim/state")
    assert status == 200
    assert "key-a" not in str(body)
    _, rules = await client.admin("GET", "/sim/faults")
    assert len(rules["rules"]) == 1
    assert "key-a" not in str(rules)
    _, rules = await client.admin("DELETE", "/sim/faults")
    assert rules["rules"] == []


class TestWithoutAdmin:
    @pytest.fixture
    def exchange_settings(self, exchange_settings: SimulatorSettings) -> SimulatorSettings:
        return replace(exchange_settings, admin=False)

    async def test_the_controls_are_not_there(self, client: Any) -> None:
        status, _ = await client.admin("GET", "/sim/state")
        assert status == 404


async def test_every_read_a_client_makes_at_start_has_its_shape(client: Any) -> None:
    _, info, _ = await client.exchange_bytes("GET", "/fapi/v1/exchangeInfo?symbol=BTCUSDT", {})
    assert list(info) == [
        "timezone",
        "serverTime",
        "futuresType",
        "rateLimits",
        "exchangeFilters",
        "assets",
        "symbols",
    ]
    assert len(info["symbols"]) == 20
    bitcoin = info["symbols"][0]
    filters = {row["filterType"]: row for row in bitcoin["filters"]}
    assert filters["MARKET_LOT_SIZE"]["maxQty"] == "120"
    assert filters["MIN_NOTIONAL"]["notional"] == "50"
    assert (filters["PRICE_FILTER"]["tickSize"], bitcoin["pricePrecision"]) == ("0.10", 2)
    _, rows, _ = await client.exchange_bytes(
        "GET", "/fapi/v1/klines?symbol=ETHUSDT&interval=1h&limit=500", {}
    )
    assert len(rows) == 500
    assert {len(row) for row in rows} == {12}
    _, everything, _ = await client.exchange_bytes("GET", "/fapi/v1/premiumIndex", {})
    assert len(everything) == 20


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1s", -1120),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=2000", -1130),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=3", -4021),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=1500", -1130),
        ("/fapi/v1/ticker/24hr?symbol=NOTAREALSYM", -1121),
    ],
)
async def test_bad_market_reads_are_refused_as_on_the_real_venue(client: Any, target: str, code: int) -> None:
    status, body, _ = await client.exchange_bytes("GET", target, {})
    assert (status, body["code"]) == (400, code)


async def test_positions_survive_a_restart(
    tmp_path: Path, exchange_settings: SimulatorSettings, make_client: Any
) -> None:
    kept = replace(exchange_settings, state_file=tmp_path / "deep" / "venue.json")
    seen = []
    for trades in (True, False):
        exchange = EmbeddedExchange(kept, SystemClock())
        url = await exchange.start()
        exchange.venue.market.pin("BTCUSDT", D(50000), SystemClock().now_ms())
        async with aiohttp.ClientSession() as http:
            client = make_client(http, url, exchange)
            if trades:
                await client.send("POST", ORDER, **BUY)
                resting = {"type": "LIMIT", "timeInForce": "GTC", "price": "49000"}
                await client.send("POST", ORDER, **{**BUY, **resting}, newClientOrderId="kept")
                await client.send("POST", "/fapi/v1/leverage", symbol="ETHUSDT", leverage=3)
            reads = ("/fapi/v2/account", "/fapi/v1/openOrders", "/fapi/v1/symbolConfig", "/fapi/v1/income")
            seen.append([(await client.send("GET", path))[1] for path in reads])
            trades_read = await client.send("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
            seen[-1].append(trades_read[1])
        await exchange.stop()
    assert seen[0] == seen[1]


async def test_a_stop_amid_a_save_leaves_the_newest_state(
    tmp_path: Path, exchange_settings: SimulatorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, loop = tmp_path / "venue.json", asyncio.get_running_loop()
    exchange = EmbeddedExchange(replace(exchange_settings, state_file=path), SystemClock())
    await exchange.start()
    saving, may_go_on = asyncio.Event(), threading.Event()

    def slow_disk(_: int) -> None:
        loop.call_soon_threadsafe(saving.set)
        assert may_go_on.wait(timeout=30)

    monkeypatch.setattr("quantum_trader.exchange.simulator.state.os.fsync", slow_disk)
    key, account = next(iter(exchange.venue.accounts.items()))
    exchange.venue.desk.tell_account(account, "DEPOSIT", (), SystemClock().now_ms())
    async with asyncio.timeout(30):
        await saving.wait()
        account.wallet = D("4321")
        stopping = asyncio.create_task(exchange.stop())
        loop.call_later(0.1, may_go_on.set)
        await stopping
    assert orjson.loads(path.read_bytes())["accounts"][key]["wallet"] == "4321"


async def test_a_spoilt_state_file_stops_the_start_and_is_named(
    tmp_path: Path, exchange_settings: SimulatorSettings
) -> None:
    path = tmp_path / "venue.json"
    path.write_text('{"version": 1')
    exchange = EmbeddedExchange(replace(exchange_settings, state_file=path), SystemClock())
    with pytest.raises(StateFileError, match=r"venue\.json.*move the file away"):
        await exchange.start()


async def test_it_starts_and_stops_quickly(exchange_settings: SimulatorSettings) -> None:
    exchange = EmbeddedExchange(exchange_settings, SystemClock())
    async with asyncio.timeout(30):
        await exchange.start()
        await exchange.stop()
        await exchange.stop()


async def test_a_taken_port_is_an_error(client: Any, exchange_settings: SimulatorSettings) -> None:
    taken = replace(exchange_settings, port=int(client.url.rpartition(":")[2]))
    with pytest.raises(OSError, match="address already in use"):
        await EmbeddedExchange(taken, SystemClock()).start()


class TestListenKeys:
    PATH = "/fapi/v1/listenKey"

    def test_starting_again_gives_the_same_key_until_it_expires(self, desk: Any) -> None:
        key = desk.call("POST", self.PATH)["listenKey"]
        desk.now_ms += 3_599_999
        assert desk.call("POST", self.PATH)["listenKey"] == key
        desk.now_ms += 3_600_000
        assert desk.code("PUT", self.PATH) == -1125
        assert desk.call("POST", self.PATH)["listenKey"] != key

    def test_a_closed_key_cannot_be_extended(self, desk: Any) -> None:
        key = desk.call("POST", self.PATH)["listenKey"]
        assert desk.call("PUT", self.PATH)["listenKey"] == key
        assert desk.venue.listen_keys.owner(key, desk.now_ms) == desk.key
        desk.call("DELETE", self.PATH)
        assert desk.venue.listen_keys.owner(key, desk.now_ms) is None
        assert desk.code("PUT", self.PATH) == -1125
