"""How orders fill, rest, expire and change positions (BINANCE.md 12.1 to 12.4)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from quantum_trader.exchange.simulator import TradingTerms

D = Decimal


def queried(desk: Any, order: dict[str, Any]) -> Any:
    return desk.call("GET", "/fapi/v1/order", symbol=order["symbol"], orderId=order["orderId"])


def risk(desk: Any, symbol: str = "BTCUSDT") -> Any:
    rows = desk.call("GET", "/fapi/v3/positionRisk", symbol=symbol)
    return rows[0] if rows else None


def test_a_market_order_with_result_answers_its_final_state(desk: Any) -> None:
    order = desk.market("BUY", "0.1")
    assert (order["status"], order["executedQty"], order["cumQty"]) == ("FILLED", "0.1", "0.1")
    assert "avgPrice" not in order
    assert "cumQuote" not in order


def test_a_market_order_with_ack_answers_new_and_is_then_found_filled(desk: Any) -> None:
    order = desk.market("BUY", "0.1", newClientOrderId="x1") | {}
    acked = desk.call("POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1")
    assert (acked["status"], acked["executedQty"], acked["cumQty"]) == ("NEW", "0", "0")
    found = queried(desk, acked)
    assert (found["status"], D(found["avgPrice"]), D(found["cumQuote"])) == (
        "FILLED",
        D("50000.1"),
        D("5000.01"),
    )
    assert acked["orderId"] == order["orderId"] + 1


def test_buys_fill_at_the_ask_and_sells_at_the_bid(desk: Any) -> None:
    assert D(queried(desk, desk.market("BUY", "0.1"))["avgPrice"]) == D("50000.1")
    assert D(queried(desk, desk.market("SELL", "0.1"))["avgPrice"]) == D("50000.0")


def test_an_order_is_found_by_the_latest_use_of_its_client_id(desk: Any) -> None:
    desk.market("BUY", "0.1", newClientOrderId="again")
    second = desk.market("BUY", "0.1", newClientOrderId="again")
    found = desk.call("GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="again")
    assert found["orderId"] == second["orderId"]


def test_an_unknown_order_does_not_exist_and_cannot_be_cancelled(desk: Any) -> None:
    params = {"symbol": "BTCUSDT", "origClientOrderId": "nothing"}
    assert desk.code("GET", "/fapi/v1/order", **params) == -2013
    assert desk.code("DELETE", "/fapi/v1/order", **params) == -2011
    assert desk.code("GET", "/fapi/v1/order", symbol="BTCUSDT") == -1102


def test_one_accounts_orders_are_invisible_to_another(desk: Any) -> None:
    order = desk.market("BUY", "0.1", newClientOrderId="mine")
    desk.key, desk.secret = "key-b", "secret-b"
    assert desk.code("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=order["orderId"]) == -2013
    assert desk.call("GET", "/fapi/v3/positionRisk") == []


def test_a_bigger_opposite_order_closes_and_opens_the_other_way(desk: Any) -> None:
    desk.market("BUY", "0.1")
    desk.market("SELL", "0.3")
    assert desk.amounts() == {"BTCUSDT": D("-0.2")}
    row = risk(desk)
    assert D(row["entryPrice"]) == D("50000.0")
    assert D(row["notional"]) == D(-10000)


def test_adding_to_a_position_averages_its_entry_and_reducing_keeps_it(desk: Any) -> None:
    desk.market("BUY", "0.1")
    desk.pin("BTCUSDT", 51000)
    desk.market("BUY", "0.3")
    assert D(risk(desk)["entryPrice"]) == D("50750.1")
    desk.market("SELL", "0.2")
    assert D(risk(desk)["entryPrice"]) == D("50750.1")


def test_the_break_even_of_a_fresh_long_covers_the_taker_fee(desk: Any) -> None:
    desk.market("BUY", "0.1")
    assert D(risk(desk)["breakEvenPrice"]) == D("50000.1") * D("1.0005")


class TestReduceOnly:
    def test_without_a_position_or_in_its_direction_it_is_refused(self, desk: Any) -> None:
        assert desk.refusal("SELL", "0.1", reduceOnly="true") == -2022
        desk.market("BUY", "0.1")
        assert desk.refusal("BUY", "0.1", reduceOnly="true") == -2022

    def test_more_than_the_position_is_clamped_and_the_rest_expires(self, desk: Any) -> None:
        desk.market("BUY", "0.1")
        order = desk.market("SELL", "0.5", reduceOnly="true")
        assert (order["status"], order["executedQty"], order["origQty"]) == ("EXPIRED", "0.1", "0.5")
        assert desk.amounts() == {}

    def test_more_than_the_position_is_refused_where_the_venue_does_not_clamp(
        self, open_desk: Callable[..., Any]
    ) -> None:
        desk = open_desk(terms=TradingTerms(clamps_reduce_only=False))
        desk.market("BUY", "0.1")
        assert desk.refusal("SELL", "0.5", reduceOnly="true") == -2022
        assert desk.market("SELL", "0.1", reduceOnly="true")["status"] == "FILLED"

    def test_resting_ones_go_when_the_position_is_gone(self, desk: Any) -> None:
        desk.market("BUY", "0.1")
        resting = desk.limit("SELL", "0.1", "51000", reduceOnly="true")
        desk.market("SELL", "0.1", reduceOnly="true")
        assert queried(desk, resting)["status"] == "EXPIRED"

    def test_resting_ones_leave_no_room_for_another(self, desk: Any) -> None:
        desk.market("BUY", "0.1")
        desk.limit("SELL", "0.1", "51000", reduceOnly="true")
        limit = {"type": "LIMIT", "price": "51000", "timeInForce": "GTC"}
        assert desk.refusal("SELL", "0.1", reduceOnly="true", **limit) == -2022

    def test_a_resting_one_never_flips_a_position_that_shrank(self, desk: Any) -> None:
        desk.market("BUY", "0.3")
        resting = desk.limit("SELL", "0.3", "51000", reduceOnly="true")
        desk.market("SELL", "0.2")
        desk.pin("BTCUSDT", 51500)
        found = queried(desk, resting)
        assert (found["status"], found["executedQty"]) == ("EXPIRED", "0.1")
        assert desk.amounts() == {}

    def test_an_exit_that_frees_resting_entries_beyond_the_margin_is_refused(
        self, open_desk: Callable[..., Any]
    ) -> None:
        desk = open_desk()
        desk.market("BUY", "3.9")
        desk.limit("SELL", "7.7", "50100")  # nearly all of it closes the position: little margin
        assert desk.refusal("SELL", "3.9", reduceOnly="true") == -4118
        desk.call("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
        assert desk.market("SELL", "3.9", reduceOnly="true")["status"] == "FILLED"


class TestHedgeMode:
    @pytest.fixture
    def hedged(self, desk: Any) -> Any:
        desk.call("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")
        return desk

    def test_both_sides_are_held_at_once(self, hedged: Any) -> None:
        hedged.market("BUY", "0.1", positionSide="LONG")
        hedged.market("SELL", "0.2", positionSide="SHORT")
        assert hedged.amounts() == {"BTCUSDT:LONG": D("0.1"), "BTCUSDT:SHORT": D("-0.2")}

    def test_an_order_must_name_its_side(self, hedged: Any) -> None:
        assert hedged.refusal("BUY", "0.1") == -4061
        assert hedged.refusal("BUY", "0.1", positionSide="BOTH") == -4061

    def test_reduce_only_is_not_taken(self, hedged: Any) -> None:
        hedged.market("BUY", "0.1", positionSide="LONG")
        assert hedged.refusal("SELL", "0.1", positionSide="LONG", reduceOnly="true") == -1106

    def test_closing_more_than_is_held_is_refused(self, hedged: Any) -> None:
        hedged.market("BUY", "0.1", positionSide="LONG")
        assert hedged.refusal("SELL", "0.2", positionSide="LONG") == -2022
        assert hedged.refusal("BUY", "0.1", positionSide="SHORT") == -2022
        hedged.market("SELL", "0.1", positionSide="LONG")
        assert hedged.amounts() == {}

    def test_resting_exits_count_against_what_can_still_be_closed(self, hedged: Any) -> None:
        hedged.market("BUY", "0.1", positionSide="LONG")
        hedged.limit("SELL", "0.06", "51000", positionSide="LONG")
        assert hedged.refusal("SELL", "0.05", positionSide="LONG") == -2022
        assert hedged.market("SELL", "0.04", positionSide="LONG")["status"] == "FILLED"

    def test_v2_rows_list_both_sides_of_every_symbol(self, hedged: Any) -> None:
        rows = hedged.call("GET", "/fapi/v2/positionRisk")
        assert len(rows) == 2 * len(hedged.venue.specs)
        assert {row["positionSide"] for row in rows} == {"LONG", "SHORT"}


class TestPositionMode:
    def test_it_cannot_be_changed_to_what_it_is(self, desk: Any) -> None:
        assert desk.code("POST", "/fapi/v1/positionSide/dual", dualSidePosition="false") == -4059

    def test_orders_and_positions_hold_it(self, desk: Any) -> None:
        desk.limit("BUY", "0.1", "40000")
        assert desk.code("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true") == -4067
        desk.call("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
        desk.market("BUY", "0.1")
        assert desk.code("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true") == -4068

    def test_one_way_takes_no_hedge_side(self, desk: Any) -> None:
        assert desk.refusal("BUY", "0.1", positionSide="LONG") == -4061


class TestLimitOrders:
    def test_one_below_the_market_rests_and_fills_when_the_price_comes(self, desk: Any) -> None:
        order = desk.limit("BUY", "0.1", "49000")
        assert order["status"] == "NEW"
        assert [row["orderId"] for row in desk.call("GET", "/fapi/v1/openOrders")] == [order["orderId"]]
        desk.pin("BTCUSDT", 48900)
        found = queried(desk, order)
        assert (found["status"], D(found["avgPrice"])) == ("FILLED", D(49000))
        trade = desk.call("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")[-1]
        assert (trade["maker"], D(trade["commission"])) == (True, D("0.98"))

    def test_one_through_the_market_fills_at_the_better_price(self, desk: Any) -> None:
        order = desk.limit("BUY", "0.1", "50100")
        assert D(queried(desk, order)["avgPrice"]) == D("50000.1")

    def test_immediate_or_cancel_expires_what_it_cannot_get(self, desk: Any) -> None:
        order = desk.limit("BUY", "0.1", "49000", timeInForce="IOC")
        assert (order["status"], order["executedQty"]) == ("EXPIRED", "0")

    def test_post_only_rests_or_is_refused(self, desk: Any) -> None:
        assert desk.limit("BUY", "0.1", "50000", timeInForce="GTX")["status"] == "NEW"
        crossing = {"type": "LIMIT", "timeInForce": "GTX", "price": "50000.1"}
        assert desk.refusal("BUY", "0.1", **crossing) == -5022

    def test_a_cancelled_one_is_final(self, desk: Any) -> None:
        order = desk.limit("BUY", "0.1", "49000")
        params = {"symbol": "BTCUSDT", "orderId": order["orderId"]}
        assert desk.call("DELETE", "/fapi/v1/order", **params)["status"] == "CANCELED"
        assert desk.code("DELETE", "/fapi/v1/order", **params) == -2011
        desk.pin("BTCUSDT", 48000)
        assert queried(desk, order)["status"] == "CANCELED"
        assert desk.code("GET", "/fapi/v1/openOrder", **params) == -2013

    def test_what_was_reached_before_its_date_is_filled_although_nobody_looked(self, desk: Any) -> None:
        begun_ms = desk.now_ms
        terms = {"timeInForce": "GTD", "goodTillDate": begun_ms + 700_000}
        reached, missed = (
            desk.limit("BUY", "0.1", "49000", **terms),
            desk.limit("BUY", "0.1", "48000", **terms),
        )
        for after_ms, price in ((300_000, 48_900), (400_000, 50_000), (750_000, 47_000)):
            desk.now_ms = begun_ms + after_ms
            desk.pin("BTCUSDT", price)
        desk.now_ms = begun_ms + 800_000
        statuses = [
            desk.call("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=order["orderId"])["status"]
            for order in (reached, missed)
        ]
        assert statuses == ["FILLED", "EXPIRED"]

    def test_good_till_date_expires(self, desk: Any) -> None:
        until_ms = desk.now_ms // 1000 * 1000 + 700_000
        order = desk.limit("BUY", "0.1", "49000", timeInForce="GTD", goodTillDate=until_ms)
        desk.now_ms = until_ms
        assert queried(desk, order)["status"] == "EXPIRED"

    def test_price_match_takes_its_price_from_the_book(self, desk: Any) -> None:
        order = desk.limit("BUY", "0.1", "", priceMatch="QUEUE_5")
        assert D(order["price"]) == D("49999.6")
        assert desk.limit("BUY", "0.1", "", priceMatch="OPPONENT")["status"] == "FILLED"


class TestThinBook:
    def test_a_market_order_larger_than_the_book_fills_partly_and_expires(self, thin_desk: Any) -> None:
        order = thin_desk.market("BUY", "3")
        found = queried(thin_desk, order)
        assert found["status"] == "EXPIRED"
        assert 0 < D(found["executedQty"]) < 3
        assert D(found["executedQty"]) == thin_desk.amounts()["BTCUSDT"]
        assert D(found["avgPrice"]) > D("50000.1")

    def test_the_fills_of_one_order_are_separate_trades_that_add_up(self, thin_desk: Any) -> None:
        order = thin_desk.market("BUY", "1")
        rows = thin_desk.call("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", orderId=order["orderId"])
        assert len(rows) > 1
        assert sum(D(row["qty"]) for row in rows) == 1
        assert D(queried(thin_desk, order)["cumQuote"]) == sum(D(row["quoteQty"]) for row in rows)
        assert [row["id"] for row in rows] == sorted({row["id"] for row in rows})

    def test_fill_or_kill_leaves_nothing_when_the_book_is_too_thin(self, thin_desk: Any) -> None:
        terms = {"type": "LIMIT", "timeInForce": "FOK", "price": "50500"}
        assert thin_desk.refusal("BUY", "3", **terms) == -5021
        assert not thin_desk.account.orders

    def test_no_market_order_goes_past_the_take_bound(self, thin_desk: Any) -> None:
        thin_desk.pin("BTCUSDT", 50000, mark=47000)
        assert thin_desk.refusal("BUY", "0.1") == -4131


def test_order_and_trade_ids_grow_by_symbol(desk: Any) -> None:
    orders = [desk.market(side, "0.1")["orderId"] for side in ("BUY", "SELL", "BUY")]
    assert orders == sorted(set(orders))
    desk.market("BUY", "1", "ETHUSDT")
    rows = desk.call("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")
    assert [row["orderId"] for row in rows] == orders


def test_all_orders_gives_the_newest_and_user_trades_the_oldest(desk: Any) -> None:
    for _ in range(5):
        desk.market("BUY", "0.01")
        desk.now_ms += 1000
    orders = desk.call("GET", "/fapi/v1/allOrders", symbol="BTCUSDT", limit=2)
    trades = desk.call("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", limit=2)
    everything = desk.call("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
    assert [row["orderId"] for row in orders] == [row["orderId"] for row in everything[-2:]]
    assert trades == everything[:2]
    rest = desk.call("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", fromId=trades[-1]["id"] + 1)
    assert rest == everything[2:]


def test_trades_can_be_asked_for_by_time(desk: Any) -> None:
    desk.market("BUY", "0.01")
    desk.now_ms += 10_000
    desk.market("SELL", "0.01")
    rows = desk.call("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", startTime=desk.now_ms - 5000)
    assert [row["side"] for row in rows] == ["SELL"]


def test_observers_hear_new_then_the_account_then_the_trade(desk: Any) -> None:
    heard: list[str] = []
    desk.venue.observe(lambda event: heard.append(getattr(event, "execution", "ACCOUNT")))
    desk.market("BUY", "0.1")
    assert heard == ["NEW", "ACCOUNT", "TRADE"]
