import re
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from aioresponses import CallbackResult, aioresponses
from exchange_stubs import KEY, NOW_MS, SECRET, ManualClock
from yarl import URL

from quantum_trader.domain.order import AccountTrade, OrderStatus
from quantum_trader.domain.trading import Account, Leg, PositionSide, Side
from quantum_trader.exchange.account import AccountConfig
from quantum_trader.exchange.binance import Exchange
from quantum_trader.exchange.errors import (
    ExchangeError,
    ExchangeRefused,
    ExchangeThrottled,
    ExchangeUnreachable,
    HeldBack,
    KeyRefused,
    ReplyUnreadable,
)
from quantum_trader.exchange.ports import AccountReads, MarketReads
from quantum_trader.exchange.settings import ExchangeSettings

BASE = "https://exchange.test"
WEEK_MS = 7 * 86_400_000
TOTALS = {
    "availableBalance": "9000.5",
    "totalMarginBalance": "10010",
    "totalWalletBalance": "10000",
    "totalInitialMargin": "1009.5",
    "totalMaintMargin": "40",
}
POSITION = {
    "symbol": "ADAUSDT",
    "positionSide": "BOTH",
    "positionAmt": "-30",
    "entryPrice": "0.385",
    "markPrice": "0.41047590",
    "unRealizedProfit": "-0.76427700",
    "isolatedWallet": "0",
    "updateTime": 1720736417660,
}
ORDER = {
    "avgPrice": "76916.90",
    "clientOrderId": "qt-1",
    "executedQty": "0.002",
    "orderId": 17,
    "origQty": "0.003",
    "side": "BUY",
    "positionSide": "BOTH",
    "status": "EXPIRED",
    "symbol": "BTCUSDT",
    "time": 1720736417000,
    "updateTime": 1720736417660,
}


def _at(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(BASE + path) + r"(\?.*)?$")


def _asked(http: aioresponses) -> list[URL]:
    return [url for (_, url), calls in http.requests.items() for _ in calls]


async def test_the_reads_satisfy_the_contract(exchange: Exchange) -> None:
    market: MarketReads = exchange.market
    account: AccountReads = exchange.account
    assert market is not account


async def test_an_account_is_read_with_its_balances(exchange: Exchange, http: aioresponses) -> None:
    http.get(_at("/fapi/v3/account"), payload=TOTALS)
    expected = map(Decimal, ("9000.5", "10010", "10000", "1009.5", "40"))
    assert await exchange.account.account() == Account(*expected)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("totalMaintMargin", None),
        ("availableBalance", 9000.5),
        ("availableBalance", "NaN"),
        ("availableBalance", ""),
        ("totalWalletBalance", {"x": 1}),
    ],
)
async def test_a_reply_with_a_wrong_field_raises_an_error_naming_endpoint_and_field(
    exchange: Exchange, http: aioresponses, field: str, value: object
) -> None:
    http.get(_at("/fapi/v3/account"), payload=TOTALS | {field: value})
    with pytest.raises(ReplyUnreadable, match=f"GET /fapi/v3/account: unreadable reply: {field}") as failure:
        await exchange.account.account()
    assert failure.value.field == field


async def test_a_missing_field_is_said_to_be_missing(exchange: Exchange, http: aioresponses) -> None:
    http.get(_at("/fapi/v3/account"), payload={"availableBalance": "1"})
    with pytest.raises(ReplyUnreadable, match="totalMarginBalance: is missing"):
        await exchange.account.account()


@pytest.mark.parametrize("broken", [None, 7, {}, [7], [{}], [{"updateTime": "1"}], [{"updateTime": None}]])
@pytest.mark.parametrize("part", ["positions", "assets"])
async def test_an_account_whose_parts_are_unreadable_is_unreadable(
    exchange: Exchange, http: aioresponses, part: str, broken: object
) -> None:
    http.get(_at("/fapi/v3/account"), payload=TOTALS | {part: broken})
    with pytest.raises(ReplyUnreadable, match=part):
        await exchange.account.account()


async def test_an_account_is_as_young_as_its_youngest_part(exchange: Exchange, http: aioresponses) -> None:
    parts = {"positions": [{"updateTime": 5}, {"updateTime": 9}], "assets": [{"updateTime": 7}]}
    http.get(_at("/fapi/v3/account"), payload=TOTALS | parts)
    assert (await exchange.account.account()).changed_ms == 9


READS = {
    "/fapi/v1/time": lambda exchange: exchange.market.server_time_ms(),
    "/fapi/v1/exchangeInfo": lambda exchange: exchange.market.symbol_rules(),
    "/fapi/v1/premiumIndex": lambda exchange: exchange.market.mark_prices(),
    "/fapi/v1/klines": lambda exchange: exchange.market.klines("BTCUSDT", "1h", 3),
    "/fapi/v3/positionRisk": lambda exchange: exchange.account.positions(),
    "/fapi/v3/account": lambda exchange: exchange.account.account(),
    "/fapi/v3/balance": lambda exchange: exchange.account.account_id(),
    "/fapi/v1/symbolConfig": lambda exchange: exchange.account.leverages(),
    "/fapi/v1/order": lambda exchange: exchange.account.order("BTCUSDT", "qt-1"),
    "/fapi/v1/userTrades": lambda exchange: exchange.account.trades("BTCUSDT", NOW_MS),
    "/fapi/v1/accountConfig": lambda exchange: exchange.account.account_config(),
    "/fapi/v1/positionSide/dual": lambda exchange: exchange.account.is_hedge_mode(),
}


@pytest.mark.parametrize("path", list(READS))
@pytest.mark.parametrize(
    "body", ["", "<html>", "null", "7", '"x"', "[7]", "[[]]", "[{}]", '{"symbols":[{}]}', '{"code":-1}']
)
async def test_no_malformed_success_becomes_an_answer_or_another_error(
    exchange: Exchange, http: aioresponses, path: str, body: str
) -> None:
    http.get(_at(path), body=body)
    with pytest.raises(ReplyUnreadable, match=f"GET {path}"):
        await READS[path](exchange)


@pytest.mark.parametrize("path", list(READS))
async def test_no_failed_read_becomes_an_empty_answer(
    exchange: Exchange, http: aioresponses, path: str
) -> None:
    http.get(_at(path), status=400, payload={"code": -9999, "msg": "no"})
    with pytest.raises(ExchangeRefused, match=f"GET {path}: HTTP 400 code -9999 no"):
        await READS[path](exchange)


async def test_a_read_is_tried_three_times_with_growing_pauses(
    exchange: Exchange, http: aioresponses, clock: ManualClock
) -> None:
    http.get(_at("/fapi/v3/account"), status=502, body="<html>Bad Gateway</html>")
    http.get(_at("/fapi/v3/account"), exception=aiohttp.ServerDisconnectedError())
    http.get(_at("/fapi/v3/account"), payload=TOTALS)
    assert (await exchange.account.account()).wallet_balance == 10_000
    first_s, second_s = clock.slept_s
    assert 0.1 <= first_s < 0.2 <= second_s < 0.4


async def test_a_read_gives_up_after_three_times(
    exchange: Exchange, http: aioresponses, clock: ManualClock
) -> None:
    http.get(_at("/fapi/v3/account"), timeout=True, repeat=True)
    with pytest.raises(ExchangeUnreachable, match="timed out"):
        await exchange.account.account()
    assert len(_asked(http)) == 3


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_refused_read_is_not_repeated(exchange: Exchange, http: aioresponses, status: int) -> None:
    http.get(_at("/fapi/v3/account"), status=status, payload={"code": -1102, "msg": "x"}, repeat=True)
    with pytest.raises(ExchangeRefused):
        await exchange.account.account()
    assert len(_asked(http)) == 1


async def test_an_error_keeps_the_whole_body_and_all_headers_but_cookies(
    exchange: Exchange, http: aioresponses
) -> None:
    headers = {"X-Cache": "Error from cloudfront", "Set-Cookie": "session=1"}
    http.get(_at("/fapi/v3/account"), status=404, body=f"<p>{KEY}</p>" + "x" * 5_000, headers=headers)
    with pytest.raises(ExchangeRefused) as failure:
        await exchange.account.account()
    assert failure.value.body == b"<p>[key]</p>" + b"x" * 5_000
    assert failure.value.headers["x-cache"] == "Error from cloudfront"
    assert "set-cookie" not in failure.value.headers


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [(401, -2015, "IP is on its allowlist"), (401, -2014, "testnet key"), (400, -1022, "does not belong")],
)
async def test_a_refused_key_is_told_with_advice(
    exchange: Exchange, http: aioresponses, status: int, code: int, advice: str
) -> None:
    http.get(_at("/fapi/v3/account"), status=status, payload={"code": code, "msg": "no"})
    with pytest.raises(KeyRefused, match=advice):
        await exchange.account.account()


async def test_a_throttled_read_waits_for_no_one_and_holds_the_next_one_back(
    exchange: Exchange, http: aioresponses, clock: ManualClock
) -> None:
    http.get(_at("/fapi/v3/account"), status=429, body="", headers={"Retry-After": "9"})
    with pytest.raises(ExchangeThrottled) as throttled:
        await exchange.account.account()
    assert (throttled.value.retry_after_s, throttled.value.banned) == (9, False)
    with pytest.raises(HeldBack) as held:
        await exchange.account.account()
    assert held.value.retry_after_s == pytest.approx(9)
    assert (len(_asked(http)), clock.slept_s) == (1, [])
    http.get(_at("/fapi/v3/account"), payload=TOTALS)
    assert await exchange.reserved_account.account()


async def test_a_timestamp_out_of_the_window_is_cured_by_one_resync(
    exchange: Exchange, http: aioresponses
) -> None:
    http.get(_at("/fapi/v3/account"), status=400, payload={"code": -1021, "msg": "Timestamp"})
    http.get(_at("/fapi/v1/time"), payload={"serverTime": NOW_MS + 60_000}, repeat=True)
    http.get(_at("/fapi/v3/account"), payload=TOTALS)
    await exchange.account.account()
    signed = [url.query["timestamp"] for url in _asked(http) if "timestamp" in url.query]
    assert signed == [str(NOW_MS), str(NOW_MS + 60_000)]
    assert exchange.clock.offset_ms == 60_000


async def test_a_timestamp_that_a_resync_does_not_cure_is_no_loop(
    exchange: Exchange, http: aioresponses
) -> None:
    http.get(_at("/fapi/v3/account"), status=400, payload={"code": -1021, "msg": "Timestamp"}, repeat=True)
    http.get(_at("/fapi/v1/time"), payload={"serverTime": NOW_MS}, repeat=True)
    with pytest.raises(ExchangeRefused, match="-1021"):
        await exchange.account.account()
    assert [url.path for url in _asked(http)].count("/fapi/v3/account") == 2


async def test_positions_are_signed_and_flat_rows_are_flat(exchange: Exchange, http: aioresponses) -> None:
    http.get(_at("/fapi/v3/positionRisk"), payload=[POSITION, POSITION | {"symbol": "X", "positionAmt": "0"}])
    http.get(_at("/fapi/v1/positionSide/dual"), payload={"dualSidePosition": False})
    positions = await exchange.account.positions()
    assert positions.amount(Leg("ADAUSDT")) == -30
    assert positions[Leg("ADAUSDT")].unrealized_pnl == Decimal("-0.764277")
    assert positions.symbols == {"ADAUSDT"}
    assert not positions.hedge_mode


async def test_only_an_isolated_position_has_a_wallet_of_its_own(
    exchange: Exchange, http: aioresponses
) -> None:
    isolated = POSITION | {"symbol": "BTCUSDT", "isolatedWallet": "12.5"}
    http.get(_at("/fapi/v3/positionRisk"), payload=[POSITION, isolated])
    http.get(_at("/fapi/v1/positionSide/dual"), payload={"dualSidePosition": False})
    positions = await exchange.account.positions()
    assert [position.margin_type for position in positions.values()] == ["cross", "isolated"]


async def test_the_client_id_of_an_order_is_found_by_the_exchanges_own(
    exchange: Exchange, http: aioresponses
) -> None:
    http.get(_at("/fapi/v1/order"), payload=ORDER)
    assert await exchange.account.client_order_id_of("BTCUSDT", 17) == "qt-1"
    assert await exchange.account.client_order_id_of("BTCUSDT", 17) == "qt-1"  # known: not asked again
    http.get(_at("/fapi/v1/order"), status=400, payload={"code": -2013, "msg": "Order does not exist."})
    assert await exchange.account.client_order_id_of("BTCUSDT", 18) is None


async def test_a_position_that_the_known_mode_cannot_hold_has_the_mode_read_again(
    exchange: Exchange, http: aioresponses
) -> None:
    http.get(_at("/fapi/v1/positionSide/dual"), payload={"dualSidePosition": False})
    http.get(_at("/fapi/v3/positionRisk"), payload=[POSITION])
    await exchange.account.positions()
    http.get(_at("/fapi/v3/positionRisk"), payload=[POSITION | {"positionSide": "SHORT"}])
    http.get(_at("/fapi/v1/positionSide/dual"), payload={"dualSidePosition": True})
    positions = await exchange.account.positions()
    assert positions.hedge_mode
    assert positions.amount(Leg("ADAUSDT", PositionSide.SHORT)) == -30


async def test_one_alias_names_the_account_and_two_or_none_are_an_error(
    exchange: Exchange, http: aioresponses
) -> None:
    url = _at("/fapi/v3/balance")
    http.get(
        url, payload=[{"accountAlias": "SgsR", "asset": "USDT"}, {"accountAlias": "SgsR", "asset": "BNB"}]
    )
    assert await exchange.account.account_id() == "SgsR"
    for rows in ([], [{"accountAlias": "a"}, {"accountAlias": "b"}]):
        http.get(url, payload=rows)
        with pytest.raises(ReplyUnreadable, match="accountAlias"):
            await exchange.account.account_id()


async def test_leverages_and_account_set_up_are_read(exchange: Exchange, http: aioresponses) -> None:
    http.get(_at("/fapi/v1/symbolConfig"), payload=[{"symbol": "BTCUSDT", "leverage": 21}])
    assert await exchange.account.leverages() == {"BTCUSDT": 21}
    config = {"canTrade": True, "multiAssetsMargin": False, "dualSidePosition": True}
    http.get(_at("/fapi/v1/accountConfig"), payload=config)
    assert await exchange.account.account_config() == AccountConfig(
        can_trade=True, multi_assets_margin=False, hedge_mode=True
    )


async def test_an_order_is_found_with_its_price_and_creation_time(
    exchange: Exchange, http: aioresponses
) -> None:
    http.get(_at("/fapi/v1/order"), payload=ORDER)
    order = await exchange.account.order("BTCUSDT", "qt-1")
    assert order is not None
    assert (order.status, order.executed_quantity, order.avg_price, order.created_ms) == (
        OrderStatus.EXPIRED,
        Decimal("0.002"),
        Decimal("76916.90"),
        1720736417000,
    )


async def test_an_order_without_fills_has_no_average_price(exchange: Exchange, http: aioresponses) -> None:
    http.get(_at("/fapi/v1/order"), payload=ORDER | {"avgPrice": "0.00000", "executedQty": "0"})
    order = await exchange.account.order("BTCUSDT", "qt-1")
    assert order is not None
    assert order.avg_price is None


async def test_only_2013_means_that_an_order_does_not_exist(exchange: Exchange, http: aioresponses) -> None:
    http.get(_at("/fapi/v1/order"), status=400, payload={"code": -2013, "msg": "Order does not exist."})
    assert await exchange.account.order("BTCUSDT", "qt-1") is None
    http.get(_at("/fapi/v1/order"), status=400, payload={"code": -2011, "msg": "Unknown order sent."})
    with pytest.raises(ExchangeRefused):
        await exchange.account.order("BTCUSDT", "qt-1")
    http.get(_at("/fapi/v1/order"), status=503, payload={"code": -2013, "msg": "?"}, repeat=True)
    with pytest.raises(ExchangeRefused):
        await exchange.account.order("BTCUSDT", "qt-1")


async def test_another_orders_state_is_no_answer(exchange: Exchange, http: aioresponses) -> None:
    for change in ({"clientOrderId": "qt-2"}, {"symbol": "ETHUSDT"}):
        http.get(_at("/fapi/v1/order"), payload=ORDER | change)
        with pytest.raises(ReplyUnreadable, match="another order"):
            await exchange.account.order("BTCUSDT", "qt-1")


async def test_marks_are_read_and_symbols_without_one_are_left_out(
    exchange: Exchange, http: aioresponses
) -> None:
    marks = [{"symbol": "A", "markPrice": "76916.95122464"}, {"symbol": "B", "markPrice": "0.00000000"}]
    http.get(_at("/fapi/v1/premiumIndex"), payload=marks)
    assert await exchange.market.mark_prices() == {"A": Decimal("76916.95122464")}


async def test_klines_come_oldest_first_as_decimals(exchange: Exchange, http: aioresponses) -> None:
    row = [1789478160000, "1.10", "1.30", "1.00", "1.20", "20.680", 1789478219999, "1", 878, "15", "1", "0"]
    http.get(_at("/fapi/v1/klines"), payload=[row, [row[0] + 60_000, *row[1:]]])
    first, second = await exchange.market.klines("BTCUSDT", "1m", 2)
    assert (first.open, first.high, first.low, first.close) == tuple(map(Decimal, ("1.1", "1.3", "1", "1.2")))
    assert (first.volume, first.close_time_ms) == (Decimal("20.68"), 1789478219999)
    assert second.open_time_ms > first.open_time_ms


@pytest.mark.parametrize("column", [0, 1, 5, 6])
async def test_a_damaged_kline_is_named(exchange: Exchange, http: aioresponses, column: int) -> None:
    row: list[Any] = [1789478160000, "1", "1", "1", "1", "1", 1789478219999]
    row[column] = None
    http.get(_at("/fapi/v1/klines"), payload=[row])
    with pytest.raises(ReplyUnreadable, match=rf"body\[0\]\[{column}\]"):
        await exchange.market.klines("BTCUSDT", "1m", 1)


@pytest.mark.parametrize("limit", [0, -1, 1_501])
async def test_a_kline_limit_that_the_exchange_refuses_is_not_sent(exchange: Exchange, limit: int) -> None:
    with pytest.raises(ValueError, match="klines limit"):
        await exchange.market.klines("BTCUSDT", "1m", limit)


async def test_exchange_info_teaches_the_weight_budget_its_limits(
    exchange: Exchange, http: aioresponses
) -> None:
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 4}
    symbols = [{"symbol": "A", "status": "TRADING", "filters": []}]
    http.get(_at("/fapi/v1/exchangeInfo"), payload={"symbols": symbols, "rateLimits": [limit]})
    assert list(await exchange.market.symbol_rules()) == ["A"]
    with pytest.raises(HeldBack, match="rate limit"):
        await exchange.account.account()


class _TradeHistory:
    """Answers like ``userTrades``: the oldest rows first, at most ``limit``, windows of 7 days."""

    def __init__(self, times_ms: list[int]) -> None:
        self.rows = [self._row(number, time_ms) for number, time_ms in enumerate(times_ms, start=1)]
        self.asked = 0

    @staticmethod
    def _row(number: int, time_ms: int) -> dict[str, object]:
        return {
            "id": number,
            "orderId": 7,
            "price": "76900.1",
            "qty": "0.001",
            "realizedPnl": "-0.5",
            "side": "SELL",
            "positionSide": "BOTH",
            "symbol": "BTCUSDT",
            "time": time_ms,
        }

    def answer(self, url: URL, **_: object) -> CallbackResult:
        self.asked += 1
        query = url.query
        if "fromId" in query:
            assert "startTime" not in query
            found = [row for row in self.rows if row["id"] >= int(query["fromId"])]
        else:
            start_ms, end_ms = int(query["startTime"]), int(query["endTime"])
            assert end_ms - start_ms < WEEK_MS
            found = [row for row in self.rows if start_ms <= row["time"] <= end_ms]
        return CallbackResult(payload=found[: int(query["limit"])])


@pytest.mark.parametrize(
    "times_ms",
    [
        [],
        [NOW_MS - 5],
        [NOW_MS - 5] * 3_500,
        list(range(NOW_MS - 2_000, NOW_MS)),
        [NOW_MS - 20 * 86_400_000 + 600_000 * number for number in range(2_500)],
        [NOW_MS - 2 * WEEK_MS] * 1_000 + [NOW_MS - 9],
        [NOW_MS + 3],
    ],
)
async def test_trades_are_complete_and_oldest_first_over_pages_and_windows(
    exchange: Exchange, http: aioresponses, times_ms: list[int]
) -> None:
    history = _TradeHistory(times_ms)
    http.get(_at("/fapi/v1/userTrades"), callback=history.answer, repeat=True)
    trades = await exchange.account.trades("BTCUSDT", NOW_MS - 21 * 86_400_000)
    assert [trade.trade_id for trade in trades] == list(range(1, len(times_ms) + 1))
    assert history.asked <= 4 + len(times_ms) // 1_000 + 1


async def test_trades_older_than_asked_for_are_left_out(exchange: Exchange, http: aioresponses) -> None:
    history = _TradeHistory([NOW_MS - 100, NOW_MS - 50])
    http.get(_at("/fapi/v1/userTrades"), callback=history.answer, repeat=True)
    (trade,) = await exchange.account.trades("BTCUSDT", NOW_MS - 50)
    assert trade == AccountTrade(
        leg=Leg("BTCUSDT"),
        side=Side.SELL,
        trade_id=2,
        order_id=7,
        quantity=Decimal("0.001"),
        price=Decimal("76900.1"),
        realized_pnl=Decimal("-0.5"),
        time_ms=NOW_MS - 50,
    )


async def test_trades_that_do_not_end_are_an_error_not_a_part(
    exchange: Exchange, http: aioresponses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.exchange.trades._PAGES_MAX", 3)
    history = _TradeHistory([NOW_MS - 5] * 3_500)
    http.get(_at("/fapi/v1/userTrades"), callback=history.answer, repeat=True)
    with pytest.raises(ExchangeError, match="more than 3 pages"):
        await exchange.account.trades("BTCUSDT", NOW_MS - 10)


async def test_a_page_of_trades_that_fails_fails_them_all(exchange: Exchange, http: aioresponses) -> None:
    history = _TradeHistory([NOW_MS - 5] * 1_500)
    http.get(_at("/fapi/v1/userTrades"), callback=history.answer)
    http.get(_at("/fapi/v1/userTrades"), status=400, payload={"code": -1127, "msg": "x"})
    with pytest.raises(ExchangeRefused):
        await exchange.account.trades("BTCUSDT", NOW_MS - 10)


async def test_the_clock_is_measured_through_the_same_door(exchange: Exchange, http: aioresponses) -> None:
    http.get(_at("/fapi/v1/time"), payload={"serverTime": NOW_MS - 2_500}, repeat=True)
    assert await exchange.clock.measure() == -2_500
    assert exchange.clock.is_measured


def test_settings_show_no_secret_and_refuse_what_cannot_work() -> None:
    shown = repr(ExchangeSettings(BASE, KEY, SECRET))
    assert KEY not in shown
    assert SECRET not in shown
    for change in (
        {"rest_url": "exchange.test"},
        {"rest_url": "wss://exchange.test"},
        {"rest_url": "https://user:word@exchange.test"},
        {"rest_url": "https://exchange.test/?a=1"},
        {"recv_window_ms": 0},
        {"recv_window_ms": 60_001},
        {"request_timeout_s": 0},
        {"reserve_share": 1},
        {"reserve_share": -0.1},
    ):
        settings = {"rest_url": BASE, "api_key": KEY, "api_secret": SECRET} | change
        with pytest.raises(ValueError, match=next(iter(change))):
            ExchangeSettings(**settings)


async def test_nothing_in_the_bundle_shows_key_or_secret(exchange: Exchange) -> None:
    shown = f"{exchange!r} {exchange._transport!r} {vars(exchange.entry)!r}"
    assert KEY not in shown
    assert SECRET not in shown
