"""Where the kill score's inputs come from: an external model while it is fresh and whole, else candles."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.domain.evidence import Reading
from quantum_trader.domain.trading import Kline
from quantum_trader.market.tendencies import WINDOW, Tendencies, tendencies
from quantum_trader.producers.exit_inputs import CANDLES_AGE_MS_MAX, Inputs, choose

NOW_MS = 1_795_000_000_000
COMPUTED = Reading(
    Tendencies(Decimal("0.005"), Decimal("0.2"), Decimal("0.4"), Decimal("0.4"), Decimal("0.2")),
    NOW_MS - 1_000_000,
    "klines",
)
WRITTEN = {
    "sigma": "0.0114",
    "ts": "0.245",
    "p_trend": "0.372",
    "p_chop": "0.4",
    "p_mr": "0.228",
    "source": "regime-model-7",
    "timestamp": str(NOW_MS - 10_000),
}
HOUR_MS = 3_600_000


def chosen(
    written: dict[str, str] | None = WRITTEN, computed: Reading[Tendencies] | None = COMPUTED
) -> Inputs:
    return choose(written, computed, NOW_MS, model_age_ms_max=300_000)


def candles(*closes: float) -> list[Kline]:
    prices = [Decimal(str(close)) for close in closes]
    return [Kline(n * HOUR_MS, p, p, p, p, Decimal(1), (n + 1) * HOUR_MS - 1) for n, p in enumerate(prices)]


# -- choosing


def test_a_fresh_model_is_used_with_its_own_source_and_time() -> None:
    found = chosen()
    assert found.reading is not None
    assert found.sigma == Decimal("0.0114")
    assert found.provenance(NOW_MS)["source"] == "model:regime-model-7"
    assert found.provenance(NOW_MS)["age_s"] == 10


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"source": ""}, "no source"),
        ({"timestamp": ""}, "no timestamp"),
        ({"timestamp": "soon"}, "no timestamp"),
        ({"timestamp": str(NOW_MS - 300_001)}, "300 s old"),
        ({"timestamp": str(NOW_MS + 5_001)}, "in the future"),
        ({"sigma": "nan"}, "sigma"),
        ({"sigma": "-0.1"}, "sigma"),
        ({"ts": "2"}, "ts"),
        ({"p_chop": ""}, "p_chop"),
        ({"p_mr": "9" * 50}, "p_mr"),
        ({"p_mr": "0.5"}, "sum up to 1"),
    ],
)
def test_inc_63_a_model_without_source_time_or_sense_is_not_used_and_that_is_said(
    change: dict[str, str], why: str
) -> None:
    found = chosen(WRITTEN | change)
    assert found.reading == COMPUTED
    assert why in found.provenance(NOW_MS)["note"]
    assert found.provenance(NOW_MS)["source"] == "klines"


def test_a_model_may_write_numbers_as_its_language_does_and_none_grows_beyond_eight_places() -> None:
    assert chosen(WRITTEN | {"sigma": "1.5e-05"}).sigma == Decimal("0.000015")
    assert str(chosen(WRITTEN | {"sigma": "1e-999999"}).sigma) == "0E-8"


def test_without_a_model_the_candles_count_until_they_are_two_hours_old() -> None:
    edge = Reading(COMPUTED.value, NOW_MS - CANDLES_AGE_MS_MAX, "klines")
    assert chosen(None, edge).reading == edge
    old = chosen(None, Reading(COMPUTED.value, NOW_MS - CANDLES_AGE_MS_MAX - 1000, "klines"))
    assert (old.reading, old.note) == (None, "candles 7201 s old")


def test_with_neither_there_is_nothing_and_that_is_said() -> None:
    found = chosen(None, None)
    assert found.sigma is None
    assert found.provenance(NOW_MS) == {"source": "none", "note": "no candles"}


# -- computing


def test_a_straight_line_is_all_trend() -> None:
    found = tendencies(candles(*(100 + n for n in range(WINDOW + 1))))
    assert found.ts == 1
    assert found.p_trend == Decimal("0.6")  # (1 + ½) / (1 + 0 + 0 + 1½)


def test_a_zigzag_has_no_trend_and_takes_its_moves_back() -> None:
    found = tendencies(candles(*(100 + n % 2 for n in range(WINDOW + 1))))
    assert found.ts == 0
    assert found.p_mr == Decimal("0.6")
    assert found.p_trend == Decimal("0.2")


def test_sigma_is_the_sample_deviation_of_hourly_returns() -> None:
    found = tendencies(candles(*(100 * 1.01 ** (n % 2) for n in range(WINDOW + 1))))
    assert abs(found.sigma - Decimal("0.01016")) < Decimal("0.0001")


def test_a_price_that_stands_still_has_neither_volatility_nor_trend() -> None:
    found = tendencies(candles(*[5.0] * 60))
    assert (found.sigma, found.ts, found.p_chop) == (0, 0, Decimal("0.6"))


@pytest.mark.parametrize("closes", [[100.0] * WINDOW, [0.0] * 60])
def test_too_few_candles_or_none_with_a_price_give_no_inputs(closes: list[float]) -> None:
    with pytest.raises(ValueError, match="needed"):
        tendencies(candles(*closes))


@given(st.lists(st.floats(0.0001, 100_000), min_size=WINDOW + 1, max_size=80))
def test_the_inputs_are_ratios_and_the_probabilities_sum_up_to_one(closes: list[float]) -> None:
    found = tendencies(candles(*closes))
    assert found.sigma >= 0
    assert 0 <= found.ts <= 1
    assert abs(found.p_trend + found.p_chop + found.p_mr - 1) < Decimal("0.0000001")
