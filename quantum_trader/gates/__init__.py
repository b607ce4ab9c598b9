"""The chain of gates, in the order in which the first denial names the result (SPEC 5).

To add a gate: one file with one class, one field in ``GateTables`` (its table in config.toml),
one line in ``chain``, one test file of cases.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from quantum_trader.gates.active_slots import ActiveSlots
from quantum_trader.gates.admission import Admission
from quantum_trader.gates.base import Gate
from quantum_trader.gates.exchange_sizing import ExchangeSizing
from quantum_trader.gates.fund_caps import FundCaps
from quantum_trader.gates.idempotency import Idempotency
from quantum_trader.gates.kill_score import KillScore
from quantum_trader.gates.kill_switch import KillSwitch
from quantum_trader.gates.latches import LatchedStops
from quantum_trader.gates.live_fit import LiveFit
from quantum_trader.gates.margin_guard import MarginGuard
from quantum_trader.gates.portfolio_heat import PortfolioHeat
from quantum_trader.gates.position_sanity import PositionSanity
from quantum_trader.gates.rate_limit import RateLimit

__all__ = ["Gate", "GateTables"]


class GateTables(BaseModel):
    """The tables ``[gates.<name>]`` of config.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kill_switch: KillSwitch = KillSwitch()
    kill_score: KillScore = KillScore()
    idempotency: Idempotency = Idempotency()
    rate_limit: RateLimit = RateLimit()
    margin_guard: MarginGuard = MarginGuard()
    fund_caps: FundCaps = FundCaps()
    active_slots: ActiveSlots = ActiveSlots()
    position_sanity: PositionSanity = PositionSanity()
    exchange_sizing: ExchangeSizing = ExchangeSizing()
    portfolio_heat: PortfolioHeat = PortfolioHeat()  # judges harvest's proposals, not plans

    def chain(self) -> tuple[Gate, ...]:
        """Return every gate in chain order."""
        return (
            Admission(),
            self.kill_switch,
            self.kill_score,
            self.idempotency,
            LatchedStops(),
            self.rate_limit,
            self.margin_guard,
            self.fund_caps,
            self.active_slots,
            LiveFit(),
            self.position_sanity,
            self.exchange_sizing,
        )
