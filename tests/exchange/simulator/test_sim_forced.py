"""What the venue does to an order or a position by itself, and what it tells of that."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from stream_clients import follow, listen_key

from quantum_trader.exchange.simulator.market_feed import Feed
from quantum_trader.exchange.simulator.stream_names import topic_of

D = Decimal
BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
# The touch is 50000.0 / 50000.1 and holds few coins: one's own orders inside stand in the way.
INSIDE = {"BUY": "49990", "SELL": "50010"}


@pytest.mark.parametrize(
    ("mode", "resting", "status", "reason"),
    [
        ("EXPIRE_MAKER", "EXPIRED_IN_MATCH", "FILLED", 0),
        ("EXPIRE_TAKER", "NEW", "EXPIRED_IN_MATCH", 1),
        ("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH", 1),
        ("NONE", "NEW", "FILLED", 0),
    ],
)
@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_self_trade_prevention_follows_the_takers_mode(
    thin_desk: Any, mode: str, resting: str, status: str, reason: int, side: str
) -> None:
    other = "SELL" if side == "BUY" else "BUY"
    maker = thin_desk.limit(other, "0.5", INSIDE[other])
    taker = thin_desk.market(side, "1.5", selfTradePreventionMode=mode)
    found = thin_desk.call("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=maker["orderId"])
    assert (found["status"], taker["status"]) == (resting, status)
    order = thin_desk.account.orders["BTCUSDT", taker["orderId"]]
    assert order.expiry_reason == reason
    assert (D(taker["executedQty"]) == D("1.5")) == (status == "FILLED")
    assert abs(thin_desk.amounts().get("BTCUSDT", D(0))) == D(taker["executedQty"])


def test_an_immediate_order_that_is_prevented_says_so(thin_desk: Any) -> None:
    thin_desk.limit("SELL", "0.5", "50010")
    terms = {"timeInForce": "IOC", "selfTradePreventionMode": "EXPIRE_TAKER"}
    order = thin_desk.limit("BUY", "1.5", "50200", **terms)
    assert order["status"] == "EXPIRED_IN_MATCH"
    assert thin_desk.account.orders["BTCUSDT", order["orderId"]].expiry_reason == 3


def test_an_order_that_does_not_reach_ones_own_leaves_it_alone(thin_desk: Any) -> None:
    maker = thin_desk.limit("SELL", "0.5", "50400")
    assert thin_desk.market("BUY", "0.01")["status"] == "FILLED"
    found = thin_desk.call("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=maker["orderId"])
    assert found["status"] == "NEW"


def test_auto_deleveraging_takes_what_it_is_told_at_the_mark_and_charges_nothing(desk: Any) -> None:
    desk.market("BUY", "0.3")
    desk.pin("BTCUSDT", 51_000, 51_020)
    wallet = desk.account.wallet
    (leg,) = desk.account.positions
    order = desk.venue.deleverage(desk.account, leg, desk.now_ms, D("0.1"))
    assert (order.client_order_id, order.type, order.time_in_force) == ("adl_autoclose", "LIMIT", "IOC")
    assert desk.amounts() == {"BTCUSDT": D("0.2")}
    assert desk.account.wallet == wallet + D("0.1") * (51_020 - D("50000.1"))
    rows = desk.call("GET", "/fapi/v1/forceOrders")
    assert [row["clientOrderId"] for row in rows] == ["adl_autoclose"]
    assert desk.call("GET", "/fapi/v1/forceOrders", autoCloseType="LIQUIDATION") == []


async def test_the_admin_deleverages_and_the_owner_is_told_as_of_a_liquidation(client: Any) -> None:
    stream = await follow(client, f"/private/ws/{await listen_key(client)}")
    await client.send("POST", "/fapi/v1/order", **BUY)
    await stream.until(lambda frame: frame.get("o", {}).get("X") == "FILLED")
    status, said = await client.admin("POST", "/sim/adl", {"api_key": "key-a", "symbol": "BTCUSDT"})
    assert (status, said["quantity"]) == (200, "0.1")
    frames = await stream.events(4)
    assert [frame["e"] for frame in frames] == [
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE",
    ]
    told = frames[-1]["o"]
    assert (told["c"], told["x"], told["X"], told["R"]) == ("adl_autoclose", "CALCULATED", "FILLED", True)
    status, said = await client.admin("POST", "/sim/adl", {"api_key": "key-a", "symbol": "BTCUSDT"})
    assert status == 400
    assert "ReduceOnly" in said["error"]


def liquidated(desk: Any) -> None:
    desk.call("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=20)
    desk.market("BUY", "3.5")
    desk.now_ms += 1_000
    desk.pin("BTCUSDT", 47_000)
    desk.call("GET", "/fapi/v3/account")


def test_forced_orders_have_the_fields_of_the_official_model(desk: Any) -> None:
    liquidated(desk)
    (row,) = desk.call("GET", "/fapi/v1/forceOrders", symbol="BTCUSDT")
    assert set(row) == {
        *("orderId", "symbol", "pair", "status", "clientOrderId", "price", "avgPrice", "origQty"),
        *("executedQty", "cumQuote", "cumBase", "timeInForce", "type", "reduceOnly", "closePosition"),
        *("side", "positionSide", "stopPrice", "workingType", "origType", "time", "updateTime"),
    }


def test_fees_are_paid_in_usdt(desk: Any) -> None:
    assert desk.call("GET", "/fapi/v1/feeBurn") == {"feeBurn": False}
    assert desk.call("POST", "/fapi/v1/feeBurn", feeBurn="false")["code"] == 200
    assert desk.code("POST", "/fapi/v1/feeBurn", feeBurn="true") == -1020


def test_a_liquidation_is_told_on_the_force_order_streams_once(desk: Any) -> None:
    names = ("btcusdt@forceOrder", "!forceOrder@arr", "ethusdt@forceOrder")
    feeds = [Feed(desk.venue, topic_of(name), desk.now_ms) for name in names]  # type: ignore[arg-type]
    liquidated(desk)
    due = [feed.due(desk.now_ms + 1_000) for feed in feeds]
    assert due[0] == due[1]
    assert due[2] == []
    (frame,) = due[0]
    assert list(frame) == ["e", "E", "o"]
    assert {name: frame["o"][name] for name in ("s", "S", "o", "f", "q", "X")} == {
        "s": "BTCUSDT",
        "S": "SELL",
        "o": "LIMIT",
        "f": "IOC",
        "q": "3.5",
        "X": "FILLED",
    }
    assert feeds[0].due(desk.now_ms + 2_000) == []


async def test_a_changed_listing_is_told_on_the_contract_info_stream(client: Any) -> None:
    stream = await follow(client, "/market/ws/!contractInfo")
    await stream.say("LIST_SUBSCRIPTIONS", [])
    await client.admin("POST", "/sim/symbol", {"symbol": "BTCUSDT", "status": "SETTLING"})
    frame = await stream.next()
    assert (frame["e"], frame["s"], frame["cs"], frame["ct"]) == (
        "contractInfo",
        "BTCUSDT",
        "SETTLING",
        "PERPETUAL",
    )
    steps = frame["bks"]
    assert steps[0]["ma"] == 125
    assert [step["bnf"] for step in steps[1:]] == [step["bnc"] for step in steps[:-1]]
