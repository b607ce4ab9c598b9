"""Reports: every settled result is told of once, in order, and not in the way of the plans behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import structs
from support import cases

from quantum_trader.domain.result import Ended, Result
from quantum_trader.domain.verdict import Mode, Ruling, Verdict
from quantum_trader.pipeline import reports
from quantum_trader.pipeline.reports import MADE_TOGETHER, Report, Reports, decision_line


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The plan ids of each call of ``tell``."""
    calls: list[list[str]] = []

    def tell(_: str, moments: Any) -> None:
        calls.append([fields["plan_id"] for _, fields in moments])

    monkeypatch.setattr(reports, "tell", tell)
    return calls


def report(number: int) -> Report:
    result = Result(f"plan-{number}", Ended.BLOCKED, "kill_switch_active", cases.NOW_MS, "testnet")
    return Report(result, result.as_fields("{}"), None, b"[]")


async def test_a_burst_is_told_of_in_order_a_few_at_a_time(told: list[list[str]]) -> None:
    archived: list[str] = []
    waiting = Reports(lambda result, _: archived.append(result.plan_id))
    names = [f"plan-{number}" for number in range(2 * MADE_TOGETHER + 3)]
    for number in range(len(names)):
        waiting.add(report(number))
    assert not told
    async with asyncio.timeout(5):
        while len(archived) < len(names):  # noqa: ASYNC110 -- no event tells
            await asyncio.sleep(0.001)
    assert [len(call) for call in told] == [MADE_TOGETHER, MADE_TOGETHER, 3]
    assert [name for call in told for name in call] == archived == names


async def test_what_waits_is_made_at_once_when_the_engine_ends_and_not_again(told: list[list[str]]) -> None:
    archived: list[str] = []
    waiting = Reports(lambda result, _: archived.append(result.plan_id))
    for number in range(MADE_TOGETHER + 1):
        waiting.add(report(number))
    waiting.make_all()
    assert len(archived) == MADE_TOGETHER + 1
    waiting.add(report(99))
    async with asyncio.timeout(5):
        while archived[-1] != "plan-99":  # noqa: ASYNC110 -- no event tells
            await asyncio.sleep(0.001)
    assert len(archived) == MADE_TOGETHER + 2
    assert sum(map(len, told)) == MADE_TOGETHER + 2


async def test_what_waits_stays_bounded_however_long_a_flood_lasts(told: list[list[str]]) -> None:
    waiting = Reports(lambda *_: None)
    added = most = 0
    while added < 20_000:
        for _ in range(100):  # in one turn of the loop, as when a batch of settlements is answered
            waiting.add(report(added))
            added += 1
        await asyncio.sleep(0)
        if told:
            most = max(most, added - sum(map(len, told)))
    assert 0 < most < 5_000
    waiting.make_all()
    assert sum(map(len, told)) == added


@pytest.mark.parametrize(("code", "is_named"), [("insufficient_margin", True), ("max_positions", False)])
@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.SHADOW])
def test_a_line_names_a_lack_of_margin_that_any_verdict_found(code: str, mode: Mode, is_named: bool) -> None:
    decision = cases.judged(cases.plan(), cases.evidence())
    verdicts = (Verdict("margin_guard", Ruling.DENY, code, mode), *decision.verdicts)
    told = structs.replace(report(1), decision=structs.replace(decision, verdicts=verdicts))
    assert ("insufficient_margin" in decision_line(told)["events"]) is is_named
