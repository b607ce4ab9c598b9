"""The three triggers as pure rules (SPEC 10)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bsc_readings import position, reading

from quantum_trader.bsc.exits import (
    HOUR_MS,
    Trigger,
    all_breaches,
    breaches_of,
    cross_ratio,
    isolated_ratio,
    next_cross_victim,
    pnl_pct,
)
from quantum_trader.domain.trading import Leg, PositionSide, Side

MONEY = st.decimals("-1000000", "1000000", places=4)
POSITIVE = st.decimals("0.0001", "1000000", places=4)


@pytest.mark.parametrize(
    ("pnl", "age_h", "maintenance", "wallet", "trigger"),
    [
        ("-2.9999", "71.9999", "84.99", "102.9999", None),
        ("-3", "0", "0", "103", Trigger.LOSS),
        ("0", "72", "0", "100", Trigger.DURATION),
        ("0", "0", "85", "100", Trigger.MARGIN),
        ("-3", "72", "99", "103", Trigger.LOSS),
        ("5", "72", "99", "100", Trigger.DURATION),
    ],
)
def test_each_trigger_fires_exactly_at_its_limit(
    pnl: str, age_h: str, maintenance: str, wallet: str, trigger: Trigger | None
) -> None:
    seen = reading(
        [position(pnl=pnl, maintenance=maintenance, isolated_wallet=wallet)],
        ages_ms=[int(Decimal(age_h) * HOUR_MS)],
    )
    assert [breach.trigger for breach in breaches_of(seen)] == ([trigger] if trigger else [])


def test_pnl_is_a_share_of_the_entry_notional_whatever_the_side() -> None:
    assert pnl_pct(position(amount="-2", entry="50", pnl="-3")) == -3
    assert pnl_pct(position(amount="2", entry="50", pnl="3")) == 3


@pytest.mark.parametrize(("wallet", "pnl"), [("10", "-10"), ("10", "-11"), ("0", "-1")])
def test_inc101_maintenance_that_nothing_covers_is_a_breach(wallet: str, pnl: str) -> None:
    held = position(entry="1000", pnl=pnl, maintenance="1", isolated_wallet=wallet, isolated=True)
    assert breaches_of(reading([held]))[0].trigger is Trigger.MARGIN


def test_inc101_isolated_margin_is_maintenance_over_isolated_wallet_and_pnl() -> None:
    assert isolated_ratio(position(pnl="-4", maintenance="3", isolated_wallet="10")) == Decimal("0.5")


def test_inc101_cross_margin_counts_cross_positions_alone() -> None:
    held = [
        position("AUSDT", maintenance="10"),
        position("BUSDT", maintenance="30"),
        position("CUSDT", maintenance="500", isolated_wallet="1000"),
    ]
    assert cross_ratio(reading(held, wallet="90", cross_pnl="-10")) == Decimal("0.5")


def test_cross_positions_go_by_loss_first_and_then_by_maintenance() -> None:
    held = [
        position("AUSDT", entry="1000", pnl="5", maintenance="80"),
        position("BUSDT", entry="1000", pnl="-1", maintenance="1"),
        position("CUSDT", entry="1000", pnl="-9", maintenance="1"),
        position("DUSDT", entry="1000", pnl="0", maintenance="90"),
    ]
    seen = reading(held, wallet="100", cross_pnl="-5")
    order: list[Leg] = []
    while (victim := next_cross_victim(seen, order)) is not None:
        order.append(victim.leg)
    assert [leg.symbol for leg in order] == ["CUSDT", "BUSDT", "DUSDT", "AUSDT"]


def test_an_unknown_age_breaches_nothing() -> None:
    assert all_breaches(reading([position()], ages_ms=[None])) == []


def test_a_position_without_an_entry_price_has_no_loss_limit_and_breaks_nothing() -> None:
    assert breaches_of(reading([position(entry="0", pnl="-50")])) == []


def test_an_observer_sees_the_same_breaches_as_a_controller_would_close() -> None:
    held = [position("AUSDT", pnl="-9", maintenance="80"), position("BUSDT", entry="900", maintenance="8")]
    found = all_breaches(reading(held, wallet="100", cross_pnl="-9"))
    assert [(breach.leg.symbol, breach.trigger) for breach in found] == [
        ("AUSDT", Trigger.LOSS),
        ("BUSDT", Trigger.MARGIN),
    ]


@given(amount=POSITIVE, entry=POSITIVE, pnl=MONEY)
def test_a_long_and_its_mirrored_short_are_judged_alike(
    amount: Decimal, entry: Decimal, pnl: Decimal
) -> None:
    long = position(amount=str(amount), entry=str(entry), pnl=str(pnl))
    short = position(amount=str(-amount), entry=str(entry), pnl=str(pnl))
    triggers = [[breach.trigger for breach in breaches_of(reading([held]))] for held in (long, short)]
    assert triggers[0] == triggers[1]
    assert (long.side_to_close, short.side_to_close) == (Side.SELL, Side.BUY)
    assert pnl_pct(long) == pnl_pct(short)


@given(pnl=MONEY, worse=POSITIVE, maintenance=POSITIVE, wallet=POSITIVE)
def test_losing_more_never_ends_a_breach(
    pnl: Decimal, worse: Decimal, maintenance: Decimal, wallet: Decimal
) -> None:
    def found(at: Decimal) -> bool:
        held = position(entry="100", pnl=str(at), maintenance=str(maintenance), isolated_wallet=str(wallet))
        return bool(breaches_of(reading([held])))

    assert found(pnl - worse) or not found(pnl)


@given(st.sampled_from(list(PositionSide)), POSITIVE)
def test_inc32_hedge_legs_are_judged_one_by_one(side: PositionSide, amount: Decimal) -> None:
    other = PositionSide.SHORT if side is not PositionSide.SHORT else PositionSide.LONG
    held = [
        position(side=side, amount=str(amount), pnl=str(-amount * 4)),
        position(side=other, amount=str(-amount), pnl=str(amount * 4)),
    ]
    assert [breach.leg.side for breach in breaches_of(reading(held))] == [side]
