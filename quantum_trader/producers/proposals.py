"""One exit proposal: its identity, and the entries it becomes on the streams (SPEC 9).

The id derives from the position (leg, opened_at) and the rung or episode: proposed twice, whatever
happened between, it is the same plan, and the chain carries it out once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from quantum_trader.domain.plan import Action
from quantum_trader.domain.result import plain
from quantum_trader.domain.trading import Position, PositionSide
from quantum_trader.gates.portfolio_heat import Calibration
from quantum_trader.producers.harvest_rules import rounded
from quantum_trader.stores.codec import encode_text

SOURCE = "harvest"


@dataclass(frozen=True, slots=True)
class Proposal:
    """Close a part or all of ``held``; times in ms, ``read_at_ms`` is when the position was read."""

    held: Position
    opened_at_ms: int
    read_at_ms: int
    action: Action
    trigger: str
    r_net: Decimal | None
    kill_score: Decimal | None
    inputs: Mapping[str, Any]

    @property
    def plan_id(self) -> str:
        """The identity of this proposal and of its plan."""
        leg = self.held.leg.key.replace(":", "_")
        return f"{SOURCE}_{leg}_{self.opened_at_ms}_{self.trigger}"

    def as_fields(self, mode: str) -> dict[str, str]:
        """Return the entry for ``harvest.proposal``."""
        return {
            **self._common(),
            "action": self.action.value,
            "r_net": plain(rounded(self.r_net)),
            "entry_price": plain(self.held.entry_price),
            "inputs": encode_text(self.inputs),
            "mode": mode,
        }

    def as_calibrated(self, calibration: Calibration, mode: str) -> dict[str, str]:
        """Return the entry for ``harvest.calibrated``; ``mode`` is the heat gate's."""
        return {
            **self._common(),
            "proposal": self.action.value,
            "calibrated_action": calibration.action.value,
            "heat": plain(rounded(calibration.heat)),
            "bucket": calibration.bucket.value,
            "downgraded": "true" if calibration.downgraded else "false",
            "reason": calibration.reason,
            "mode": mode,
        }

    def as_plan(self, action: Action) -> dict[str, str]:
        """Return the entry for ``apply.plan`` that carries out ``action``; dated with the position read."""
        plan = {
            "plan_id": self.plan_id,
            "decision": "EXECUTE",
            "symbol": self.held.leg.symbol,
            "side": self.held.side_to_close.value,
            "qty": "0",
            "reduceOnly": "true",
            "action": action.value,
            "timestamp": str(self.read_at_ms),
            "source": SOURCE,
            "trigger": self.trigger,
            "proposed_action": self.action.value,
            "kill_score": plain(rounded(self.kill_score)),
            "r_net": plain(rounded(self.r_net)),
        }
        if self.held.leg.side is not PositionSide.BOTH:
            plan["positionSide"] = self.held.leg.side.value
        return plan

    def _common(self) -> dict[str, str]:
        return {
            "plan_id": self.plan_id,
            "symbol": self.held.leg.symbol,
            "position_side": self.held.leg.side.value,
            "trigger": self.trigger,
            "position_amt": plain(self.held.amount),
            "mark_price": plain(self.held.mark_price),
            "kill_score": plain(rounded(self.kill_score)),
            "opened_at": str(self.opened_at_ms),
            "timestamp": str(self.read_at_ms),
            "source": SOURCE,
        }
