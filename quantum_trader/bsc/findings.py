"""What an audit finds: checks with their evidence, and the verdict they add up to (SPEC 10)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """PASS only on evidence; what could not be judged is INCONCLUSIVE, never PASS."""

    PASS = "PASS"  # noqa: S105 -- a verdict
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was claimed, what was found, and the evidence for it."""

    name: str
    verdict: Verdict
    found: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_fields(self) -> dict[str, Any]:
        """Return the finding for JSON."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "found": self.found,
            "evidence": self.evidence,
        }


def judged(name: str, problems: Iterable[str], fine: str, **evidence: Any) -> Finding:
    """Return FAIL with the problems, or PASS with what is fine."""
    found = list(problems)
    if found:
        return Finding(name, Verdict.FAIL, "; ".join(found), {**evidence, "problems": found})
    return Finding(name, Verdict.PASS, fine, evidence)


def together(findings: Iterable[Finding]) -> Verdict:
    """Return FAIL if any failed, INCONCLUSIVE if any is (or there are none), else PASS."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE
