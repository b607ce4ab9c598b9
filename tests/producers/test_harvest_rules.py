"""R_net, the ladder and the kill score: known values, borders, and what must not depend on size or side."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cases import leg, number

from quantum_trader.config_tables import HarvestTable
from quantum_trader.domain.plan import Action
from quantum_trader.domain.trading import Position
from quantum_trader.market.tendencies import Tendencies
from quantum_trader.producers.harvest_rules import kill_score, r_net_of, rounded, rung_reached

TABLE = HarvestTable()
HOUR_MS = 3_600_000
PRICES = st.decimals("0.0001", "200000", places=4)
SIZES = st.decimals("0.00000001", "10000000", places=8)


def held(amount: Any, entry: Any, mark: Any) -> Position:
    return Position(leg(), number(amount), number(entry), number(mark), Decimal(0), 0)


def inputs(sigma: str = "0.01", ts: str = "0.3", p_trend: str = "0.5") -> Tendencies:
    rest = 1 - Decimal(p_trend)
    return Tendencies(Decimal(sigma), Decimal(ts), Decimal(p_trend), rest, Decimal(0))


# -- kill score


@pytest.mark.parametrize(
    ("sigma", "ts", "p_trend", "score"),
    [
        ("0.0114", "0.245", "0.372", "0.5275"),
        ("0.0052", "0.092", "0.247", "0.7533"),
        ("0.00015", "0.014", "0.235", "0.7605"),
    ],
)
def test_the_known_kill_scores_of_the_specification(sigma: str, ts: str, p_trend: str, score: str) -> None:
    assert rounded(kill_score(inputs(sigma, ts, p_trend), HOUR_MS, TABLE)) == Decimal(score)


def test_a_position_with_nothing_against_it_scores_one_half() -> None:
    assert kill_score(inputs(), 0, TABLE) == Decimal("0.5")


@pytest.mark.parametrize(
    ("p_trend", "p_chop", "p_mr", "flipped"),
    [
        ("0.2999", "0.7001", "0", True),
        ("0.2999", "0.25", "0.4501", True),
        ("0.3", "0.7", "0", False),
        ("0.2", "0.25", "0.25", False),
        ("0.2", "0.25", "0.2501", True),
    ],
)
def test_a_regime_flip_needs_a_lost_trend_and_something_in_its_place(
    p_trend: str, p_chop: str, p_mr: str, flipped: bool
) -> None:
    values = Tendencies(Decimal("0.01"), Decimal("0.3"), Decimal(p_trend), Decimal(p_chop), Decimal(p_mr))
    assert (kill_score(values, 0, TABLE) > Decimal("0.7")) is flipped


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (inputs(sigma="0.03"), inputs(sigma="0.5")),
        (inputs(sigma="0.01"), inputs(sigma="0")),
        (inputs(ts="0.3"), inputs(ts="1")),
    ],
)
def test_each_part_of_the_score_is_clipped(one: Tendencies, other: Tendencies) -> None:
    assert kill_score(one, 0, TABLE) == kill_score(other, 0, TABLE)


def test_age_counts_for_one_day_at_most() -> None:
    assert kill_score(inputs(), 24 * HOUR_MS, TABLE) == kill_score(inputs(), 240 * HOUR_MS, TABLE)
    assert kill_score(inputs(), -HOUR_MS, TABLE) == kill_score(inputs(), 0, TABLE)


@given(st.decimals(0, 1, places=4), st.decimals(0, 1, places=4), st.integers(0, 10**10))
def test_a_kill_score_lies_between_one_half_and_one(sigma: Decimal, ts: Decimal, age_ms: int) -> None:
    score = kill_score(inputs(str(sigma), str(ts)), age_ms, TABLE)
    assert Decimal("0.5") <= score < 1


# -- R_net


def test_r_net_counts_costs_and_the_stop_distance() -> None:
    assert r_net_of(held(1, 100, "104.1"), TABLE) == 2
    assert r_net_of(held(-1, 100, "95.9"), TABLE) == 2
    assert r_net_of(held(1, 100, 100), TABLE) == Decimal("-0.05")


@given(SIZES, SIZES, PRICES, PRICES, st.booleans())
def test_r_net_is_the_same_at_any_size(
    small: Decimal, large: Decimal, entry: Decimal, mark: Decimal, is_short: bool
) -> None:
    sign = -1 if is_short else 1
    assert r_net_of(held(sign * small, entry, mark), TABLE) == r_net_of(
        held(sign * large, entry, mark), TABLE
    )


@given(SIZES, PRICES, PRICES)
def test_r_net_of_a_short_is_that_of_a_long_mirrored_at_the_entry(
    size: Decimal, entry: Decimal, mark: Decimal
) -> None:
    mirrored = entry - (mark - entry)
    assert r_net_of(held(-size, entry, mirrored), TABLE) == r_net_of(held(size, entry, mark), TABLE)


@given(SIZES, PRICES, PRICES)
def test_r_net_of_long_and_short_lose_the_costs_together(
    size: Decimal, entry: Decimal, mark: Decimal
) -> None:
    long, short = r_net_of(held(size, entry, mark), TABLE), r_net_of(held(-size, entry, mark), TABLE)
    assert long is not None
    assert short is not None
    assert abs(long + short + Decimal("0.1")) < Decimal("1e-20")


def test_without_an_entry_price_there_is_no_r_net() -> None:
    assert r_net_of(held(1, 0, 100), TABLE) is None
    assert rung_reached(None, ()) is None


# -- the ladder


@pytest.mark.parametrize(
    ("r_net", "action"),
    [
        ("1.9999", None),
        ("2", Action.PARTIAL_25),
        ("3.9999", Action.PARTIAL_25),
        ("4", Action.PARTIAL_50),
        ("5.9999", Action.PARTIAL_50),
        ("6", Action.PARTIAL_75),
        ("600", Action.PARTIAL_75),
    ],
)
def test_the_borders_of_the_ladder(r_net: str, action: Action | None) -> None:
    rung = rung_reached(Decimal(r_net), ())
    assert (rung.action if rung is not None else None) is action


@given(st.lists(st.decimals(-5, 10, places=2), max_size=60))
def test_each_rung_is_taken_once_and_never_downwards(path: list[Decimal]) -> None:
    done: list[int] = []
    for r_net in path:
        rung = rung_reached(r_net, done)
        if rung is not None:
            assert r_net >= rung.r_net
            done.append(rung.r_net)
    assert done == sorted(set(done))
    highest = max(path, default=Decimal(0))
    assert (done[-1] if done else 0) == max((n for n in (2, 4, 6) if highest >= n), default=0)
