"""What a plan costs, counted instead of timed: calls of Python, and bytes to Redis and into the log."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import orjson
import pytest
from support import cases
from support.house import House, until

from quantum_trader.domain.plan import Plan
from quantum_trader.gates import GateTables
from quantum_trader.pipeline import reports
from quantum_trader.pipeline.decide import Chain, decide
from quantum_trader.pipeline.intake import read_entry
from quantum_trader.stores.connection import Database

STREAM_ID = f"{cases.NOW_MS - 100}-0"
ENTRY = {
    b"plan_id": b"plan-1",
    b"decision": b"EXECUTE",
    b"symbol": cases.SYMBOL.encode(),
    b"side": b"BUY",
    b"qty": b"1",
    b"reduceOnly": b"false",
    b"confidence": b"0.9",
}
CALLS_OF_READING_MAX = 32
CALLS_OF_DECIDING_MAX = 150
CLAIM_BYTES_MAX = 3_000
SETTLEMENT_BYTES_MAX = 4_500
LINE_BYTES_MAX = 2_200


def calls_of(work: Callable[[], Any]) -> tuple[Any, int]:
    """Do ``work``; return what it returns, and how many functions of Python it called."""
    counted: Counter[str] = Counter()

    def count(_: FrameType, event: str, __: Any) -> None:
        counted[event] += 1

    former = sys.getprofile()
    sys.setprofile(count)
    try:
        found = work()
    finally:
        sys.setprofile(former)
    return found, counted["call"]


def test_a_plan_is_read_and_decided_in_few_calls() -> None:
    chain, evidence = Chain(GateTables().chain(), cases.terms(), "config"), cases.evidence()
    plan, reading = calls_of(lambda: read_entry(STREAM_ID, ENTRY))
    assert isinstance(plan, Plan)
    assert reading <= CALLS_OF_READING_MAX
    decision, deciding = calls_of(lambda: decide(plan, evidence, chain))
    assert decision.allowed
    assert deciding <= CALLS_OF_DECIDING_MAX


async def test_what_a_plan_writes_is_bounded(running: House, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, int] = {}
    run, tell = Database.run, reports.tell

    async def measured_run(self: Database, script: str, keys: Any, args: Any) -> list[bytes]:
        written[script] = sum(len(str(word)) for word in (*keys, *args))
        return await run(self, script, keys, args)

    def measured_tell(event: str, moments: Any) -> None:
        written[event] = max(len(orjson.dumps(fields)) for _, fields in moments)
        tell(event, moments)

    monkeypatch.setattr(Database, "run", measured_run)
    monkeypatch.setattr(reports, "tell", measured_tell)
    assert (await running.open())["decision"] == "FILLED"

    async def line() -> int | None:
        return written.get("decision")

    await until(line, 5, "the line of the plan")
    assert 0 < written["claim"] <= CLAIM_BYTES_MAX
    assert 0 < written["settle"] <= SETTLEMENT_BYTES_MAX
    assert 0 < written["decision"] <= LINE_BYTES_MAX
