"""What a gate is: a table of config.toml that can judge a case."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from quantum_trader.domain.case import Case
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Mode, Ruling, Verdict


class Gate(BaseModel, ABC):
    """One check. Its fields are its table ``[gates.<name>]`` in config.toml.

    ``judge`` is pure: it sees the case and its own limits, asks the evidence for facts, and
    answers with one verdict. It need not care for its mode, for missing evidence, or (unless
    ``judges_exits``) for exits: the chain does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    judges_exits: ClassVar[bool] = False

    mode: Mode = Field(
        default=Mode.ENFORCE,
        description="enforce: blocks; shadow: judges and is recorded, never blocks; off: is not asked",
    )

    @abstractmethod
    def judge(self, case: Case) -> Verdict:
        """Return this gate's verdict of ``case``.

        Raises:
            EvidenceMissing: a fact that the rule needs is absent or stale.
        """

    def passes(self, code: Reason = Reason.PASS, **evidence: Any) -> Verdict:
        """Return a pass with the numbers compared."""
        return Verdict(self.name, Ruling.PASS, code._value_, self.mode, evidence)  # .value takes two calls

    def denies(self, code: Reason, **evidence: Any) -> Verdict:
        """Return a denial with its reason and the numbers compared."""
        return Verdict(self.name, Ruling.DENY, code._value_, self.mode, evidence)
