"""Amending, batches, countdown, isolated margin, forced orders, others' trades, bans."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pytest
from stream_clients import follow, listen_key

from quantum_trader.exchange.simulator import RateLimits

ORDER, BATCH = "/fapi/v1/order", "/fapi/v1/batchOrders"
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1"}
AMEND = {"symbol": "BTCUSDT", "side": "BUY"}


class TestAmending:
    def test_price_and_quantity_change_and_are_remembered(self, desk: Any) -> None:
        order = desk.limit("BUY", "0.1", "48000")
        changed = desk.call(
            "PUT", ORDER, **AMEND, orderId=order["orderId"], quantity="0.2", price="48100", modifyId=9
        )
        assert (changed["price"], changed["origQty"], changed["status"]) == ("48100", "0.2", "NEW")
        assert (changed["pair"], changed["modifyId"]) == ("BTCUSDT", 9)
        assert "avgPrice" not in changed
        (row,) = desk.call("GET", "/fapi/v1/orderAmendment", symbol="BTCUSDT")
        assert row["amendment"]["price"] == {"before": "48000", "after": "48100"}
        assert row["amendment"]["origQty"] == {"before": "0.1", "after": "0.2"}

    def test_an_amended_order_that_crosses_is_filled(self, desk: Any) -> None:
        order = desk.limit("BUY", "0.1", "48000")
        changed = desk.call("PUT", ORDER, **AMEND, orderId=order["orderId"], quantity="0.1", price="50100")
        assert changed["status"] == "FILLED"
        assert list(desk.amounts().values()) == [Decimal("0.1")]

    def test_a_post_only_order_that_would_take_is_cancelled(self, desk: Any) -> None:
        order = desk.limit("BUY", "0.1", "48000", timeInForce="GTX")
        changed = desk.call("PUT", ORDER, **AMEND, orderId=order["orderId"], quantity="0.1", price="50100")
        assert changed["status"] == "CANCELED"
        assert desk.amounts() == {}

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({}, -5027),
            ({"price": "48000.05"}, -4014),
            ({"quantity": "0.0001"}, -1111),
            ({"side": "SELL"}, -1102),
            ({"price": ""}, -1102),
            ({"quantity": "90"}, -2019),
            ({"reduceOnly": "true", "price": "47000"}, -5047),
            ({"orderId": "7"}, -2013),
        ],
    )
    def test_a_refused_change_leaves_the_order_as_it_was(
        self, desk: Any, changes: dict[str, str], code: int
    ) -> None:
        order = desk.limit("BUY", "0.1", "48000")
        asked = {**AMEND, "orderId": order["orderId"], "quantity": "0.1", "price": "48000", **changes}
        assert desk.code("PUT", ORDER, **asked) == code
        (row,) = desk.call("GET", "/fapi/v1/openOrders")
        assert (row["price"], row["origQty"]) == ("48000", "0.1")

    def test_a_finished_order_cannot_be_amended(self, desk: Any) -> None:
        order = desk.limit("BUY", "0.1", "50100")
        asked = {**AMEND, "orderId": order["orderId"], "quantity": "0.2", "price": "48000"}
        assert desk.code("PUT", ORDER, **asked) == -2011

    async def test_an_amendment_is_told(self, client: Any) -> None:
        await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "50000"})
        stream = await follow(client, f"/private/ws/{await listen_key(client)}")
        _, order, _ = await client.send("POST", ORDER, **LIMIT, price="48000")
        await client.send(
            "PUT", ORDER, **AMEND, orderId=order["orderId"], quantity="0.1", price="48100", modifyId=3
        )
        _, told = await stream.events(2)
        assert (told["o"]["x"], told["o"]["X"], told["o"]["M"]) == ("AMENDMENT", "NEW", 3)


class TestBatches:
    def test_each_order_gets_its_own_answer(self, desk: Any) -> None:
        orders = [
            {**LIMIT, "price": "48000"},
            {**LIMIT, "price": "x"},
            {**LIMIT, "side": ""},
            {**LIMIT, "price": 47000, "reduceOnly": False},
        ]
        replies = desk.call("POST", BATCH, batchOrders=orjson.dumps(orders).decode())
        assert [row.get("code", row.get("status")) for row in replies] == ["NEW", -1102, -1102, "NEW"]
        assert len(desk.call("GET", "/fapi/v1/openOrders")) == 2

    def test_several_are_amended_and_cancelled_at_once(self, desk: Any) -> None:
        ids = [desk.limit("BUY", "0.1", price)["orderId"] for price in (48000, 47000)]
        changes = [{**AMEND, "orderId": one, "quantity": "0.1", "price": "46000"} for one in ids]
        replies = desk.call("PUT", BATCH, batchOrders=orjson.dumps(changes).decode())
        assert [row["price"] for row in replies] == ["46000", "46000"]
        gone = desk.call("DELETE", BATCH, symbol="BTCUSDT", orderIdList=orjson.dumps([*ids, 7]).decode())
        assert [row.get("code", row.get("status")) for row in gone] == ["CANCELED", "CANCELED", -2011]

    def test_client_ids_name_orders_too(self, desk: Any) -> None:
        desk.limit("BUY", "0.1", 48000, newClientOrderId="mine")
        (gone,) = desk.call("DELETE", BATCH, symbol="BTCUSDT", origClientOrderIdList='["mine"]')
        assert gone["status"] == "CANCELED"

    @pytest.mark.parametrize(
        ("method", "params", "code"),
        [
            ("POST", {"batchOrders": "[]"}, -4082),
            ("POST", {"batchOrders": "[1,2,3,4,5,6]"}, -4082),
            ("POST", {"batchOrders": "[1]"}, -1102),
            ("POST", {"batchOrders": "{}"}, -1102),
            ("POST", {"batchOrders": "["}, -1102),
            ("DELETE", {"symbol": "BTCUSDT"}, -1102),
            ("DELETE", {"symbol": "BTCUSDT", "orderIdList": "[1,2,3,4,5,6,7,8,9,10,11]"}, -4032),
        ],
    )
    def test_a_batch_that_makes_no_sense_is_refused(
        self, desk: Any, method: str, params: dict[str, str], code: int
    ) -> None:
        assert desk.code(method, BATCH, **params) == code

    def test_a_batch_counts_five_orders_in_ten_seconds(self, desk: Any) -> None:
        headers = desk.raw("POST", BATCH, batchOrders="[1]").headers
        assert headers["X-MBX-ORDER-COUNT-10S"] == "5"
        assert headers["X-MBX-ORDER-COUNT-1M"] == "1"


class TestCountdown:
    PATH = "/fapi/v1/countdownCancelAll"

    def test_orders_of_the_symbol_end_unless_it_is_renewed(self, desk: Any) -> None:
        desk.limit("BUY", "0.1", 48000)
        desk.limit("BUY", "1", 1900, symbol="ETHUSDT")
        reply = desk.call("POST", self.PATH, symbol="BTCUSDT", countdownTime=5000)
        assert reply == {"symbol": "BTCUSDT", "countdownTime": "5000"}
        desk.now_ms += 4000
        desk.call("POST", self.PATH, symbol="BTCUSDT", countdownTime=5000)
        desk.now_ms += 4000
        assert len(desk.call("GET", "/fapi/v1/openOrders")) == 2
        desk.now_ms += 1000
        assert [row["symbol"] for row in desk.call("GET", "/fapi/v1/openOrders")] == ["ETHUSDT"]

    def test_zero_stops_it(self, desk: Any) -> None:
        desk.limit("BUY", "0.1", 48000)
        desk.call("POST", self.PATH, symbol="BTCUSDT", countdownTime=1000)
        desk.call("POST", self.PATH, symbol="BTCUSDT", countdownTime=0)
        desk.now_ms += 5000
        assert len(desk.call("GET", "/fapi/v1/openOrders")) == 1
        assert desk.code("POST", self.PATH, symbol="BTCUSDT", countdownTime=-1) == -1130

    def test_a_fill_after_the_deadline_does_not_happen(self, desk: Any) -> None:
        desk.limit("BUY", "0.1", 48000)
        desk.call("POST", self.PATH, symbol="BTCUSDT", countdownTime=1000)
        desk.now_ms += 2000
        desk.pin("BTCUSDT", 47000)
        assert desk.call("GET", "/fapi/v1/openOrders") == []
        assert desk.amounts() == {}


class TestIsolatedMargin:
    PATH = "/fapi/v1/positionMargin"

    @pytest.fixture
    def isolated(self, desk: Any) -> Any:
        desk.call("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
        desk.market("BUY", "0.1")
        return desk

    def test_margin_moves_in_and_out_and_the_wallet_stays(self, isolated: Any) -> None:
        (held,) = isolated.account.positions.values()
        before, wallet = held.isolated_wallet, isolated.account.wallet
        reply = isolated.call("POST", self.PATH, symbol="BTCUSDT", amount="100.5", type=1)
        assert (reply["amount"], reply["code"], reply["type"]) == (100.5, 200, 1)
        assert held.isolated_wallet == before + Decimal("100.5")
        isolated.call("POST", self.PATH, symbol="BTCUSDT", amount="100", type=2)
        assert held.isolated_wallet == before + Decimal("0.5")
        assert isolated.account.wallet == wallet

    @pytest.mark.parametrize(
        ("params", "code"),
        [
            ({"symbol": "ETHUSDT"}, -4049),
            ({"amount": "0"}, -4055),
            ({"amount": "20000"}, -4050),
            ({"amount": "100", "type": 2}, -4051),
            ({"type": 3}, -1102),
            ({"positionSide": "LONG"}, -4061),
            ({"positionSide": "UP"}, -4060),
        ],
    )
    def test_a_move_that_cannot_be_is_refused(self, isolated: Any, params: dict[str, Any], code: int) -> None:
        asked = {"symbol": "BTCUSDT", "amount": "1", "type": 1, **params}
        assert isolated.code("POST", self.PATH, **asked) == code

    def test_without_a_position_there_is_nothing_to_add_to(self, isolated: Any) -> None:
        isolated.market("SELL", "0.1")
        assert isolated.code("POST", self.PATH, symbol="BTCUSDT", amount="1", type=1) == -4054


def test_forced_orders_are_listed(desk: Any) -> None:
    desk.call("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=100)
    desk.market("BUY", "15")
    desk.now_ms += 1000
    desk.pin("BTCUSDT", 40000)
    (row,) = desk.call("GET", "/fapi/v1/forceOrders")
    assert row["clientOrderId"].startswith("autoclose-")
    assert desk.call("GET", "/fapi/v1/forceOrders", autoCloseType="ADL") == []


def test_risk_reads_answer(desk: Any) -> None:
    desk.market("BUY", "0.1")
    assert desk.call("GET", "/fapi/v1/apiTradingStatus")["indicators"] == {}
    quantiles = {"LONG": 0, "SHORT": 0, "BOTH": 1}
    assert desk.call("GET", "/fapi/v1/adlQuantile") == [{"symbol": "BTCUSDT", "adlQuantile": quantiles}]
    assert Decimal(desk.call("GET", "/fapi/v1/openInterest", symbol="BTCUSDT")["openInterest"]) > 0


@pytest.mark.parametrize(("wanted", "code"), [("true", -1020), ("false", -4171)])
def test_there_is_only_the_single_asset_mode(desk: Any, wanted: str, code: int) -> None:
    assert desk.code("POST", "/fapi/v1/multiAssetsMargin", multiAssetsMargin=wanted) == code


class TestTradesOfOthers:
    PATH = "/fapi/v1/aggTrades"

    def test_the_newest_have_no_gaps(self, desk: Any) -> None:
        rows = desk.call("GET", self.PATH, symbol="SOLUSDT", limit=10)
        ids = [row["a"] for row in rows]
        assert ids == list(range(ids[0], ids[0] + 10))
        assert rows[-1]["T"] <= desk.now_ms

    def test_they_are_the_same_by_id_and_by_time(self, desk: Any) -> None:
        rows = desk.call("GET", self.PATH, symbol="SOLUSDT", startTime=desk.now_ms - 60_000, limit=20)
        assert len(rows) == 20
        assert rows[0]["T"] >= desk.now_ms - 60_000
        again = desk.call("GET", self.PATH, symbol="SOLUSDT", fromId=rows[3]["a"], limit=5)
        assert again == rows[3:8]

    def test_more_than_an_hour_at_once_is_refused(self, desk: Any) -> None:
        times = {"startTime": desk.now_ms - 4_000_000, "endTime": desk.now_ms}
        assert desk.code("GET", self.PATH, symbol="SOLUSDT", **times) == -1127


def test_going_on_after_refusals_ends_in_a_ban(open_desk: Callable[..., Any]) -> None:
    desk = open_desk(limits=RateLimits(10, 0, 0, refusals_until_ban=3))
    statuses = [desk.raw("GET", "/fapi/v3/account").status for _ in range(6)]
    assert statuses == [200, 200, 429, 429, 429, 418]
    reply = desk.raw("GET", "/fapi/v1/time")
    assert (reply.status, reply.headers["Retry-After"]) == (418, "120")
    assert f"IP banned until {desk.now_ms + 120_000}" in reply.body.decode()
    desk.now_ms += 120_000
    assert desk.raw("GET", "/fapi/v1/time").status == 200
    statuses = [desk.raw("GET", "/fapi/v3/account").status for _ in range(5)]
    assert statuses == [200, 429, 429, 429, 418]
    assert desk.raw("GET", "/fapi/v1/time").headers["Retry-After"] == "240"
