"""Which code answers which bad order, and which of two faults answers first (BINANCE.md 5, 7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from quantum_trader.exchange.simulator import Request
from quantum_trader.exchange.simulator.errors import TEXTS

GOOD: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.010",
    "price": "49000.0",
}
WITHOUT: Any = None


def sent(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not WITHOUT}


MARKET = {"type": "MARKET", "timeInForce": WITHOUT, "price": WITHOUT}

CASES: list[tuple[dict[str, Any], int]] = [
    (sent(symbol=WITHOUT), -1102),
    (sent(side=""), -1102),
    (sent(type=WITHOUT), -1102),
    (sent(quantity=WITHOUT), -1102),
    (sent(quantity="1e-05"), -1102),
    (sent(quantity="abc"), -1102),
    (sent(quantity="NaN"), -1102),
    (sent(quantity="٣"), -1102),
    (sent(price=WITHOUT), -1102),
    (sent(timeInForce=WITHOUT), -1102),
    (sent(reduceOnly="maybe"), -1102),
    (sent(symbol="NOPEUSDT"), -1121),
    (sent(symbol="btcusdt"), -1121),
    (sent(side="HOLD"), -1117),
    (sent(type="ICEBERG"), -1116),
    (sent(timeInForce="EVER"), -1115),
    (sent(newOrderRespType="FULL"), -1136),
    (sent(positionSide="UP"), -4060),
    (sent(selfTradePreventionMode="ALL"), -5039),
    (sent(type="STOP_MARKET"), -4120),
    (sent(type="TAKE_PROFIT"), -4120),
    (sent(type="TRAILING_STOP_MARKET", quantity=WITHOUT), -4120),
    (sent(closePosition="true"), -4136),
    (sent(positionSide="LONG"), -4061),
    (sent(newClientOrderId="with space"), -4015),
    (sent(newClientOrderId="x" * 37), -4015),
    (sent(newClientOrderId="ünicode"), -4015),
    (sent(quantity="0.0105"), -1111),
    (sent(quantity="0"), -4003),
    (sent(quantity="-0.010"), -4003),
    (sent(quantity="1001"), -4005),
    (sent(**MARKET, quantity="120.001"), -4005),
    (sent(symbol="AVAXUSDT", quantity="0.5", price="13"), -1111),
    (sent(symbol="AAVEUSDT", quantity="1.155", price="162"), -1111),
    (sent(symbol="AAVEUSDT", quantity="1.15", price="162"), -4023),
    (sent(price="49000.155"), -1111),
    (sent(price="49000.15"), -4014),
    (sent(price="0"), -4001),
    (sent(price="-1"), -4001),
    (sent(price="100"), -4013),
    (sent(price="9000000"), -4002),
    (sent(price="52500.1"), -4016),
    (sent(side="SELL", price="47499.9"), -4024),
    (sent(quantity="0.001"), -4164),
    (sent(**MARKET, quantity="0.001", symbol="ETHUSDT"), -4164),
    (sent(reduceOnly="true"), -2022),
    (sent(quantity="900"), -2019),
    (sent(timeInForce="GTX", price="50000.1"), -5022),
    (sent(timeInForce="FOK"), -5021),
    (sent(timeInForce="GTD"), -1102),
    (sent(timeInForce="GTD", goodTillDate="1"), -5040),
    (sent(priceMatch="OPPONENT"), -1106),
    (sent(priceMatch="NEAREST", price=WITHOUT), -5037),
    ({**sent(**MARKET), "timeInForce": "GTC"}, -1106),
]


@pytest.mark.parametrize(("params", "code"), CASES)
def test_a_bad_order_is_refused_with_its_code_and_leaves_nothing(desk: Any, params: Any, code: int) -> None:
    assert desk.code("POST", "/fapi/v1/order", **params) == code
    assert desk.code("POST", "/fapi/v1/order/test", **params) == code
    assert not desk.account.orders
    assert not desk.account.positions


def test_the_good_order_of_these_cases_is_good(desk: Any) -> None:
    assert desk.code("POST", "/fapi/v1/order", **GOOD) == 0


@pytest.mark.parametrize(
    ("params", "code"),
    [
        (sent(side="HOLD", type="ICEBERG"), -1117),
        (sent(symbol="NOPEUSDT", side="HOLD"), -1121),
        (sent(type="STOP", positionSide="LONG"), -4120),
        (sent(positionSide="LONG", newClientOrderId="no way"), -4061),
        (sent(newClientOrderId="no way", quantity="0.0105"), -4015),
        (sent(quantity="0.0105", price="49000.15"), -1111),
        (sent(price="52500.15"), -4014),
        (sent(price="52500.1", quantity="0.001"), -4016),
        (sent(quantity="0.001", timeInForce="FOK"), -4164),
        (sent(quantity="900", timeInForce="FOK"), -2019),
    ],
)
def test_the_first_failing_step_answers(desk: Any, params: Any, code: int) -> None:
    assert desk.code("POST", "/fapi/v1/order", **params) == code


def test_a_far_below_buy_is_legal(desk: Any) -> None:
    assert desk.limit("BUY", "0.1", "1000")["status"] == "NEW"


def test_the_notional_of_a_market_order_is_taken_at_the_mark(desk: Any) -> None:
    desk.pin("BTCUSDT", 50000, mark=49999)
    assert desk.refusal("BUY", "0.001") == -4164
    desk.pin("BTCUSDT", 50000, mark=50000)
    assert desk.refusal("BUY", "0.001") == 0


def test_reducing_orders_need_no_minimum_notional(desk: Any) -> None:
    desk.market("BUY", "0.010", "ETHUSDT")
    assert desk.refusal("SELL", "0.001", symbol="ETHUSDT") == -4164
    assert desk.market("SELL", "0.001", "ETHUSDT", reduceOnly="true")["status"] == "FILLED"


@pytest.mark.parametrize(
    ("status", "opening", "reducing"), [("PRE_SETTLE", -4140, 0), ("CLOSE", -4141, -4141)]
)
def test_only_a_trading_symbol_opens_but_more_can_be_reduced(
    desk: Any, status: str, opening: int, reducing: int
) -> None:
    desk.market("BUY", "0.1")
    desk.venue.specs["BTCUSDT"] = replace(desk.venue.specs["BTCUSDT"], status=status)
    assert desk.refusal("BUY", "0.1") == opening
    assert desk.refusal("SELL", "0.1", reduceOnly="true") == reducing


def test_a_client_id_is_unique_among_open_orders_only(desk: Any) -> None:
    desk.limit("BUY", "0.1", "40000", newClientOrderId="mine")
    assert desk.refusal("BUY", "0.1", newClientOrderId="mine") == -4116
    assert desk.refusal("BUY", "0.1", newClientOrderId="mine", symbol="ETHUSDT") == -4116
    desk.call("DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="mine")
    assert desk.market("BUY", "0.1", newClientOrderId="mine")["status"] == "FILLED"
    assert desk.market("BUY", "0.1", newClientOrderId="mine")["status"] == "FILLED"


def test_the_two_hundred_and_first_resting_order_is_refused(desk: Any) -> None:
    for _ in range(200):
        desk.limit("BUY", "0.002", "25000")
    assert desk.code("POST", "/fapi/v1/order", **sent(quantity="0.002", price="25000")) == -2025


def refused(desk: Any, query: bytes, key: str = "key-a", body: bytes = b"") -> tuple[int, int, str]:
    reply = desk.gateway.handle(Request("GET", "/fapi/v3/account", query, body, key), desk.now_ms)
    answer = orjson.loads(reply.body)
    return reply.status, answer["code"], answer["msg"]


def test_keys_are_looked_at_before_parameters_and_signatures(desk: Any) -> None:
    assert refused(desk, b"", key="") == (401, -2014, "API-key format invalid.")
    assert refused(desk, b"", key="nobody") == (401, -2015, TEXTS[-2015])
    status, code, text = refused(desk, b"signature=00")
    assert (status, code) == (400, -1102)
    assert "'timestamp'" in text
    assert refused(desk, b"timestamp=1&signature=00") == (400, -1022, TEXTS[-1022])


@pytest.mark.parametrize(
    ("order", "code", "lacks"),
    [
        (sent(**MARKET, quantity=WITHOUT), -1102, "'quantity'"),
        (sent(**MARKET, quantity="", symbol="NOPEUSDT", side="HOLD"), -1102, "'quantity'"),
        (sent(quantity=WITHOUT), -1102, "'quantity'"),
        (sent(price=WITHOUT, positionSide="UP"), -1102, "'price'"),
        (sent(timeInForce=WITHOUT), -1102, "'timeInForce'"),
        (sent(price=WITHOUT, priceMatch="QUEUE"), -1022, ""),
        (sent(**MARKET), -1022, ""),
        (sent(type="STOP_MARKET", quantity=WITHOUT), -1022, ""),
    ],
)
@pytest.mark.parametrize("path", ["/fapi/v1/order", "/fapi/v1/order/test"])
def test_what_an_order_of_its_type_must_name_is_missed_before_the_signature_is_read(
    desk: Any, path: str, order: dict[str, Any], code: int, lacks: str
) -> None:
    query = urlencode({**order, "timestamp": desk.now_ms, "signature": "00"}).encode()
    answer = orjson.loads(desk.gateway.handle(Request("POST", path, query, b"", "key-a"), desk.now_ms).body)
    assert answer["code"] == code
    assert lacks in answer["msg"]


def test_an_unknown_path_is_not_found(desk: Any) -> None:
    reply = desk.raw("GET", "/fapi/v1/nowhere")
    assert reply.status == 404
    assert orjson.loads(reply.body)["code"] == -5000


def test_the_query_wins_over_the_body(desk: Any) -> None:
    request = Request("GET", "/fapi/v1/ticker/price", b"symbol=ETHUSDT", b"symbol=BTCUSDT&x=1")
    assert request.params() == {"symbol": "ETHUSDT", "x": "1"}


def test_an_empty_time_in_force_is_a_missing_one(desk: Any) -> None:
    assert desk.refusal("BUY", "0.1", type="LIMIT", price="48000", timeInForce="") == -1102
