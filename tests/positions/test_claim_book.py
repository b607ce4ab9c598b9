"""Claims in memory: seen or not yet seen, and when opens were claimed."""

import random

import pytest
from support.cases import NOW_MS, exposure, leg, number, position, positions

from quantum_trader.positions.claim_book import ClaimBook

MINUTE, HOUR = 60_000, 3_600_000


def test_a_claim_counts_until_every_reading_in_use_knows_its_fill() -> None:
    book = ClaimBook()
    taken = exposure("p")
    book.add(taken, NOW_MS)
    assert book.unseen(99) == (taken,)
    book.settled(taken, 5)
    assert len(book.unseen(4)) == 1
    assert book.unseen(5) == ()
    assert (book.unseen_margin_usdt(4), book.unseen_margin_usdt(5)) == (10, 0)


def test_what_every_reading_shows_may_be_forgotten_but_not_while_an_older_claim_is_under_way() -> None:
    book = ClaimBook()
    book.settled(exposure("p"), 5)
    assert book.seen_everywhere(5, 4) == []
    book.begin_claim(4)
    assert book.seen_everywhere(6, 6) == []
    book.end_claim(4)
    assert book.seen_everywhere(6, 5) == ["p"]


def test_what_every_reading_shows_stays_until_the_server_has_forgotten_it() -> None:
    book = ClaimBook()
    book.settled(exposure("p"), 5)
    assert book.seen_everywhere(5, 5) == ["p"]
    assert book.seen_everywhere(5, 5) == ["p"]
    book.forget(["p", "never"])
    assert book.seen_everywhere(5, 5) == []


def test_a_symbol_is_unsettled_while_an_open_or_an_exit_is_under_way() -> None:
    book = ClaimBook()
    taken = exposure("p")
    book.add(taken, NOW_MS)
    book.hold_exit("x", "ETHUSDT")
    assert [book.has_unsettled(one) for one in ("BTCUSDT", "ETHUSDT", "SOLUSDT")] == [True, True, False]
    book.settled(taken, 1)
    book.release("x")
    assert [book.has_unsettled(one) for one in ("BTCUSDT", "ETHUSDT")] == [False, False]


def test_rates_are_counted_by_symbol_within_an_hour_and_in_all_within_a_minute() -> None:
    book = ClaimBook()
    for plan_id, symbol, ago_ms in (
        ("a", "S", HOUR),
        ("b", "S", HOUR - 1),
        ("c", "T", MINUTE),
        ("d", "T", 1),
    ):
        book.count_rate(symbol, plan_id, NOW_MS - ago_ms)
    assert book.rates("S", NOW_MS).symbol_ms == (NOW_MS - HOUR + 1,)
    assert book.rates("S", NOW_MS).global_ms == (NOW_MS - 1,)
    assert book.rates("T", NOW_MS).symbol_ms == (NOW_MS - MINUTE, NOW_MS - 1)
    assert book.rates("S", NOW_MS + 2 * HOUR).symbol_ms == ()


def test_a_rate_token_is_given_back_by_its_own_plan_once_and_before_its_release() -> None:
    book = ClaimBook()
    for plan_id in ("a", "b", "c", "d"):
        book.add(exposure(plan_id, "S"), NOW_MS)
    book.release("c")
    book.settled(exposure("d", "S"), 1)
    for plan_id in ("a", "a", "c", "d", "never"):
        book.return_rate_token("S", plan_id)
    assert book.rates("S", NOW_MS).symbol_ms == (NOW_MS,) * 3
    assert book.rates("S", NOW_MS).global_ms == (NOW_MS,) * 3
    assert set(book._claimed_ms) == {"b"}


def test_live_legs_are_named_for_every_symbol_that_has_a_claim() -> None:
    book = ClaimBook()
    book.add(exposure("p", "BTCUSDT"), NOW_MS)
    held = positions(position(-2, "BTCUSDT"), position(1))
    assert book.positions_of_claims(held, 0) == {leg("BTCUSDT"): number(200)}
    book.settled(exposure("p", "BTCUSDT"), 5)
    assert book.positions_of_claims(held, 4) == {leg("BTCUSDT"): number(200)}
    assert book.positions_of_claims(held, 5) == {}


def test_settled_claims_count_by_epoch_whatever_order_they_came_back_in() -> None:
    book = ClaimBook()
    for epoch in (2, 1, 3):
        book.settled(exposure(f"p{epoch}", margin=epoch), epoch)
    assert [claim.plan_id for claim in book.unseen(1)] == ["p2", "p3"]
    assert [book.unseen_margin_usdt(epoch) for epoch in (0, 1, 2, 3)] == [6, 5, 3, 0]
    book.forget(["p2"])
    assert [book.unseen_margin_usdt(epoch) for epoch in (0, 1, 2, 3)] == [4, 3, 3, 0]
    assert book.seen_everywhere(3, 3) == ["p1", "p3"]


@pytest.mark.parametrize("seed", range(20))
def test_margins_hold_whichever_claims_are_forgotten(seed: int) -> None:
    chance, book, margins = random.Random(seed), ClaimBook(), {}
    for number_of in range(60):
        plan_id, epoch = f"p{number_of}", number_of + chance.choice((0, 0, 0, -3))
        margins[plan_id] = epoch, chance.randint(1, 99)
        book.settled(exposure(plan_id, margin=margins[plan_id][1]), epoch)
        if chance.random() < 0.4:
            shown = book.seen_everywhere(number_of - chance.randint(0, 9))
            gone = shown if chance.random() < 0.7 else chance.sample(shown, len(shown) // 2)
            book.forget(gone)
            margins = {name: held for name, held in margins.items() if name not in gone}
        for known in range(number_of - 12, number_of + 2):
            unseen = [(name, margin) for name, (epoch, margin) in margins.items() if epoch > known]
            assert {claim.plan_id for claim in book.unseen(known)} == {name for name, _ in unseen}
            assert book.unseen_margin_usdt(known) == sum(margin for _, margin in unseen)
