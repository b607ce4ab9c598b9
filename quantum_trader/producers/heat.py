"""P2.6 beside harvest: measures the portfolio's heat, and calibrates each proposal by it (SPEC 9)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import structlog

from quantum_trader.domain.evidence import EvidenceMissing
from quantum_trader.domain.trading import Positions
from quantum_trader.domain.verdict import Mode
from quantum_trader.gates.portfolio_heat import Bucket, Calibration, PortfolioHeat, portfolio_heat
from quantum_trader.producers.exit_inputs import Inputs
from quantum_trader.producers.harvest_rules import rounded
from quantum_trader.producers.proposals import Proposal
from quantum_trader.producers.view import View

GATE_OFF = "gate_off"

log = structlog.get_logger()


def measured(view: View, positions: Positions, inputs: Mapping[str, Inputs]) -> Decimal | EvidenceMissing:
    """Return the heat of ``positions``, or which fact is missing for it."""
    balances = view.balances()
    if balances is None:
        return EvidenceMissing("account", "absent or stale")
    sigmas = {symbol: one.sigma for symbol, one in inputs.items() if one.sigma is not None}
    try:
        return portfolio_heat(positions, sigmas, balances.value.margin_balance)
    except EvidenceMissing as missing:
        return missing


def calibrated(gate: PortfolioHeat, proposal: Proposal, heat: Decimal | EvidenceMissing) -> Calibration:
    """Return what the gate makes of ``proposal``, and log both side by side."""
    if gate.mode is Mode.OFF:
        return Calibration(proposal.action, None, Bucket.UNKNOWN, GATE_OFF)
    calibration = gate.calibrate(proposal.action, proposal.kill_score, heat)
    log.info(
        "shadow_compare",
        plan_id=proposal.plan_id,
        symbol=proposal.held.leg.symbol,
        proposal=proposal.action.value,
        calibrated_action=calibration.action.value,
        acting=gate.acting(proposal.action, calibration).value,
        heat=rounded(calibration.heat),
        bucket=calibration.bucket.value,
        downgraded=calibration.downgraded,
        reason=calibration.reason,
        mode=gate.mode.value,
    )
    return calibration
