"""Conditional orders: what is refused, when they trigger, what becomes of them, what is told."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from stream_clients import follow, listen_key

from quantum_trader.exchange.simulator import Gateway
from quantum_trader.exchange.simulator.state import dump, load

ALGO = "/fapi/v1/algoOrder"
STOP = {
    "algoType": "CONDITIONAL",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "STOP_MARKET",
    "triggerPrice": "49000",
    "quantity": "0.1",
}
TAKE = {**STOP, "type": "TAKE_PROFIT_MARKET", "triggerPrice": "51000"}
TRAIL = {**STOP, "type": "TRAILING_STOP_MARKET", "callbackRate": "1", "triggerPrice": ""}
CLOSE = {**STOP, "closePosition": "true", "quantity": ""}


def place(desk: Any, **params: Any) -> Any:
    return desk.call("POST", ALGO, **{name: cell for name, cell in params.items() if cell != ""})


def refusal(desk: Any, **params: Any) -> int:
    code: int = desk.code("POST", ALGO, **{name: cell for name, cell in params.items() if cell != ""})
    return code


def status(desk: Any, algo: Any) -> str:
    return str(desk.call("GET", ALGO, algoId=algo["algoId"])["algoStatus"])


def move(desk: Any, price: object, mark: object = None) -> None:
    desk.now_ms += 1000
    desk.pin("BTCUSDT", price, mark)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"algoType": "VP"}, -1130),
        ({"type": "LIMIT"}, -1116),
        ({"side": "UP"}, -1117),
        ({"workingType": "INDEX"}, -4031),
        ({"triggerPrice": ""}, -1102),
        ({"triggerPrice": "0"}, -4006),
        ({"triggerPrice": "99999999"}, -4007),
        ({"triggerPrice": "49000.05"}, -4014),
        ({"triggerPrice": "50000"}, -2021),
        ({"type": "TAKE_PROFIT_MARKET"}, -2021),
        ({"quantity": "0.0001"}, -1111),
        ({"quantity": "0.001"}, -4164),
        ({"closePosition": "true"}, -4137),
        ({**CLOSE, "reduceOnly": "true"}, -1106),
        ({**CLOSE, "type": "STOP", "price": "48900"}, -4136),
        ({**TRAIL, "callbackRate": "0.05"}, -1102),
        ({**TRAIL, "callbackRate": "20.1"}, -1102),
        ({**TRAIL, "activatePrice": "49000"}, -4135),
        ({"positionSide": "LONG"}, -4061),
        ({"clientAlgoId": "ä"}, -4015),
        ({"timeInForce": "NOW"}, -1115),
        ({"type": "STOP"}, -1102),
    ],
)
def test_what_cannot_be_is_refused(desk: Any, changes: dict[str, Any], code: int) -> None:
    assert refusal(desk, **{**STOP, **changes}) == code
    assert desk.call("GET", "/fapi/v1/openAlgoOrders") == []


def test_conditional_orders_live_apart_from_plain_ones(desk: Any) -> None:
    algo = place(desk, **STOP, clientAlgoId="stop-1")
    assert (algo["algoStatus"], algo["orderType"], algo["icebergQuantity"]) == ("NEW", "STOP_MARKET", None)
    assert desk.call("GET", "/fapi/v1/openOrders") == []
    assert desk.call("GET", "/fapi/v1/allOrders", symbol="BTCUSDT") == []
    (row,) = desk.call("GET", "/fapi/v1/openAlgoOrders")
    assert (row["algoId"], row["actualOrderId"]) == (algo["algoId"], "")
    desk.call("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    assert status(desk, algo) == "NEW"
    assert refusal(desk, **STOP, clientAlgoId="stop-1") == -4116


def test_cancelling_answers_a_text_code_once(desk: Any) -> None:
    place(desk, **STOP, clientAlgoId="stop-1")
    reply = desk.call("DELETE", ALGO, clientAlgoId="stop-1")
    assert (reply["code"], reply["msg"]) == ("200", "success")
    assert desk.code("DELETE", ALGO, clientAlgoId="stop-1") == -2011
    assert desk.code("DELETE", ALGO, algoId=7) == -2011
    assert desk.code("GET", ALGO, algoId=7) == -2013
    assert desk.code("GET", ALGO) == -1102


def test_all_of_one_symbol_are_cancelled_together(desk: Any) -> None:
    first, second = place(desk, **STOP), place(desk, **TAKE)
    other = place(desk, **{**STOP, "symbol": "ETHUSDT", "triggerPrice": "1900"})
    assert desk.call("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")["code"] == 200
    assert [status(desk, algo) for algo in (first, second, other)] == ["CANCELED", "CANCELED", "NEW"]


def test_two_hundred_may_wait_over_all_symbols(desk: Any) -> None:
    for _ in range(200):
        place(desk, **STOP)
    assert refusal(desk, **{**STOP, "symbol": "ETHUSDT", "triggerPrice": "1900"}) == -4045


@pytest.mark.parametrize(
    ("order", "short_of", "beyond"),
    [
        (STOP, 49001, 49000),
        (TAKE, 50999, 51000),
        ({**STOP, "side": "BUY", "triggerPrice": "51000"}, 50999, 51000),
        ({**TAKE, "side": "BUY", "triggerPrice": "49000"}, 49001, 49000),
    ],
)
def test_each_kind_triggers_on_its_side(desk: Any, order: Any, short_of: int, beyond: int) -> None:
    algo = place(desk, **order)
    move(desk, short_of)
    assert status(desk, algo) == "NEW"
    move(desk, beyond)
    assert status(desk, algo) == "FINISHED"


def test_a_mark_price_trigger_does_not_look_at_the_last_price(desk: Any) -> None:
    algo = place(desk, **STOP, workingType="MARK_PRICE")
    move(desk, 48000, 50000)
    assert status(desk, algo) == "NEW"
    move(desk, 50000, 48999)
    assert status(desk, algo) == "FINISHED"


def test_the_plain_order_carries_the_algos_client_id(desk: Any) -> None:
    desk.market("BUY", "0.1")
    algo = place(desk, **STOP, clientAlgoId="stop-1", reduceOnly="true")
    move(desk, 48990)
    order = desk.call("GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="stop-1")
    done = desk.call("GET", ALGO, algoId=algo["algoId"])
    assert (order["status"], order["type"], order["origType"]) == ("FILLED", "MARKET", "STOP_MARKET")
    assert (order["stopPrice"], order["reduceOnly"]) == ("49000", True)
    assert (done["actualOrderId"], done["actualType"]) == (str(order["orderId"]), "MARKET")
    assert (done["actualQty"], Decimal(done["actualPrice"])) == ("0.1", Decimal(48990))
    assert desk.amounts() == {}
    assert desk.code("DELETE", ALGO, algoId=algo["algoId"]) == -2011


def test_closing_a_position_takes_whatever_there_is(desk: Any) -> None:
    desk.market("BUY", "0.1")
    algo = place(desk, **CLOSE)
    desk.market("BUY", "0.3")
    move(desk, 48000)
    assert status(desk, algo) == "FINISHED"
    assert desk.amounts() == {}


def test_without_a_position_closing_is_rejected_with_a_reason(desk: Any) -> None:
    algo = place(desk, **CLOSE)
    move(desk, 48000)
    assert status(desk, algo) == "REJECTED"
    assert desk.account.algos[algo["algoId"]].reject_reason == "ReduceOnly Order is rejected."


def test_margin_is_checked_only_at_the_trigger(desk: Any) -> None:
    algo = place(desk, **{**STOP, "quantity": "100"})
    move(desk, 48000)
    assert status(desk, algo) == "REJECTED"
    assert desk.amounts() == {}


def test_a_stop_limit_rests_until_its_order_is_done(desk: Any) -> None:
    algo = place(desk, **{**STOP, "type": "STOP", "price": "49500", "timeInForce": "GTC"})
    move(desk, 48990)
    assert status(desk, algo) == "TRIGGERED"
    (order,) = desk.call("GET", "/fapi/v1/openOrders")
    assert (order["price"], order["type"]) == ("49500", "LIMIT")
    move(desk, 49600)
    assert status(desk, algo) == "FINISHED"
    assert list(desk.amounts().values()) == [Decimal("-0.1")]


def test_a_trailing_stop_follows_the_best_price_and_turns_back(desk: Any) -> None:
    algo = place(desk, **TRAIL, activatePrice="51000")
    move(desk, 50900)
    move(desk, 49000)
    assert status(desk, algo) == "NEW"
    move(desk, 51000)
    move(desk, 52000)
    move(desk, 51481)
    assert status(desk, algo) == "NEW"
    move(desk, 51480)
    assert status(desk, algo) == "FINISHED"


def test_an_order_tied_to_a_position_ends_with_it(desk: Any) -> None:
    desk.market("BUY", "0.1")
    algo = place(desk, **{**STOP, "timeInForce": "GTE_GTC", "reduceOnly": "true"})
    desk.now_ms += 1000
    assert status(desk, algo) == "NEW"
    desk.market("SELL", "0.1")
    desk.now_ms += 1000
    assert status(desk, algo) == "EXPIRED"


def test_a_price_that_was_touched_between_two_looks_triggers(desk: Any) -> None:
    algo = place(desk, **STOP)
    desk.now_ms += 1000
    desk.pin("BTCUSDT", 48000)
    desk.now_ms += 1000
    desk.pin("BTCUSDT", 50000)
    assert status(desk, algo) == "FINISHED"


def test_a_waiting_order_blocks_a_change_of_modes(desk: Any) -> None:
    place(desk, **STOP)
    assert desk.code("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true") == -4067
    assert desk.code("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED") == -4047


def test_waiting_and_triggered_orders_survive_a_restart(desk: Any, open_desk: Any) -> None:
    waiting = place(desk, **STOP)
    resting = place(desk, **{**TAKE, "type": "TAKE_PROFIT", "price": "52000", "timeInForce": "GTC"})
    move(desk, 51000)
    assert status(desk, resting) == "TRIGGERED"
    after = open_desk()
    load(after.venue, dump(desk.venue))
    after.now_ms = desk.now_ms
    assert isinstance(after.gateway, Gateway)
    assert [row["algoId"] for row in after.call("GET", "/fapi/v1/openAlgoOrders")] == [waiting["algoId"]]
    after.call("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    after.now_ms += 1000
    assert status(after, resting) == "FINISHED"
    assert place(after, **STOP)["algoId"] > resting["algoId"]


async def test_a_trigger_is_told_step_by_step(client: Any) -> None:
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "50000"})
    stream = await follow(client, f"/private/ws/{await listen_key(client)}")
    await client.send("POST", ALGO, **STOP, clientAlgoId="stop-1")
    assert (await stream.next())["o"]["X"] == "NEW"
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "48000"})
    frames = await stream.events(7)
    steps = [frame["o"]["X"] if frame["e"] == "ALGO_UPDATE" else frame["e"] for frame in frames]
    assert steps == [
        "TRIGGERING",
        "TRIGGERED",
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE",
        "FINISHED",
    ]
    triggered, finished = frames[1]["o"], frames[-1]["o"]
    assert (triggered["aq"], finished["aq"]) == ("0", "0.1")
    assert triggered["ai"] == finished["ai"] == str(frames[3]["o"]["i"])
    assert frames[3]["o"]["c"] == "stop-1"


async def test_an_activated_trailing_order_is_told_twice_as_new(client: Any) -> None:
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "50000"})
    stream = await follow(client, f"/private/ws/{await listen_key(client)}")
    order = {name: cell for name, cell in TRAIL.items() if cell}
    await client.send("POST", ALGO, **order, activatePrice="50500")
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "50600"})
    first, second = await stream.events(2)
    assert [(frame["o"]["X"], frame["o"]["ia"]) for frame in (first, second)] == [
        ("NEW", False),
        ("NEW", True),
    ]
