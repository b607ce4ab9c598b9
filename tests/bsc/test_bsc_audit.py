"""The audits pass on evidence alone, and every planted fault fails them (SPEC 10, INC-103)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs
from support.watch import Scene, scene

from quantum_trader.bsc import limits
from quantum_trader.bsc.audit import PROOFS, Audit, Auditor
from quantum_trader.bsc.audit_pack import AuditFolder, EvidenceRefused, digest_of, signed_pack
from quantum_trader.bsc.auditing import AuditCalendar, AuditOffice
from quantum_trader.bsc.code_proofs import PINNED, SOURCES, Subject, thresholds
from quantum_trader.bsc.events import Event, EventSink
from quantum_trader.bsc.findings import Verdict
from quantum_trader.bsc.health import Authority
from quantum_trader.bsc.lifespan import DAY_MS, Extension, Lifespan
from quantum_trader.bsc.watch_log import WatchLog
from quantum_trader.exchange.simulator import FaultKind


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path / "bsc") as running:
        yield running


async def watched(stage: Scene, polls: int = 3) -> int:
    """Watch for a few polls, a minute apart; returns when the watch began."""
    began_ms = stage.clock.now_ms()
    dog = await stage.watchdog()
    for _ in range(polls):
        await dog.poll()
        stage.clock.move(60)
    return began_ms


async def daily(stage: Scene, began_ms: int, subject: Subject | None = None) -> Audit:
    line = stage.line()
    auditor = Auditor(lambda: line, WatchLog(stage.folder), stage.clock, subject or Subject())
    return await auditor.daily(began_ms)


def verdicts(audit: Audit) -> dict[str, str]:
    return {finding.name: finding.verdict.value for finding in audit.findings}


def failed(audit: Audit) -> list[str]:
    return [finding.name for finding in audit.findings if finding.verdict is Verdict.FAIL]


def plant(folder: Path, name: str, source: str) -> Subject:
    """Return the real package with one more module in BSC's room."""
    copy = folder / "planted" / "quantum_trader"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "bsc" / name).write_text(source)
    return Subject(sources=copy)


async def test_a_watch_that_saw_everything_and_did_its_duty_passes(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.fall("XRPUSDT", "0.031")
    audit = await daily(stage, await watched(stage))
    assert audit.verdict is Verdict.PASS, verdicts(audit)
    orders = next(each for each in audit.findings if each.name == "exit-only").evidence["orders"]
    assert len(orders) == 1


async def test_inc103_a_blind_watch_is_inconclusive_and_never_pass(stage: Scene) -> None:
    began_ms = stage.clock.now_ms()
    dog = await stage.watchdog()
    await dog.poll()
    stage.fault(FaultKind.STATUS_BEFORE, preset="401_key", count=9)
    for _ in range(4):
        stage.clock.move(60)
        await dog.poll()
    stage.venue.faults.clear()
    await dog.poll()
    audit = await daily(stage, began_ms)
    assert verdicts(audit)["watch alive and not blind"] == "INCONCLUSIVE"
    assert audit.findings[0].found == "blind 1 times"
    assert audit.verdict is Verdict.INCONCLUSIVE


async def test_inc103_without_a_period_to_judge_nothing_passes(stage: Scene) -> None:
    audit = await daily(stage, stage.clock.now_ms())
    assert audit.verdict is Verdict.INCONCLUSIVE


async def test_inc105_hours_in_which_nobody_watched_are_inconclusive(stage: Scene) -> None:
    began_ms = await watched(stage)
    stage.clock.move(3_600)
    await watched(stage)
    assert verdicts(await daily(stage, began_ms))["watch alive and not blind"] == "INCONCLUSIVE"


async def test_an_exchange_that_does_not_answer_is_inconclusive(stage: Scene) -> None:
    began_ms = await watched(stage)
    stage.fault(FaultKind.STATUS_BEFORE, path="/fapi/v1/allOrders", preset="401_key", count=9)
    assert verdicts(await daily(stage, began_ms))["exit-only"] == "INCONCLUSIVE"


@pytest.mark.parametrize("name", sorted(PINNED))
def test_every_limit_is_pinned(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(limits, name, PINNED[name] + 1)
    assert thresholds(Subject()).verdict is Verdict.FAIL


@pytest.mark.parametrize("name", ["MAX_LOSS_PCT", "MAX_DURATION_H", "MAX_MARGIN", "POLL_S"])
async def test_a_planted_threshold_fails(stage: Scene, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    began_ms = await watched(stage)
    monkeypatch.setattr(limits, name, PINNED[name] + 1)
    assert failed(await daily(stage, began_ms)) == ["fixed thresholds"]


async def test_a_rule_that_ignores_its_threshold_fails(stage: Scene) -> None:
    audit = await daily(stage, await watched(stage), Subject(judge=lambda _: []))
    assert failed(audit) == ["fixed thresholds"]


async def test_a_limit_that_is_not_pinned_fails(stage: Scene) -> None:
    more = SimpleNamespace(**vars(limits), MAX_TREND=1)
    assert failed(await daily(stage, await watched(stage), Subject(limits=more))) == ["fixed thresholds"]


async def test_a_planted_trigger_fails(stage: Scene) -> None:
    class Four(StrEnum):
        LOSS = "MAX_LOSS_BREACH"
        DURATION = "MAX_DURATION_BREACH"
        MARGIN = "MAX_MARGIN_BREACH"
        TREND = "TREND_BREACH"

    audit = await daily(stage, await watched(stage), Subject(triggers=Four))
    assert failed(audit) == ["exactly three triggers"]


@pytest.mark.parametrize(
    "source",
    [
        "import redis\n",
        "from redis.asyncio import Redis\n",
        "def later():\n    from quantum_trader.stores.connection import Database\n    return Database\n",
        "from quantum_trader.gates import CHAIN\n",
        "from quantum_trader.exchange.entry_port import RestEntryPort\n",
        "from quantum_trader.exchange import binance\n",
        "import importlib\nclient = importlib.import_module('redis')\n",
        "import asyncio\n\nasync def peek():\n    return await asyncio.open_connection('localhost', 6379)\n",
    ],
)
async def test_a_planted_redis_read_or_way_into_the_engine_fails(
    stage: Scene, tmp_path: Path, source: str
) -> None:
    audit = await daily(stage, await watched(stage), plant(tmp_path, "peek.py", source))
    assert failed(audit) == ["direct exchange only"]


async def test_inc103_words_about_reading_redis_are_no_reading_of_redis(stage: Scene, tmp_path: Path) -> None:
    harmless = '"""import redis; client.get(key); xread; quantum:kill"""\nWORDS = ("redis", "XREAD", "GET")\n'
    audit = await daily(stage, await watched(stage), plant(tmp_path, "words.py", harmless))
    assert audit.verdict is Verdict.PASS, verdicts(audit)


async def test_a_planted_read_command_and_a_sink_that_answers_fail(stage: Scene) -> None:
    began_ms = await watched(stage)
    commands = Enum("Commands", {"SET": "SET", "XADD": "XADD", "GET": "GET"})  # type: ignore[misc]
    assert failed(await daily(stage, began_ms, Subject(commands=commands))) == ["Redis write-only"]

    class Answering(EventSink):
        async def last_event(self) -> str:
            return ""

    assert failed(await daily(stage, began_ms, Subject(sink=Answering))) == ["Redis write-only"]


@pytest.mark.parametrize(
    ("case", "complaint"),
    [
        ({"side": "BUY", "qty": 50}, "may open"),
        ({"side": "SELL", "qty": 40, "reduceOnly": "true"}, "no full close"),
        (
            {"side": "SELL", "qty": 100, "type": "LIMIT", "timeInForce": "GTC", "reduceOnly": "true"},
            "is LIMIT",
        ),
    ],
)
async def test_a_planted_order_that_opens_or_is_not_market_or_not_full_fails(
    stage: Scene, case: dict[str, Any], complaint: str
) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    began_ms = await watched(stage)
    if case.get("type") == "LIMIT":
        case = {**case, "price": str((stage.price("XRPUSDT") * Decimal("1.01")).quantize(Decimal("0.0001")))}
    qty = case.pop("qty")
    stage.trade("XRPUSDT", case.pop("side"), qty, newClientOrderId="bsc-planted-1-1", **case)
    audit = await daily(stage, began_ms)
    assert failed(audit) == ["exit-only"]
    assert complaint in next(finding.found for finding in audit.findings if finding.name == "exit-only")


async def test_a_close_in_parts_and_one_after_other_trades_pass_as_full_closes(stage: Scene) -> None:
    specs = stage.venue.venue.specs
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.trade("XRPUSDT", "BUY", 150)
    specs["XRPUSDT"] = replace(specs["XRPUSDT"], market_max=Decimal(100))
    stage.fall("XRPUSDT", "0.031")
    began_ms = await watched(stage)
    stage.trade("XRPUSDT", "SELL", 70)
    assert len(stage.fills) == 3
    assert verdicts(await daily(stage, began_ms))["exit-only"] == "PASS"


async def test_a_failed_daily_audit_takes_the_authority_to_close_away(
    stage: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_ms = await watched(stage)
    monkeypatch.setattr(limits, "MAX_MARGIN", Decimal("0.99"))
    office = _office(stage)
    held = await office.hold("daily", began_ms)
    assert held.audit.verdict is Verdict.FAIL
    monkeypatch.undo()
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.fall("XRPUSDT", "0.031")
    dog = await stage.watchdog()
    await dog.poll()
    assert stage.heard.healths[-1].authority is Authority.OBSERVER
    assert stage.amount("XRPUSDT") == 100


def _office(stage: Scene) -> AuditOffice:
    line = stage.line()
    auditor = Auditor(lambda: line, WatchLog(stage.folder), stage.clock)
    folder = AuditFolder(stage.folder.parent / "audits")
    return AuditOffice(auditor, folder, Lifespan(stage.folder), stage.heard, stage.clock)


async def test_audits_hold_themselves_every_day_and_every_week_once(stage: Scene) -> None:
    await watched(stage)
    lifespan = Lifespan(stage.folder)
    calendars = [AuditCalendar(_office(stage), lifespan, stage.folder, stage.clock) for _ in range(2)]
    kinds = []
    with capture_logs() as lines:
        for _ in range(15):
            stage.clock.move(DAY_MS / 1_000)
            for calendar in calendars:
                kinds += [held.audit.kind for held in await calendar.hold_what_is_due()]
    assert (kinds.count("daily"), kinds.count("weekly")) == (15, 2)
    assert len(stage.heard.of(Event.AUDIT)) == 17
    assert [line["event"] for line in lines].count("bsc_weekly_audit_to_sign") == 2


async def test_a_weekly_pack_holds_the_five_proofs_as_json_and_for_people(stage: Scene) -> None:
    held = await _office(stage).hold("weekly", await watched(stage))
    assert held.audit.verdict is Verdict.PASS, verdicts(held.audit)
    assert tuple(finding.name for finding in held.audit.findings) == PROOFS
    record = orjson.loads(held.path.read_bytes())
    assert record["signed_by"] == ""
    text = held.path.with_suffix(".md").read_text()
    assert all(f"## {name}: PASS" in text for name in PROOFS)


async def test_only_a_signed_unchanged_recent_pack_that_passes_is_evidence(stage: Scene) -> None:
    held = await _office(stage).hold("weekly", await watched(stage))
    record = orjson.loads(held.path.read_bytes())
    now_ms = stage.clock.now_ms()

    def refused(changed: dict[str, Any], at_ms: int = now_ms) -> str:
        held.path.write_bytes(orjson.dumps(changed))
        with pytest.raises(EvidenceRefused) as why:
            signed_pack(held.path, at_ms)
        return str(why.value)

    signed = {**record, "signed_by": "Ada Lovelace"}
    assert "not signed" in refused(record)
    assert "was changed" in refused({**signed, "to_ms": record["to_ms"] - 1})
    assert "older than seven days" in refused(signed, now_ms + 8 * DAY_MS)
    worse = {**signed, "findings": [{**row, "verdict": "INCONCLUSIVE"} for row in record["findings"]]}
    assert "does not prove" in refused({**worse, "digest": digest_of(worse)})
    assert "no weekly audit pack" in refused({**signed, "kind": "daily"})
    held.path.write_bytes(orjson.dumps(signed))
    pack = signed_pack(held.path, now_ms)
    Lifespan(stage.folder).extend(Extension(now_ms, 5, pack.digest, pack.signed_by))
    assert pack.signed_by == "Ada Lovelace"
