"""EMA, ATR, trend and correlation over candles."""

import math
from collections.abc import Sequence
from decimal import Decimal

import pytest
from support.cases import number

from quantum_trader.domain.trading import Kline
from quantum_trader.market.correlation import Correlations
from quantum_trader.market.indicators import atr, ema, regime

HOUR_MS = 3_600_000


def candles(closes: Sequence[float], *, spread: float = 0, start: int = 0) -> list[Kline]:
    """Return hourly candles that close at ``closes`` and reach ``spread`` above and below."""
    return [
        Kline(
            (start + i) * HOUR_MS,
            number(close),
            number(close + spread),
            number(close - spread),
            number(close),
            Decimal(1),
            (start + i + 1) * HOUR_MS - 1,
        )
        for i, close in enumerate(closes)
    ]


def test_an_average_of_a_constant_is_that_constant() -> None:
    assert ema([7.0] * 60, 20) == 7.0


def test_an_average_weighs_the_newest_value_by_two_over_period_plus_one() -> None:
    assert math.isclose(ema([1.0, 2.0, 3.0, 10.0], 3), 2 + 0.5 * 8)


def test_a_flat_market_has_no_trend_and_its_range_for_volatility() -> None:
    flat = regime(candles([100.0] * 100, spread=1))
    assert (flat.trend, flat.atr_pct, flat.candles) == (Decimal(0), Decimal("0.02"), 100)


@pytest.mark.parametrize("direction", [1.01, 0.99])
def test_rising_and_falling_markets_both_have_a_trend(direction: float) -> None:
    assert regime(candles([100 * direction**i for i in range(100)])).trend > Decimal("0.05")


def test_a_gap_counts_into_the_true_range() -> None:
    assert atr(candles([100.0, 110.0]), 1) == 10.0


def test_too_few_candles_have_no_regime() -> None:
    with pytest.raises(ValueError, match="99 candles, 100 needed"):
        regime(candles([100.0] * 99))


def wave(phase: float = 0) -> list[float]:
    return [100 + 5 * math.sin(i + phase) for i in range(60)]


def test_a_series_and_itself_move_together_and_its_mirror_the_other_way() -> None:
    mirrored = [1 / one for one in wave()]
    table = Correlations({"A": candles(wave()), "B": candles(wave()), "C": candles(mirrored)})
    assert table["A"]["B"] == table["B"]["A"] == Decimal(1)
    assert table["A"]["C"] < Decimal("-0.99")


@pytest.mark.parametrize(("common", "known"), [(20, True), (19, False)])
def test_fewer_than_twenty_common_returns_say_nothing(common: int, known: bool) -> None:
    later = candles(wave()[: common + 1], start=60 - common - 1)
    table = Correlations({"A": candles(wave()), "B": later})
    assert ("B" in table["A"]) is known


def test_a_price_that_never_moves_correlates_with_nothing() -> None:
    assert Correlations({"A": candles([5.0] * 60), "B": candles(wave())})["A"] == {}


def test_only_the_pairs_that_are_asked_for_are_worked_out() -> None:
    series = {f"S{number}": candles(wave(number)) for number in range(200)}
    table = Correlations(series)
    assert "S1" in table["S0"]
    assert "absent" not in table["S0"]
    assert table["S0"].get("S0") is None
    assert {one: list(others) for one, others in table._known.items()} == {"S0": ["S1"], "S1": ["S0"]}


def test_newer_candles_of_one_symbol_leave_the_returns_of_the_others() -> None:
    series = {"A": candles(wave()), "B": candles(wave()), "C": candles(wave(1))}
    before = Correlations(series)
    assert (before["A"]["B"], before["A"]["C"] < 1) == (1, True)
    series["B"] = candles([1 / one for one in wave()])
    after = Correlations(series, before)
    assert after["A"]["B"] < Decimal("-0.99")
    assert after._returns["A"] is before._returns["A"]
    assert before["A"]["B"] == 1
