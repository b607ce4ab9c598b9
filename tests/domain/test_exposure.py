"""Positions and claims count once, whenever a fill becomes visible."""

import pytest
from support.cases import exposure, leg, number, position, positions

from quantum_trader.domain.exposure import (
    claimed_margin_usdt,
    open_legs,
    open_symbols,
    total_notional_usdt,
)

SHORT_BTC = position("-0.5", "BTCUSDT", mark=100)


@pytest.mark.parametrize(("seen", "unseen"), [(0, 100), ("0.4", 60), (1, 0), (5, 0)])
def test_only_what_a_position_does_not_show_yet_is_added(seen: object, unseen: int) -> None:
    held = positions(position(seen, "BTCUSDT"))
    assert total_notional_usdt(held, [exposure(notional=100)]) == held.notional_usdt + unseen


def test_an_addition_counts_on_top_of_what_was_held_before_it() -> None:
    claim = exposure(notional=100, base=50)
    assert total_notional_usdt(positions(SHORT_BTC), [claim]) == 150
    after_fill = position("-1.5", "BTCUSDT", mark=100)
    assert total_notional_usdt(positions(after_fill), [claim]) == 150


def test_inc_64_shorts_and_longs_add_up_and_never_cancel_out() -> None:
    assert total_notional_usdt(positions(SHORT_BTC, position(1)), []) == 150


def test_a_leg_and_a_symbol_count_once() -> None:
    held = positions(
        position(1, "BTCUSDT", side="LONG"), position(-1, "BTCUSDT", side="SHORT"), hedge_mode=True
    )
    claims = [exposure(side="LONG"), exposure("x", "ETHUSDT")]
    assert len(open_legs(held, claims)) == 3
    assert open_symbols(held, claims) == {"BTCUSDT", "ETHUSDT"}


def test_inc_66_a_flat_leg_is_no_position() -> None:
    held = positions(position(0, "BTCUSDT"))
    assert (len(held), held.symbols, held.amount(leg("BTCUSDT"))) == (0, frozenset(), 0)


@pytest.mark.parametrize(
    ("settled", "epoch", "counts"), [(None, 9, True), (5, 4, True), (5, 5, False), (5, 6, False)]
)
def test_a_settled_claim_counts_for_readings_older_than_its_settlement(
    settled: int | None, epoch: int, counts: bool
) -> None:
    assert exposure(settled_epoch=settled).counts_at(epoch) is counts


def test_margins_add_up() -> None:
    assert claimed_margin_usdt([exposure(margin="1.5"), exposure(margin=2)]) == number("3.5")
    assert claimed_margin_usdt([]) == 0


def test_the_sum_that_is_carried_on_is_the_sum() -> None:
    held = positions(position(2, "BTCUSDT"), position(-1, "ETHUSDT"))
    for after in (
        position(3, "BTCUSDT"),
        position(5, "SOLUSDT"),
        position(0, "BTCUSDT"),
        position(0, "XRPUSDT"),
    ):
        held = held.with_leg(after)
        assert held.notional_usdt == sum(one.notional_usdt for one in held.values())
        assert held.symbols == {leg.symbol for leg in held}
