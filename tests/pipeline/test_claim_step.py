"""Claiming in a burst: what readings show of other claims is said only where the script has to know it."""

from types import SimpleNamespace
from typing import Any

import pytest
from support import cases
from support.cases import exposure

from quantum_trader.gates import GateTables
from quantum_trader.pipeline.claim import OUTDATED, ClaimStep, Grant
from quantum_trader.pipeline.decide import Chain, decide
from quantum_trader.positions.claim_book import FEW, ClaimBook
from quantum_trader.stores.claims import SEEN_NEEDED, OpenLimits, Refusal

GATES = GateTables()
NEEDED = Refusal("claim", SEEN_NEEDED)
FULL = Refusal("fund_caps", "max_positions_reached")


class Store:
    """Answers as it was told to, and keeps the limits that it was asked with."""

    def __init__(self, *answers: Refusal | None) -> None:
        self._answers = list(answers)
        self.asked: list[OpenLimits] = []
        self.on_ask: Any = lambda: None

    async def claim(self, *words: Any, **_: Any) -> Refusal | None:
        self.asked.append(words[2])
        self.on_ask()
        return self._answers.pop(0)


class Desk:
    """A claim step beside ``others`` claims under way on symbols of their own."""

    def __init__(self, others: int, *answers: Refusal | None) -> None:
        self.store, self.book = Store(*answers), ClaimBook()
        for number in range(others):
            self.book.add(exposure(f"other-{number}", f"S{number}USDT"), cases.NOW_MS)
        account = SimpleNamespace(
            reads_answered=1, positions_epoch=3, account_epoch=2, sized_by=lambda leg: None
        )
        self.rules = SimpleNamespace(config_hash="config")
        rooms = SimpleNamespace(
            book=self.book,
            account=account,
            rotation=None,
            lease=SimpleNamespace(value="engine-1:7", token=7),
            server_clock=SimpleNamespace(signing_time_ms=lambda: cases.NOW_MS),
        )
        self._step = ClaimStep(self.store, rooms, self.rules)  # type: ignore[arg-type]

    async def claim(self) -> Grant | Refusal:
        evidence = cases.evidence()
        decision = decide(cases.plan(), evidence, Chain(GATES.chain(), cases.terms(), "config"))
        assert decision.quantity is not None
        return await self._step.claim(decision, evidence, GATES, first_quantity=decision.quantity)


async def test_beside_few_claims_an_open_says_at_once_what_its_readings_show() -> None:
    desk = Desk(FEW, None)
    assert isinstance(await desk.claim(), Grant)
    assert [limits.seen for limits in desk.store.asked] == [{}]


@pytest.mark.parametrize("answer", [None, FULL])
async def test_in_a_burst_an_open_says_it_where_it_is_asked_for(answer: Refusal | None) -> None:
    desk = Desk(FEW + 1, NEEDED, answer)
    outcome = await desk.claim()
    assert isinstance(outcome, Grant) if answer is None else outcome == answer
    first, second = desk.store.asked
    assert (first.seen, second.seen) == (None, {})
    assert first.positions_epoch == second.positions_epoch == 3


async def test_in_a_burst_an_open_with_room_enough_is_claimed_in_one_step() -> None:
    desk = Desk(FEW + 1, None)
    assert isinstance(await desk.claim(), Grant)
    assert len(desk.store.asked) == 1


async def test_an_open_whose_configuration_changed_meanwhile_is_decided_again() -> None:
    desk = Desk(FEW + 1, NEEDED)
    desk.store.on_ask = lambda: setattr(desk.rules, "config_hash", "newer")
    assert await desk.claim() == OUTDATED
    assert desk.book.exposure(cases.plan().plan_id) is None
