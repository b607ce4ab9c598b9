"""Whatever happens, the wallet changes by realised PnL less fees plus funding, exactly."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

D = Decimal

FUNDING_MS = 8 * 3_600_000


def booked(desk: Any) -> D:
    return sum((income.amount for income in desk.account.incomes), D(0))


SYMBOLS = st.sampled_from(["BTCUSDT", "ETHUSDT"])
STEPS = st.one_of(
    st.tuples(
        st.just("market"), SYMBOLS, st.sampled_from(["BUY", "SELL"]), st.integers(1, 3000), st.booleans()
    ),
    st.tuples(
        st.just("limit"),
        SYMBOLS,
        st.sampled_from(["BUY", "SELL"]),
        st.integers(1, 3000),
        st.integers(-40, 40),
    ),
    st.tuples(st.just("move"), SYMBOLS, st.integers(900, 1100)),
    st.tuples(st.just("wait"), st.sampled_from([1, 1000, 3_600_000, FUNDING_MS])),
    st.tuples(st.just("cancel"), SYMBOLS),
    st.tuples(st.just("isolate"), SYMBOLS, st.sampled_from(["ISOLATED", "CROSSED"])),
    st.tuples(st.just("leverage"), SYMBOLS, st.integers(1, 125)),
)
BASE = {"BTCUSDT": 50000, "ETHUSDT": 2000}


def take(desk: Any, step: tuple[Any, ...]) -> None:
    match step:
        case ("market", symbol, side, thousandths, reduce_only):
            params = {"reduceOnly": "true"} if reduce_only else {}
            desk.refusal(side, D(thousandths) / 1000, symbol=symbol, **params)
        case ("limit", symbol, side, thousandths, permille):
            price = BASE[symbol] * (1000 + permille) // 1000
            terms = {"type": "LIMIT", "timeInForce": "GTC", "price": price}
            desk.refusal(side, D(thousandths) / 1000, symbol=symbol, **terms)
        case ("move", symbol, permille):
            desk.pin(symbol, BASE[symbol] * permille // 1000)
        case ("wait", duration_ms):
            desk.now_ms += duration_ms
        case ("cancel", symbol):
            desk.call("DELETE", "/fapi/v1/allOpenOrders", symbol=symbol)
        case ("isolate", symbol, kind):
            desk.code("POST", "/fapi/v1/marginType", symbol=symbol, marginType=kind)
        case ("leverage", symbol, leverage):
            desk.code("POST", "/fapi/v1/leverage", symbol=symbol, leverage=leverage)
    desk.call("GET", "/fapi/v3/account")


def assert_books_agree(desk: Any, traded: dict[str, D]) -> None:
    account = desk.account
    assert account.wallet == 10_000 + booked(desk)
    fees = sum((trade.commission for trade in account.trades), D(0))
    assert fees == -sum((row.amount for row in account.incomes if row.type == "COMMISSION"), D(0))
    for symbol in BASE:
        held = sum((held.amount for leg, held in account.positions.items() if leg.symbol == symbol), D(0))
        assert held == traded[symbol]
    assert account.wallet >= account.isolated_wallets() or account.positions
    assert all(not order.status.is_final for order in account.open_orders.values())
    assert all(order.executed <= order.quantity for order in account.orders.values())


@given(steps=st.lists(STEPS, max_size=25))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_trading_keeps_the_books_exact(open_desk: Any, steps: list[tuple[Any, ...]]) -> None:
    desk = open_desk()
    for step in steps:
        take(desk, step)
        traded = {
            symbol: sum((t.quantity * t.side.sign for t in desk.account.trades if t.symbol == symbol), D(0))
            for symbol in BASE
        }
        assert_books_agree(desk, traded)


@given(steps=st.lists(STEPS, max_size=15))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_calls_at_the_same_times_give_the_same_venue(
    open_desk: Any, steps: list[tuple[Any, ...]]
) -> None:
    first, second = open_desk(), open_desk()
    for step in steps:
        take(first, step)
        take(second, step)
    path = "/fapi/v2/account"
    assert first.raw("GET", path).body == second.raw("GET", path).body


def test_a_round_trip_costs_the_spread_and_two_fees(desk: Any) -> None:
    desk.market("BUY", "0.1")
    desk.market("SELL", "0.1")
    fees = D("0.0005") * (D("5000.01") + D("5000.00"))
    assert desk.account.wallet == D(10_000) - D("0.01") - fees


def test_incomes_are_listed_with_their_trades(desk: Any) -> None:
    desk.market("BUY", "0.1")
    desk.market("SELL", "0.1")
    rows = desk.call("GET", "/fapi/v1/income", symbol="BTCUSDT")
    assert [row["incomeType"] for row in rows] == ["COMMISSION", "REALIZED_PNL", "COMMISSION"]
    realized = desk.call("GET", "/fapi/v1/income", incomeType="REALIZED_PNL")
    assert [D(row["income"]) for row in realized] == [D("-0.01")]


@pytest.mark.parametrize(("side", "sign"), [("BUY", -1), ("SELL", 1)])
def test_funding_is_paid_at_the_mark_when_it_falls_due(desk: Any, side: str, sign: int) -> None:
    desk.market(side, "0.1")
    before = desk.account.wallet
    due_ms = (desk.now_ms // FUNDING_MS + 1) * FUNDING_MS
    rate = desk.venue.market.funding_rate("BTCUSDT", due_ms - 1)
    desk.now_ms = due_ms - 1
    desk.call("GET", "/fapi/v3/account")
    assert desk.account.wallet == before
    desk.now_ms = due_ms + 5000
    desk.call("GET", "/fapi/v3/account")
    assert rate != 0
    assert desk.account.wallet == before + sign * (D(5000) * rate)
    row = desk.call("GET", "/fapi/v1/income", incomeType="FUNDING_FEE")[-1]
    assert row["time"] == due_ms
