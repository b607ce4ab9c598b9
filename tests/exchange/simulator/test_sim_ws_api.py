"""The WebSocket API over a real socket: sessions, signatures, envelopes, the methods, faults."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from stream_clients import PATIENCE_S

from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import AccountSettings, RateLimits, SimulatorSettings
from quantum_trader.exchange.simulator.signing import hmac_hex
from quantum_trader.exchange.simulator.ws_api import signed_texts

ED_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ED_PEM = ED_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
REST = {**BUY, "type": "LIMIT", "timeInForce": "GTC", "price": "40000.0"}


@pytest.fixture
def exchange_settings() -> SimulatorSettings:
    accounts = (
        AccountSettings("key-a", "secret-a"),
        AccountSettings("key-ed", public_key_pem=ED_PEM),
    )
    return SimulatorSettings(accounts=accounts, admin=True, limits=RateLimits(2400, 1200, 300))


class Api:
    """A connection that signs with the HMAC key ``key-a`` or the Ed25519 key ``key-ed``."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def text(self, text: str) -> Any:
        await self.socket.send_str(text)
        return orjson.loads(await self.socket.receive_str(timeout=PATIENCE_S))

    async def bare(self, method: str, request_id: Any = 1, **params: Any) -> Any:
        return await self.text(orjson.dumps({"id": request_id, "method": method, "params": params}).decode())

    async def signed(self, method: str, *, request_id: Any = 1, encoded: bool = False, **params: Any) -> Any:
        params = {"apiKey": "key-a", "timestamp": SystemClock().now_ms(), **params}
        raw, url_encoded = signed_texts({name: str(cell) for name, cell in params.items()})
        params["signature"] = hmac_hex("secret-a", (url_encoded if encoded else raw).encode())
        return await self.bare(method, request_id, **params)

    async def log_on(self) -> Any:
        params = {"apiKey": "key-ed", "timestamp": SystemClock().now_ms()}
        signature = base64.b64encode(ED_KEY.sign(urlencode(sorted(params.items())).encode())).decode()
        return await self.bare("session.logon", **params, signature=signature)

    async def stamped(self, method: str, **params: Any) -> Any:
        return await self.bare(method, **params, timestamp=SystemClock().now_ms())


async def connect(client: Any, query: str = "") -> Api:
    url = client.url.replace("http://", "ws://") + "/ws-fapi/v1" + query
    return Api(await client.http.ws_connect(url))


@pytest.fixture
async def api(client: Any) -> Api:
    return await connect(client)


async def test_an_order_lives_through_the_api_as_it_does_over_rest(api: Api) -> None:
    placed = await api.signed("order.place", **REST)
    assert placed["status"] == 200
    assert not {"avgPrice", "cumQuote"} & placed["result"].keys()
    order = {"symbol": "BTCUSDT", "orderId": placed["result"]["orderId"]}
    assert (await api.signed("order.status", **order))["result"]["status"] == "NEW"
    assert (await api.signed("order.cancel", **order))["result"]["status"] == "CANCELED"
    again = await api.signed("order.cancel", **order)
    assert (again["status"], again["error"]["code"]) == (400, -2011)


@pytest.mark.parametrize("request_id", [1, "a-text", None])
async def test_the_id_comes_back_as_it_was(api: Api, request_id: Any) -> None:
    assert (await api.bare("ticker.price", request_id, symbol="BTCUSDT"))["id"] == request_id


@pytest.mark.parametrize("encoded", [False, True])
async def test_both_ways_to_join_the_signed_text_are_taken(api: Api, encoded: bool) -> None:
    reply = await api.signed("order.place", encoded=encoded, **REST, newClientOrderId="a:b/c")
    assert reply["result"]["clientOrderId"] == "a:b/c"


async def test_a_signature_of_something_else_is_refused(api: Api) -> None:
    stamp = SystemClock().now_ms()
    reply = await api.bare("order.place", **BUY, apiKey="key-a", timestamp=stamp, signature="0" * 64)
    assert (reply["status"], reply["error"]["code"]) == (400, -1022)
    assert "result" not in reply


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"apiKey": "nobody"}, 401, -2015),
        ({"timestamp": 1}, 400, -1021),
        ({"symbol": "NOSUCHUSDT"}, 400, -1121),
        ({"quantity": 1e-05}, 400, -1102),
        ({"type": "STOP_MARKET", "triggerPrice": "1"}, 400, -4120),
    ],
)
async def test_refusals_have_the_status_of_rest(api: Api, params: Any, status: int, code: int) -> None:
    reply = await api.signed("order.place", **{**BUY, **params})
    assert (reply["status"], reply["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', '{"id":1.5,"method":"depth"}', '{"id":{},"method":"depth"}']
)
async def test_an_unreadable_frame_is_answered_under_no_id(api: Api, text: str) -> None:
    reply = await api.text(text)
    assert (reply["id"], reply["status"], reply["error"]["code"]) == (None, 400, -1013)


async def test_an_unknown_method_is_refused(api: Api) -> None:
    assert (await api.bare("order.fly"))["error"]["code"] == -1020


async def test_a_session_needs_no_key_and_no_signature(api: Api) -> None:
    session = (await api.log_on())["result"]
    assert session["apiKey"] == "key-ed"
    assert session["authorizedSince"] >= session["connectedSince"]
    assert (await api.stamped("order.place", **BUY))["status"] == 200
    assert (await api.bare("order.place", **BUY))["error"]["code"] == -1102
    assert (await api.bare("session.status"))["result"]["apiKey"] == "key-ed"
    assert (await api.bare("session.logout"))["result"]["apiKey"] is None
    assert (await api.stamped("order.place", **BUY))["status"] == 401


async def test_a_key_of_the_request_goes_before_that_of_the_session(client: Any, api: Api) -> None:
    await api.log_on()
    await api.signed("order.place", **BUY)
    accounts = client.exchange.venue.accounts
    assert (len(accounts["key-a"].trades), len(accounts["key-ed"].trades)) == (1, 0)


async def test_only_ed25519_keys_can_log_on(api: Api) -> None:
    assert (await api.signed("session.logon"))["error"]["code"] == -4056


async def test_a_key_revoked_in_the_middle_ends_the_session(client: Any, api: Api) -> None:
    await api.log_on()
    del client.exchange.venue.accounts["key-ed"]
    reply = await api.stamped("order.place", **BUY)
    assert (reply["id"], reply["status"], reply["error"]["code"]) == (None, 401, -2015)
    assert (await api.bare("session.status"))["result"]["apiKey"] is None


async def test_replies_count_what_was_used_apart_from_rest(client: Any, api: Api) -> None:
    await client.send("GET", "/fapi/v3/account")
    limits = (await api.signed("order.place", **BUY))["rateLimits"]
    assert [row["rateLimitType"] for row in limits] == ["REQUEST_WEIGHT", "ORDERS", "ORDERS"]
    assert limits[0]["count"] == 5  # the handshake
    assert {row["count"] for row in limits[1:]} == {1}
    assert "rateLimits" not in await api.bare("ticker.price", symbol="BTCUSDT", returnRateLimits=False)


async def test_an_option_among_the_parameters_is_part_of_what_is_signed(api: Api) -> None:
    stamp = SystemClock().now_ms()
    signature = hmac_hex("secret-a", f"apiKey=key-a&returnRateLimits=false&timestamp={stamp}".encode())
    params = {"apiKey": "key-a", "timestamp": stamp, "returnRateLimits": False, "signature": signature}
    reply = await api.bare("v2/account.balance", **params)
    assert reply["status"] == 200
    assert "rateLimits" not in reply


async def test_a_connection_can_do_without_rate_limits(client: Any) -> None:
    api = await connect(client, "?returnRateLimits=false")
    assert "rateLimits" not in await api.bare("depth", symbol="BTCUSDT", limit=5)


@pytest.mark.parametrize(
    "method",
    [
        "account.position",
        "v2/account.position",
        "account.balance",
        "v2/account.balance",
        "account.status",
        "v2/account.status",
    ],
)
async def test_account_reads_answer(api: Api, method: str) -> None:
    reply = await api.signed(method)
    assert reply["status"] == 200


async def test_listen_keys_are_the_ones_of_rest(client: Any, api: Api) -> None:
    started = await api.bare("userDataStream.start", apiKey="key-a")
    _, body, _ = await client.send("POST", "/fapi/v1/listenKey")
    assert started["result"] == body
    assert (await api.bare("userDataStream.ping", apiKey="key-a"))["result"] == body
    assert (await api.bare("userDataStream.stop", apiKey="key-a"))["result"] == {}
    assert (await api.bare("userDataStream.ping", apiKey="key-a"))["error"]["code"] == -1125


async def test_public_methods_need_no_key(api: Api) -> None:
    assert len((await api.bare("depth", symbol="BTCUSDT", limit=5))["result"]["bids"]) == 5
    assert len((await api.bare("ticker.price"))["result"]) > 10
    assert (await api.bare("ticker.book", symbol="BTCUSDT"))["result"]["symbol"] == "BTCUSDT"


async def test_a_fault_can_answer_instead(client: Any, api: Api) -> None:
    await client.fault(kind="status_after", path="order.place", preset="503_unknown")
    reply = await api.signed("order.place", request_id="x", **BUY)
    assert (reply["id"], reply["status"]) == ("x", 503)
    assert reply["error"]["msg"].startswith("Unknown error")
    assert len(client.exchange.venue.accounts["key-a"].trades) == 1


async def test_a_fault_can_answer_text(client: Any, api: Api) -> None:
    await client.fault(kind="status_before", path="order.place", preset="503_unavailable", body_format="text")
    assert (await api.signed("order.place", **BUY))["error"]["msg"] == "Service Unavailable."


async def test_a_held_request_does_not_hold_the_others(client: Any, api: Api) -> None:
    await client.fault(kind="latency", path="order.place", ms=200)
    order = {"id": "slow", "method": "order.place", "params": {}}
    await api.socket.send_str(orjson.dumps(order).decode())
    assert (await api.bare("ticker.price", "fast", symbol="BTCUSDT"))["id"] == "fast"
    assert orjson.loads(await api.socket.receive_str(timeout=PATIENCE_S))["id"] == "slow"


@pytest.mark.parametrize(("kind", "trades"), [("reset_before", 0), ("reset_after", 1), ("timeout_after", 1)])
async def test_a_fault_can_drop_the_connection(client: Any, api: Api, kind: str, trades: int) -> None:
    await client.fault(kind=kind, path="order.place", api_key="key-a", ms=10)
    with pytest.raises((ConnectionError, TypeError)):
        await api.signed("order.place", **BUY)
    assert len(client.exchange.venue.accounts["key-a"].trades) == trades
