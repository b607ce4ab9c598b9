"""Verdicts of gates, and the modes a gate can be in (SPEC 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct


class Ruling(StrEnum):
    """What a gate says of a plan. ERROR means it could not judge, which is not a denial."""

    PASS = "pass"  # noqa: S105  # a ruling, not a password
    DENY = "deny"
    ERROR = "error"
    SKIP = "skip"


class Mode(StrEnum):
    """Whether a gate blocks, only watches, or is not asked at all."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


class Verdict(Struct, frozen=True, gc=False):
    """One gate's ruling with its reason code and the numbers it compared."""

    gate: str
    ruling: Ruling
    code: str
    mode: Mode
    evidence: Mapping[str, Any] = {}

    def blocks(self, *, is_exit: bool) -> bool:
        """Whether this verdict stops the plan: errors stop opens, never exits (SPEC 5)."""
        if self.mode is not Mode.ENFORCE:
            return False
        return self.ruling is Ruling.DENY or (self.ruling is Ruling.ERROR and not is_exit)

    def as_record(self) -> dict[str, Any]:
        """Return the verdict as it stands in a result's trace."""
        return {
            "gate": self.gate,
            "ruling": self.ruling,
            "code": self.code,
            "mode": self.mode,
            "evidence": self.evidence,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Verdict:
        """Read back what ``as_record`` wrote; raises ``KeyError`` or ``ValueError`` if it is none."""
        return cls(
            record["gate"],
            Ruling(record["ruling"]),
            record["code"],
            Mode(record["mode"]),
            record["evidence"],
        )


def objection(verdicts: Iterable[Verdict], *, is_exit: bool) -> Verdict | None:
    """Return the verdict that says why a plan is stopped; None where none stops it.

    The first denial in chain order. A gate that could not judge stops an open as well, and names the
    reason only where nothing was denied: an error is no denial (SPEC 5).
    """
    spoken = [verdict for verdict in verdicts if verdict.ruling is not Ruling.PASS]  # nearly all pass
    blocking = [verdict for verdict in spoken if verdict.blocks(is_exit=is_exit)]
    denials = (verdict for verdict in blocking if verdict.ruling is Ruling.DENY)
    return next(denials, blocking[0] if blocking else None)
