"""The audits: every day whether BSC is what it claims to be, every week five proofs to sign (SPEC 10).

A daily audit that fails takes BSC's authority away. One that could not see is INCONCLUSIVE, which is
never PASS (INC-103).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from quantum_trader.bsc import code_proofs
from quantum_trader.bsc.code_proofs import Subject
from quantum_trader.bsc.findings import Finding, Verdict, judged, together
from quantum_trader.bsc.lifespan import DAY_MS
from quantum_trader.bsc.order_history import exit_only
from quantum_trader.bsc.reading import Line
from quantum_trader.bsc.rehearsal import rehearse
from quantum_trader.bsc.watch_log import Coverage, WatchLog
from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.errors import ExchangeError

DAILY, WEEKLY = "daily", "weekly"
PERIOD_MS = {DAILY: DAY_MS, WEEKLY: 7 * DAY_MS}
GOOD_POLLS_MIN = 2
PROOFS = ("exit-only", "fixed thresholds", "fail-open", "direct exchange only", "Redis write-only")


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit of a period (ms, wall time) with all its findings."""

    kind: str
    from_ms: int
    to_ms: int
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """What the findings add up to."""
        return together(self.findings)


@dataclass(frozen=True, slots=True)
class Auditor:
    """Judges BSC; ``line`` gives the way to the exchange or raises ``ExchangeError``."""

    line: Callable[[], Line]
    polls: WatchLog
    clock: Clock
    subject: Subject = field(default_factory=Subject)

    async def daily(self, activated_ms: int) -> Audit:
        """Judge the last 24 h, or the time since activation where that is shorter."""
        coverage = await self._coverage(DAILY, activated_ms)
        findings = (
            watch_alive(coverage),
            await self._prove(code_proofs.direct_exchange_only),
            await self._prove(code_proofs.redis_write_only),
            await self._exit_only(coverage),
            await self._prove(code_proofs.thresholds),
            await self._prove(code_proofs.triggers),
        )
        return Audit(DAILY, coverage.from_ms, coverage.to_ms, findings)

    async def weekly(self, activated_ms: int) -> Audit:
        """Make the five proofs over the last seven days."""
        coverage = await self._coverage(WEEKLY, activated_ms)
        fixed = [await self._prove(code_proofs.thresholds), await self._prove(code_proofs.triggers)]
        findings = (
            await self._exit_only(coverage),
            _joined("fixed thresholds", fixed),
            await self._fail_open(coverage),
            await self._prove(code_proofs.direct_exchange_only),
            await self._prove(code_proofs.redis_write_only),
        )
        return Audit(WEEKLY, coverage.from_ms, coverage.to_ms, findings)

    async def _coverage(self, kind: str, activated_ms: int) -> Coverage:
        now_ms = self.clock.now_ms()
        polls = await asyncio.to_thread(self.polls.read)
        return polls.coverage(max(activated_ms, now_ms - PERIOD_MS[kind]), now_ms)

    async def _prove(self, proof: Callable[[Subject], Finding]) -> Finding:
        """Make a proof from code beside the loop: parsing takes a while."""
        return await asyncio.to_thread(proof, self.subject)

    async def _exit_only(self, coverage: Coverage) -> Finding:
        async def on_line() -> Finding:
            line = self.line()
            offset_ms = line.clock.signing_time_ms() - self.clock.now_ms()
            return await exit_only(line.reads, coverage.from_ms + offset_ms, coverage.to_ms + offset_ms)

        return await _or_inconclusive("exit-only", on_line)

    async def _fail_open(self, coverage: Coverage) -> Finding:
        seen = _seen(coverage)
        if coverage.good_polls < GOOD_POLLS_MIN:
            return Finding("fail-open", Verdict.INCONCLUSIVE, "no period with a watch to judge", seen)
        problems, rehearsed = await rehearse(self.clock)
        fine = "with reads failing nothing is closed, and the watch goes on"
        return judged("fail-open", problems, fine, rehearsed=rehearsed, **seen)


def watch_alive(coverage: Coverage) -> Finding:
    """The watch ran through the period and was never blind."""
    name, seen = "watch alive and not blind", _seen(coverage)
    if coverage.good_polls < GOOD_POLLS_MIN:
        return Finding(name, Verdict.INCONCLUSIVE, "no period with a watch to judge", seen)
    if coverage.blind:
        return Finding(name, Verdict.INCONCLUSIVE, f"blind {len(coverage.blind)} times", seen)
    if coverage.silences_ms:
        longest_s = max(to - start for start, to in coverage.silences_ms) // 1_000
        return Finding(name, Verdict.INCONCLUSIVE, f"nobody watched for up to {longest_s} s", seen)
    return Finding(name, Verdict.PASS, f"{coverage.good_polls} good polls, no gap", seen)


def _seen(coverage: Coverage) -> dict[str, object]:
    return {
        "from_ms": coverage.from_ms,
        "to_ms": coverage.to_ms,
        "good_polls": coverage.good_polls,
        "failed_polls": coverage.failed_polls,
        "blind_ms": [[span.first_ms, span.last_ms] for span in coverage.blind],
        "unwatched_ms": [list(silence) for silence in coverage.silences_ms],
    }


def _joined(name: str, findings: list[Finding]) -> Finding:
    found = "; ".join(finding.found for finding in findings)
    evidence = {finding.name: finding.evidence for finding in findings}
    return Finding(name, together(findings), found, evidence)


async def _or_inconclusive(name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await check()
    except ExchangeError as failed:
        return Finding(name, Verdict.INCONCLUSIVE, f"the exchange does not answer: {failed}")
