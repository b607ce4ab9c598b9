"""Holding audits: when they are due, where they go, and what follows from a failed one (SPEC 10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from quantum_trader.bsc.audit import DAILY, PERIOD_MS, WEEKLY, Audit, Auditor
from quantum_trader.bsc.audit_pack import AuditFolder
from quantum_trader.bsc.events import Event, Sink
from quantum_trader.bsc.findings import Verdict
from quantum_trader.bsc.lifespan import Activation, Lifespan
from quantum_trader.bsc.records import RecordUnreadable, exclusive, read_record, write_record
from quantum_trader.domain.clock import Clock

CHECK_EVERY_S = 60.0
FILE = "schedule.json"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Held:
    """An audit that was held, and its JSON file."""

    audit: Audit
    path: Path


@dataclass(frozen=True, slots=True)
class AuditOffice:
    """Holds audits, stores them, tells them, and takes BSC's authority away after a failed daily one."""

    auditor: Auditor
    folder: AuditFolder
    lifespan: Lifespan
    sink: Sink
    clock: Clock

    async def hold(self, kind: str, activated_ms: int) -> Held:
        """Hold the audit ``kind`` now. Raises ``OSError`` when it cannot be stored."""
        judge = self.auditor.weekly if kind == WEEKLY else self.auditor.daily
        audit = await judge(activated_ms)
        path = await asyncio.to_thread(self.folder.store, audit)
        self.sink.event(
            Event.AUDIT,
            kind=kind,
            verdict=audit.verdict.value,
            findings={finding.name: finding.verdict.value for finding in audit.findings},
            file=str(path),
        )
        tell = log.info if audit.verdict is Verdict.PASS else log.error
        tell("bsc_audit", kind=kind, verdict=audit.verdict.value, file=str(path), failed=_not_passed(audit))
        if kind == DAILY and audit.verdict is Verdict.FAIL:
            because = f"daily audit failed: {', '.join(_not_passed(audit))}"
            await asyncio.to_thread(self.lifespan.demote, self.clock.now_ms(), because)
        return Held(audit, path)


class AuditCalendar:
    """Holds the daily audit every 24 h, and the weekly one every 7 days with a reminder to sign it."""

    def __init__(self, office: AuditOffice, lifespan: Lifespan, folder: Path, clock: Clock) -> None:
        self._office = office
        self._lifespan = lifespan
        self._folder = folder
        self._clock = clock

    async def run(self) -> None:
        """Look every minute whether an audit is due, for ever."""
        while True:
            await self._clock.sleep(CHECK_EVERY_S)
            await self.hold_what_is_due()

    async def hold_what_is_due(self) -> list[Held]:
        """Hold every audit that is due, and return them; a full disk leaves it for the next look."""
        activation = await asyncio.to_thread(self._lifespan.read, self._clock.now_ms())
        if activation is None:
            return []
        held = []
        for kind in (DAILY, WEEKLY):
            try:
                if await asyncio.to_thread(self._take_turn, kind, activation):
                    held.append(await self._office.hold(kind, activation.activated_ms))
            except OSError as failed:
                log.warning("bsc_audit_not_stored", kind=kind, error=failed.strerror)
        for each in held:
            if each.audit.kind == WEEKLY:
                log.warning(
                    "bsc_weekly_audit_to_sign", file=str(each.path), cure="read it, fill in `signed_by`"
                )
        return held

    def _take_turn(self, kind: str, activation: Activation) -> bool:
        """Whether ``kind`` is due; if so the turn is taken, so that no other process holds it too."""
        now_ms = self._clock.now_ms()

        def due(turns: dict[str, Any]) -> bool:
            return now_ms - int(turns.get(kind, activation.activated_ms)) >= PERIOD_MS[kind]

        return self._change_turns(kind, now_ms, due)

    def _change_turns(self, kind: str, now_ms: int, due: Callable[[dict[str, Any]], bool]) -> bool:
        with exclusive(self._folder):
            try:
                turns = read_record(self._folder / FILE) or {}
            except RecordUnreadable:
                turns = {}
            is_due = due(turns)
            if is_due:
                write_record(self._folder / FILE, {**turns, kind: now_ms})
        return is_due


def _not_passed(audit: Audit) -> list[str]:
    return [finding.name for finding in audit.findings if finding.verdict is not Verdict.PASS]
