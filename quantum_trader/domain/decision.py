"""A decision: all verdicts of one plan and what they add up to (SPEC 1)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from quantum_trader.domain.exposure import ClaimedExposure
from quantum_trader.domain.intention import Intention
from quantum_trader.domain.once import once
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.trading import Leg
from quantum_trader.domain.verdict import Mode, Ruling, Verdict, objection


class Decision(Struct, frozen=True, dict=True):
    """What was decided of a plan, when, under which config.

    ``allowed`` plans have a ``quantity`` (base asset) and go on to the claim. The others name the
    ``gate`` and ``reason`` of the first denial in chain order, or of the first gate that could not
    judge where none denied. ``exposure`` is what an open would
    claim; None for an exit. ``rotation`` names the position whose close would let the plan pass
    every gate, where the only thing in its way is a full house (SPEC 6.6). What is worked out of it
    once may be kept in its ``__dict__``.
    """

    plan: Plan
    intention: Intention
    verdicts: tuple[Verdict, ...]
    decided_at_ms: int
    config_hash: str
    quantity: Decimal | None = None
    exposure: ClaimedExposure | None = None
    gate: str = ""
    reason: str = ""
    rotation: Leg | None = None

    @once
    def spoken(self) -> tuple[Verdict, ...]:
        """The verdicts that are no plain passes: few, and what a plan's end is made of."""
        return tuple([verdict for verdict in self.verdicts if verdict.ruling is not Ruling.PASS])

    @property
    def allowed(self) -> bool:
        """Whether the plan may be claimed."""
        return not self.gate

    @property
    def is_exit(self) -> bool:
        """Whether the plan only reduces."""
        return self.intention.is_exit

    def refused(self, gate: str, code: str, compared: Mapping[str, Any]) -> Decision:
        """Return the decision with what the claim, or the begin of a rotation, refused.

        A part of it that fails is reported as its gate's denial (SPEC 5), which stands behind what that
        gate said before; the first denial in chain order names the reason as ever.
        """
        denial = Verdict(gate, Ruling.DENY, code, Mode.ENFORCE, {"found_by": "claim", **compared})
        places = [place for place, verdict in enumerate(self.verdicts, 1) if verdict.gate == gate]
        place = places[-1] if places else len(self.verdicts)
        verdicts = (*self.verdicts[:place], denial, *self.verdicts[place:])
        named = objection(verdicts, is_exit=self.is_exit) or denial
        return replace(self, verdicts=verdicts, gate=named.gate, reason=named.code, rotation=None)

    def verdict_of(self, gate: str) -> Verdict | None:
        """Return the verdict of ``gate``, the last one where a gate speaks twice."""
        return next((verdict for verdict in reversed(self.verdicts) if verdict.gate == gate), None)
