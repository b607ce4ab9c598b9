"""Margin: what may be opened, at what leverage, and when a position is taken away."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

D = Decimal


def account(desk: Any) -> Any:
    return desk.call("GET", "/fapi/v3/account")


def leverage(desk: Any, times: int, symbol: str = "BTCUSDT") -> Any:
    return desk.call("POST", "/fapi/v1/leverage", symbol=symbol, leverage=times)


def test_an_order_beyond_the_free_margin_is_refused_and_one_within_is_not(desk: Any) -> None:
    leverage(desk, 10)
    assert desk.refusal("BUY", "2") == -2019
    assert desk.refusal("BUY", "1.9") == 0


def test_resting_orders_use_margin(desk: Any) -> None:
    leverage(desk, 10)
    desk.limit("BUY", "1", "50000")
    totals = account(desk)
    assert D(totals["totalOpenOrderInitialMargin"]) == 5000
    assert D(totals["availableBalance"]) == 5000
    assert desk.refusal("BUY", "1") == -2019
    desk.call("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    assert D(account(desk)["availableBalance"]) == 10_000


def test_closing_needs_no_margin(desk: Any) -> None:
    leverage(desk, 10)
    desk.market("BUY", "1.9")
    assert desk.refusal("SELL", "1.9") == 0


def test_the_account_adds_up(desk: Any) -> None:
    desk.market("BUY", "0.1")
    desk.market("SELL", "5", "ETHUSDT")
    desk.pin("BTCUSDT", 51000)
    totals = account(desk)
    pnl = D("0.1") * (D(51000) - D("50000.1"))
    assert D(totals["totalUnrealizedProfit"]) == pnl
    assert D(totals["totalMarginBalance"]) == D(totals["totalWalletBalance"]) + pnl
    assert D(totals["totalPositionInitialMargin"]) == D(5100) / 20 + D(10000) / 20
    assert D(totals["totalMaintMargin"]) == D(5100) * D("0.004") + D(10000) * D("0.004")
    assert D(totals["availableBalance"]) == D(totals["totalMarginBalance"]) - 755
    assert [row["symbol"] for row in totals["positions"]] == ["BTCUSDT", "ETHUSDT"]


def test_a_position_beyond_the_cap_of_its_leverage_is_refused(desk: Any) -> None:
    desk.account.wallet = D(10_000_000)
    leverage(desk, 125)
    assert desk.refusal("BUY", "6.1") == -2027
    assert desk.refusal("BUY", "5.9") == 0
    assert desk.refusal("BUY", "0.2") == -2027
    assert desk.refusal("SELL", "0.2") == 0


@pytest.mark.parametrize("times", [0, 126, -5])
def test_a_leverage_that_the_symbol_does_not_have_is_refused(desk: Any, times: int) -> None:
    assert desk.code("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=times) == -4028


def test_leverage_is_shown_by_the_configuration(desk: Any) -> None:
    assert leverage(desk, 7) == {"symbol": "BTCUSDT", "leverage": 7, "maxNotionalValue": "230000000"}
    row = desk.call("GET", "/fapi/v1/symbolConfig", symbol="BTCUSDT")[0]
    assert (row["leverage"], row["marginType"]) == (7, "CROSSED")
    assert desk.call("GET", "/fapi/v2/positionRisk", symbol="BTCUSDT")[0]["leverage"] == "7"


def test_leverage_cannot_rise_above_what_the_position_allows(desk: Any) -> None:
    desk.account.wallet = D(10_000_000)
    desk.market("BUY", "30")
    assert desk.code("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=125) == -2027


def test_leverage_cannot_fall_below_what_the_margin_carries(desk: Any) -> None:
    desk.market("BUY", "3")
    assert desk.code("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=5) == -2028
    assert desk.code("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=16) == 0


def isolate(desk: Any, symbol: str = "BTCUSDT") -> None:
    desk.call("POST", "/fapi/v1/marginType", symbol=symbol, marginType="ISOLATED")


def test_the_margin_type_changes_only_when_nothing_is_open(desk: Any) -> None:
    change = ("POST", "/fapi/v1/marginType")
    assert desk.code(*change, symbol="BTCUSDT", marginType="CROSSED") == -4046
    desk.limit("BUY", "0.1", "40000")
    assert desk.code(*change, symbol="BTCUSDT", marginType="ISOLATED") == -4047
    desk.call("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    desk.market("BUY", "0.1")
    assert desk.code(*change, symbol="BTCUSDT", marginType="ISOLATED") == -4048


def test_an_isolated_position_sets_its_margin_aside_and_gives_it_back(desk: Any) -> None:
    isolate(desk)
    desk.market("BUY", "0.1")
    aside = D("5000.01") / 20
    totals = account(desk)
    assert D(totals["totalCrossWalletBalance"]) == D(totals["totalWalletBalance"]) - aside
    assert D(totals["totalCrossUnPnl"]) == 0
    assert D(totals["positions"][0]["isolatedWallet"]) == aside
    assert desk.code("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=5) == -4161
    desk.market("SELL", "0.06")
    assert D(account(desk)["positions"][0]["isolatedWallet"]) == aside * D("0.4")
    desk.market("SELL", "0.04")
    totals = account(desk)
    assert totals["totalCrossWalletBalance"] == totals["totalWalletBalance"]


def test_a_cross_account_is_liquidated_when_maintenance_is_breached(desk: Any) -> None:
    desk.market("BUY", "3.9")
    resting = desk.limit("BUY", "0.002", "25000")
    price = D(desk.call("GET", "/fapi/v3/positionRisk")[0]["liquidationPrice"])
    desk.pin("BTCUSDT", price + 1)
    assert account(desk)["positions"]
    desk.pin("BTCUSDT", price - 1)
    assert account(desk)["positions"] == []
    last = desk.call("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")[-1]
    assert last["clientOrderId"].startswith("autoclose-")
    cancelled = desk.call("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=resting["orderId"])
    assert cancelled["status"] == "EXPIRED"
    assert desk.account.wallet >= 0


def test_an_isolated_liquidation_loses_no_more_than_its_margin(desk: Any) -> None:
    isolate(desk)
    desk.market("BUY", "0.1")
    before = D(account(desk)["totalCrossWalletBalance"])
    desk.market("BUY", "1", "ETHUSDT")
    fee = D("2000.01") * D("0.0005")
    desk.pin("BTCUSDT", 40000)
    rows = account(desk)
    assert [row["symbol"] for row in rows["positions"]] == ["ETHUSDT"]
    assert D(rows["totalWalletBalance"]) == before - fee


def test_a_hedged_account_is_margined_on_both_legs(desk: Any) -> None:
    desk.call("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")
    desk.market("BUY", "0.1", positionSide="LONG")
    desk.market("SELL", "0.1", positionSide="SHORT")
    assert D(account(desk)["totalPositionInitialMargin"]) == 500


def test_v3_lists_only_what_is_in_use_and_v2_every_symbol(desk: Any) -> None:
    desk.limit("BUY", "0.1", "40000")
    rows = desk.call("GET", "/fapi/v3/positionRisk")
    assert [(row["symbol"], row["positionAmt"]) for row in rows] == [("BTCUSDT", "0")]
    assert D(rows[0]["bidNotional"]) == 4000
    assert len(desk.call("GET", "/fapi/v2/positionRisk")) == len(desk.venue.specs)
    assert len(desk.call("GET", "/fapi/v2/account")["positions"]) == len(desk.venue.specs)


def test_a_fresh_account_has_been_updated_when_it_was_opened(desk: Any) -> None:
    assert account(desk)["assets"][0]["updateTime"] == desk.now_ms


def test_each_account_has_a_stable_alias_of_its_own(desk: Any, open_desk: Any) -> None:
    mine = desk.call("GET", "/fapi/v3/balance")[0]["accountAlias"]
    assert open_desk().call("GET", "/fapi/v2/balance")[0]["accountAlias"] == mine
    desk.key, desk.secret = "key-b", "secret-b"
    assert desk.call("GET", "/fapi/v3/balance")[0]["accountAlias"] != mine
