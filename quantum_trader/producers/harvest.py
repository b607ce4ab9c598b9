"""Harvest: looks at every live position, and proposes what should go (SPEC 9).

What it proposed it keeps in Redis, written in the same step as the proposals: each rung of the
ladder once a position, each episode of a high kill score once, also across restarts.
Only what a successful read of the exchange shows is a position (INC-62).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from quantum_trader.domain.evidence import EvidenceMissing
from quantum_trader.domain.plan import Action
from quantum_trader.domain.trading import Leg, Position, Positions
from quantum_trader.producers.exit_inputs import Inputs, choose
from quantum_trader.producers.harvest_rules import kill_score, r_net_of, rounded, rung_reached
from quantum_trader.producers.heat import calibrated, measured
from quantum_trader.producers.proposals import Proposal
from quantum_trader.producers.view import View
from quantum_trader.stores.harvest import HarvestState, HarvestStore, Published

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sight:
    """One position and what is known about it; times in ms."""

    held: Position
    read_at_ms: int
    opened_at_ms: int
    r_net: Decimal | None
    kill_score: Decimal | None
    inputs: Inputs


class Harvest:
    """Proposes exits; with ``mode = "act"`` it also asks for them on the plan stream."""

    name = "harvest"

    def __init__(self, view: View, store: HarvestStore) -> None:
        self._view = view
        self._store = store
        self._states: dict[Leg, HarvestState] = {}
        self._blind = False
        self.counts = {"proposed": 0, "downgraded": 0}

    async def run(self) -> None:
        """Look at the positions every ``interval_s``, for ever; raises ``RedisError``."""
        self._states.clear()  # what is stored counts, also after a write whose reply was lost
        while True:
            await self._view.clock.sleep(self._view.config.harvest.interval_s)
            await self.look()

    async def look(self) -> None:
        """Look at every live position once, and publish what should go; raises ``RedisError``."""
        view = self._view
        if view.config.harvest.mode == "off" or not view.lease.is_held:
            return
        positions = view.positions()
        self._note_blindness(blind=positions is None)
        if positions is None:
            return
        inputs = await self._inputs(positions.value)
        heat = measured(view, positions.value, inputs)
        for leg, held in positions.value.items():
            sight = self._sight(held, positions.read_at_ms, inputs[leg.symbol])
            if sight is not None:
                await self._judge(sight, heat)
        self._states = {leg: state for leg, state in self._states.items() if leg in positions.value}

    async def _inputs(self, positions: Positions) -> dict[str, Inputs]:
        written = await self._store.model_inputs(positions.symbols) if positions else {}
        now_ms, age_ms_max = self._view.clock.now_ms(), self._view.config.harvest.model_max_age_s * 1000
        return {
            symbol: choose(
                written.get(symbol),
                self._view.market.tendencies_of(symbol),
                now_ms,
                model_age_ms_max=age_ms_max,
            )
            for symbol in positions.symbols
        }

    def _sight(self, held: Position, read_at_ms: int, inputs: Inputs) -> Sight | None:
        """Return what is seen of ``held``; None until the ledger knows since when it is held."""
        entry, table = self._view.ledger[held.leg], self._view.config.harvest
        if entry.position_amt * held.amount <= 0 or entry.opened_at <= 0:
            return None
        score = None
        if inputs.reading is not None:
            score = kill_score(inputs.reading.value, self._view.clock.now_ms() - entry.opened_at, table)
        return Sight(held, read_at_ms, entry.opened_at, r_net_of(held, table), score, inputs)

    async def _judge(self, sight: Sight, heat: Decimal | EvidenceMissing) -> None:
        before = await self._state(sight)
        after, proposal = self._next(sight, before)
        if after == before:
            return
        published = [self._published(proposal, heat)] if proposal is not None else []
        await self._store.save(sight.held.leg, after, published)
        self._states[sight.held.leg] = after

    async def _state(self, sight: Sight) -> HarvestState:
        """Return the state of this very position: one that was opened at another time is another one."""
        leg = sight.held.leg
        known = self._states.get(leg) or await self._store.state(leg)
        if known is None or known.opened_at_ms != sight.opened_at_ms:
            known = HarvestState(sight.opened_at_ms)
        self._states[leg] = known
        return known

    def _next(self, sight: Sight, state: HarvestState) -> tuple[HarvestState, Proposal | None]:
        """Return the state after this look, and what it proposes. A whole close goes before a part."""
        threshold = self._view.config.harvest.kill_threshold
        if sight.kill_score is not None:
            if sight.kill_score >= threshold and not state.above:
                state = replace(state, episode=state.episode + 1, above=True)
                return state, self._proposal(sight, Action.FULL_CLOSE_PROPOSED, f"kill{state.episode}")
            state = replace(state, above=sight.kill_score >= threshold)
        rung = rung_reached(sight.r_net, state.rungs)
        if rung is None:
            return state, None
        state = replace(state, rungs=(*state.rungs, rung.r_net))
        return state, self._proposal(sight, rung.action, f"rung{rung.r_net}")

    def _proposal(self, sight: Sight, action: Action, trigger: str) -> Proposal:
        provenance = sight.inputs.provenance(self._view.clock.now_ms())
        return Proposal(
            sight.held,
            sight.opened_at_ms,
            sight.read_at_ms,
            action,
            trigger,
            sight.r_net,
            sight.kill_score,
            provenance,
        )

    def _published(self, proposal: Proposal, heat: Decimal | EvidenceMissing) -> Published:
        config = self._view.config
        gate, mode = config.gates.portfolio_heat, config.harvest.mode
        calibration = calibrated(gate, proposal, heat)
        acting = gate.acting(proposal.action, calibration)
        log.info(
            "harvest_proposal",
            plan_id=proposal.plan_id,
            symbol=proposal.held.leg.symbol,
            action=proposal.action.value,
            r_net=rounded(proposal.r_net),
            kill_score=rounded(proposal.kill_score),
            inputs=proposal.inputs,
            mode=mode,
        )
        self.counts["proposed"] += 1
        self.counts["downgraded"] += calibration.downgraded
        return Published(
            proposal.as_fields(mode),
            proposal.as_calibrated(calibration, gate.mode.value),
            proposal.as_plan(acting) if mode == "act" else None,
        )

    def _note_blindness(self, *, blind: bool) -> None:
        if blind and not self._blind:
            log.warning("harvest_blind", why="the positions were not read, or too long ago")
        self._blind = blind
