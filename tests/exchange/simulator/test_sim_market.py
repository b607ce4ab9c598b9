"""Prices and candles: reproducible, consistent with each other, movable by hand."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_trader.exchange.simulator import SimulatorSettings, build_market
from quantum_trader.exchange.simulator.bars import INTERVALS_MS, Bar, corners, part, price_at
from quantum_trader.exchange.simulator.candles import CandleFileError
from quantum_trader.exchange.simulator.market import Market
from quantum_trader.exchange.simulator.symbols import SYMBOLS
from quantum_trader.exchange.simulator.synthetic import HISTORY_DAYS

D = Decimal

NOW_MS = 1_795_246_212_345
SHARED = Path(__file__).parents[4] / "shared" / "data"
NO_WINDOW = (None, None)


def market(**changes: Any) -> Market:
    return build_market(SimulatorSettings(**changes), NOW_MS)


@pytest.mark.parametrize("hour", [0, 3, 12, 23])
def test_candles_of_a_file_begin_with_the_hundred_hours_that_a_regime_needs(
    tmp_path: Path, hour: int
) -> None:
    path = write_klines(tmp_path / "SOLUSDT-1h.json", hours(166))
    midnight_ms = NOW_MS // 86_400_000 * 86_400_000
    start_ms = midnight_ms + hour * 3_600_000 + 1
    played = build_market(SimulatorSettings(klines=(path,)), start_ms)
    closed = [
        row for row in played.klines("SOLUSDT", "1h", start_ms, 200, NO_WINDOW) if row.end_ms <= start_ms
    ]
    assert len(closed) >= 100


def test_the_same_seed_gives_the_same_prices_in_any_order_of_asking() -> None:
    first, second = market(seed=7), market(seed=7)
    times = [NOW_MS + step * 977 for step in range(200)]
    ahead = {at_ms: first.quote("SOLUSDT", at_ms) for at_ms in times}
    back = {at_ms: second.quote("SOLUSDT", at_ms) for at_ms in reversed(times)}
    assert ahead == back
    assert market(seed=8).quote("SOLUSDT", NOW_MS) != ahead[times[0]]


def test_a_market_that_starts_later_is_on_the_same_path() -> None:
    later = build_market(SimulatorSettings(seed=7), NOW_MS + 3_600_000)
    assert later.quote("BTCUSDT", NOW_MS + 7_200_000) == market(seed=7).quote("BTCUSDT", NOW_MS + 7_200_000)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_prices_are_on_the_tick_and_near_what_is_usual(symbol: str) -> None:
    spec, moving = SYMBOLS[symbol], market()
    for step in range(0, 86_400_000, 3_600_000):
        quote = moving.quote(symbol, NOW_MS + step)
        assert all(price > 0 and price % spec.tick == 0 for price in quote)
        assert quote.bid < quote.ask
        assert abs(quote.mark / quote.last - 1) < D("0.002")
        assert spec.price_typical / 3 < quote.last < spec.price_typical * 3


@pytest.mark.parametrize("interval", INTERVALS_MS)
def test_candles_follow_each_other_and_end_at_the_last_price(interval: str) -> None:
    moving = market()
    rows = moving.klines("ETHUSDT", interval, NOW_MS, 500, NO_WINDOW)
    for before, after in pairwise(rows):
        assert before.end_ms == after.open_ms
        assert before.close == after.open
    for row in rows:
        assert row.low <= min(row.open, row.close) <= max(row.open, row.close) <= row.high
    assert rows[-1].open_ms <= NOW_MS < rows[-1].end_ms
    assert rows[-1].close * SYMBOLS["ETHUSDT"].tick == moving.quote("ETHUSDT", NOW_MS).last


def test_there_are_five_hundred_closed_hours_and_more() -> None:
    assert len(market().klines("BTCUSDT", "1h", NOW_MS, 1500, NO_WINDOW)) == 1500
    assert len(market().klines("BTCUSDT", "1d", NOW_MS, 1500, NO_WINDOW)) == HISTORY_DAYS + 1


def test_every_price_lies_within_its_candle() -> None:
    moving = market()
    hour_ms = NOW_MS // 3_600_000 * 3_600_000
    later_ms = hour_ms + 3_600_000
    hour = moving.klines("BTCUSDT", "1h", later_ms, 1, (hour_ms, hour_ms))[0]
    tick = SYMBOLS["BTCUSDT"].tick
    seen = [moving.quote("BTCUSDT", hour_ms + step).last for step in range(0, 3_600_000, 1000)]
    assert min(seen) >= hour.low * tick
    assert max(seen) <= hour.high * tick
    assert seen[0] == hour.open * tick


def test_small_candles_add_up_to_large_ones() -> None:
    moving = market()
    hours = moving.klines("BTCUSDT", "1h", NOW_MS, 49, NO_WINDOW)[:-1]
    for hour in hours:
        minutes = moving.klines("BTCUSDT", "1m", NOW_MS, 60, (hour.open_ms, hour.end_ms - 1))
        assert len(minutes) == 60
        assert (minutes[0].open, minutes[-1].close) == (hour.open, hour.close)
        assert max(row.high for row in minutes) == hour.high
        assert min(row.low for row in minutes) == hour.low
        assert sum(row.volume for row in minutes) == hour.volume


def test_symbols_move_together_but_not_the_same() -> None:
    moving = market()
    closes = {
        symbol: [row.close for row in moving.klines(symbol, "1d", NOW_MS, 400, NO_WINDOW)]
        for symbol in ("BTCUSDT", "ETHUSDT")
    }
    rises = {symbol: [b > a for a, b in pairwise(rows)] for symbol, rows in closes.items()}
    same = sum(a == b for a, b in zip(rises["BTCUSDT"], rises["ETHUSDT"], strict=True))
    assert 220 < same < 390


def test_a_window_of_candles_is_cut_to_its_bounds_and_limit() -> None:
    moving = market()
    minute_ms = NOW_MS // 60_000 * 60_000
    start_ms = minute_ms - 100 * 60_000
    rows = moving.klines("BTCUSDT", "1m", NOW_MS, 10, (start_ms + 1, None))
    assert [row.open_ms for row in rows] == [start_ms + 60_000 * step for step in range(1, 11)]
    rows = moving.klines("BTCUSDT", "1m", NOW_MS, 10, (None, start_ms))
    assert rows[-1].open_ms == start_ms
    assert len(rows) == 10
    assert moving.klines("BTCUSDT", "1m", NOW_MS, 10, (NOW_MS + 60_000, None)) == []


def test_a_pinned_price_stays_until_it_is_released_and_goes_on_from_there() -> None:
    moving = market()
    moving.pin("BTCUSDT", D("70000.07"), NOW_MS)
    for later in (0, 1, 3_600_000):
        assert moving.quote("BTCUSDT", NOW_MS + later).last == D("70000.1")
    free_ms = NOW_MS + 3_600_000
    moving.release("BTCUSDT", free_ms)
    moved = moving.quote("BTCUSDT", free_ms + 1_800_000).last
    assert moved != D("70000.1")
    assert abs(moved / 70000 - 1) < D("0.1")


def test_a_shock_shows_in_the_price_and_in_the_open_candle() -> None:
    moving = market()
    before = moving.quote("BTCUSDT", NOW_MS).last
    moving.shock("BTCUSDT", D("0.9"), NOW_MS)
    after = moving.quote("BTCUSDT", NOW_MS).last
    assert abs(after / before - D("0.9")) < D("0.0001")
    row = moving.klines("BTCUSDT", "1h", NOW_MS + 1000, 2, NO_WINDOW)[-1]
    tick = SYMBOLS["BTCUSDT"].tick
    assert row.low * tick <= after
    assert row.high * tick >= before
    assert row.close * tick == moving.quote("BTCUSDT", NOW_MS + 1000).last


def test_speed_moves_the_market_faster_but_keeps_candles_dense_and_current() -> None:
    fast = market(speed=D(300))
    later_ms = NOW_MS + 60_000
    assert fast.quote("BTCUSDT", later_ms) == market().quote("BTCUSDT", NOW_MS + 300 * 60_000)
    rows = fast.klines("BTCUSDT", "5m", later_ms, 100, NO_WINDOW)
    assert rows[-1].open_ms <= later_ms < rows[-1].end_ms
    assert all(before.end_ms == after.open_ms for before, after in pairwise(rows))


def test_a_fraction_of_the_speed_makes_the_market_as_slow() -> None:
    slow = market(speed=D("0.25"))
    quote = slow.quote("BTCUSDT", NOW_MS + 60_000)
    assert quote == market().quote("BTCUSDT", NOW_MS + 15_000)
    rows = slow.klines("BTCUSDT", "5m", NOW_MS + 60_000, 100, NO_WINDOW)
    assert all(before.end_ms == after.open_ms for before, after in pairwise(rows))


def test_candles_of_the_premium_lead_from_one_to_the_next_around_the_premium_of_now(desk: Any) -> None:
    query = {"symbol": "BTCUSDT", "interval": "1h", "limit": 5}
    rows = desk.call("GET", "/fapi/v1/premiumIndexKlines", **query)
    assert [row[0] for row in rows] == [row[0] for row in desk.call("GET", "/fapi/v1/klines", **query)]
    assert all(before[4] == after[1] for before, after in pairwise(rows))
    for row in rows:
        opened, high, low, close = map(D, row[1:5])
        assert low <= min(opened, close) <= max(opened, close) <= high
        assert abs(high) < D("0.001")
        assert (row[5], row[7], *row[9:]) == ("0", "0", "0", "0", "0")
    desk.venue.market.release("BTCUSDT", desk.now_ms)
    now = desk.call("GET", "/fapi/v1/premiumIndex", symbol="BTCUSDT")
    premium = D(now["markPrice"]) / D(now["indexPrice"]) - 1
    assert abs(premium - D(rows[-1][4])) < D("0.000005")
    assert desk.code("GET", "/fapi/v1/premiumIndexKlines", symbol="BTCUSDT") == -1102


BARS = st.tuples(st.integers(1, 500), st.integers(1, 500), st.integers(0, 200), st.integers(0, 200)).map(
    lambda t: Bar(0, 60_000, t[0], max(t[0], t[1]) + t[2], max(1, min(t[0], t[1]) - t[3]), t[1], 1000)
)


@given(bar=BARS, cuts=st.tuples(st.integers(0, 60_000), st.integers(0, 60_000)))
@settings(max_examples=100, deadline=None)
def test_a_part_of_a_candle_never_leaves_it(bar: Bar, cuts: tuple[int, int]) -> None:
    start, end = sorted(cuts)
    seen = part(bar, start, end)
    assert bar.low <= seen.low <= seen.open <= seen.high <= bar.high
    assert bar.low <= seen.low <= seen.close <= seen.high
    assert {price for _, price in corners(bar)} >= {bar.high, bar.low}
    assert price_at(bar, 60_000) == bar.close


def write_klines(path: Path, rows: list[list[Any]]) -> Path:
    path.write_bytes(orjson.dumps(rows))
    return path


def hours(count: int) -> list[list[Any]]:
    prices = [100 + (index * 7) % 13 for index in range(count + 1)]
    return [
        [i * 3_600_000, f"{a}.0", f"{max(a, b) + 1}.0", f"{min(a, b) - 1}.0", f"{b}.0", "50", 0]
        for i, (a, b) in enumerate(pairwise(prices))
    ]


def test_a_file_of_candles_is_played_and_read_backwards_at_its_end(tmp_path: Path) -> None:
    path = write_klines(tmp_path / "SOLUSDT-1h.json", hours(48))
    played = market(klines=(path,), speed=D(3600))
    rows = played.klines("SOLUSDT", "1h", NOW_MS + 60_000, 80, NO_WINDOW)
    assert all(before.close == after.open for before, after in pairwise(rows))
    prices = [played.quote("SOLUSDT", NOW_MS + step).last for step in range(0, 200_000, 100)]
    assert D(99) <= min(prices) <= max(prices) <= D(114)
    assert len(set(prices)) > 20


def test_csv_and_json_of_the_same_candles_are_the_same_market(tmp_path: Path) -> None:
    rows = hours(48)
    plain = tmp_path / "SOLUSDT.csv"
    plain.write_text("\n".join(",".join(map(str, row)) for row in rows))
    headed = tmp_path / "headed-solusdt.csv"
    headed.write_text("open_time,open,high,low,close,volume,close_time\n" + plain.read_text())
    markets = [
        market(klines=(path,)) for path in (write_klines(tmp_path / "SOLUSDT.json", rows), plain, headed)
    ]
    seen = [m.klines("SOLUSDT", "1h", NOW_MS, 20, NO_WINDOW) for m in markets]
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SOLUSDT.csv", "open_time,open,high,low,close,volume\n"),
        ("SOLUSDT.csv", "0,1,1,1,x,1\n60000,1,1,1,1,1\n"),
        ("SOLUSDT.csv", "0,1,1,1,NaN,1\n60000,1,1,1,1,1\n"),
        ("SOLUSDT.csv", "0,1,1,1,1,1\n70000,1,1,1,1,1\n"),
        ("SOLUSDT.json", "{"),
        ("NOSUCHUSDT.json", "[]"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(CandleFileError, match=name):
        market(klines=(path,))


@pytest.mark.parametrize(
    ("name", "symbol", "interval"),
    [
        ("candles/XRPUSDT-5m.csv", "XRPUSDT", "5m"),
        ("candles/XRPUSDT-1h.csv", "XRPUSDT", "1h"),
        ("live-2024-2026/btcusdt_perp_1h_oi_last_index_mark_2023-12_2024-10.csv", "BTCUSDT", "1h"),
    ],
)
def test_recorded_candles_can_be_played(name: str, symbol: str, interval: str) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"recorded data is not at {SHARED}")
    played = market(klines=(SHARED / name,), speed=D(300))
    rows = played.klines(symbol, interval, NOW_MS, 40, NO_WINDOW)
    assert len(rows) == 40
    assert len({row.close for row in rows}) > 20
    assert played.quote("ADAUSDT", NOW_MS).last > 0
