"""Names of streams and keys (SPEC 2). Nothing else in the tree spells a key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from quantum_trader.domain.once import once
from quantum_trader.domain.trading import Leg, PositionSide

GROUP = "quantum-trader"
CONSUMER = "engine"
INTENT_GROUP = "intent-bridge"


@dataclass(frozen=True)
class Keys:
    """All names below one namespace; ``leg`` is a symbol, ending in :LONG/:SHORT in hedge mode."""

    namespace: str = "quantum"

    def _name(self, *parts: str) -> str:
        return f"{self.namespace}:{':'.join(parts)}"

    @once
    def plans(self) -> str:
        """Stream of plans, in."""
        return self._name("stream", "apply.plan")

    @once
    def results(self) -> str:
        """Stream of results, out."""
        return self._name("stream", "apply.result")

    @once
    def dead_letters(self) -> str:
        """Stream of entries that could not be read as a plan."""
        return self._name("stream", "apply.dead")

    @once
    def governor_events(self) -> str:
        """Stream of the engine's events."""
        return self._name("stream", "governor.events")

    @once
    def kill(self) -> str:
        """Kill switch: absent or 0, 1, opens."""
        return self._name("kill")

    @once
    def mode(self) -> str:
        """PAPER, DRY_RUN, TESTNET or LIVE, out."""
        return self._name("mode")

    @once
    def execution(self) -> str:
        """ENABLED or DISABLED, out."""
        return self._name("governor", "execution")

    @once
    def policy(self) -> str:
        """Hash with the universe of symbols, in."""
        return self._name("policy", "current")

    @once
    def engine_status(self) -> str:
        """JSON with a TTL: what the running engine says of itself."""
        return self._name("engine", "status")

    @once
    def questions(self) -> str:
        """List of what operators ask the running engine."""
        return self._name("engine", "questions")

    def answer(self, question_id: str) -> str:
        """JSON with a TTL: the engine's answer to one question."""
        return f"{self.namespace}:engine:answer:{question_id}"

    def lease(self, account: str) -> str:
        """Which engine may claim."""
        return f"{self.namespace}:engine:lease:{account}"

    def fencing(self, account: str) -> str:
        """Counter behind the lease's fencing tokens."""
        return f"{self.namespace}:engine:fencing:{account}"

    @once
    def floor(self) -> str:
        """Oldest stream id that is not settled: where a group made anew begins."""
        return self._name("engine", "floor")

    def processed(self, plan_id: str) -> str:
        """State of a plan: claimed, parked, terminal."""
        return f"{self.namespace}:exec:processed:{plan_id}"

    def plan(self, plan_id: str) -> str:
        """JSON that recovery needs."""
        return f"{self.namespace}:exec:plan:{plan_id}"

    def lock(self, symbol: str) -> str:
        """An order of ours is in flight on the symbol."""
        return f"{self.namespace}:exec:lock:{symbol}"

    def rate_symbol(self, symbol: str) -> str:
        """Sorted set of claimed opens of the symbol."""
        return f"{self.namespace}:exec:rate:symbol:{symbol}"

    @once
    def rate_global(self) -> str:
        """Sorted set of claimed opens."""
        return self._name("exec", "rate", "global")

    @once
    def claims(self) -> str:
        """Hash plan id → claim, for every plan that is claimed and not yet seen everywhere."""
        return self._name("exec", "claims")

    @once
    def claim_sums(self) -> str:
        """Sums over the hash of claims, never too small: see claim.lua."""
        return self._name("exec", "claim_sums")

    @once
    def epoch(self) -> str:
        """Counter of settled opens; dates claims against readings."""
        return self._name("exec", "epoch")

    @once
    def margin_fails(self) -> str:
        """Sorted set of margin failures in the window."""
        return self._name("exec", "margin_fails")

    def cooldown_symbol(self, symbol: str) -> str:
        """Latch."""
        return f"{self.namespace}:safety:cooldown_symbol:{symbol}"

    def cooldowns_symbol(self, symbols: Iterable[str]) -> list[str]:
        """The latches of ``symbols``."""
        prefix = self.cooldown_symbol("")
        return [prefix + symbol for symbol in symbols]

    @once
    def cooldown_global(self) -> str:
        """Latch."""
        return self._name("safety", "cooldown_global")

    @once
    def safe_mode(self) -> str:
        """Latch."""
        return self._name("safety", "safe_mode")

    @once
    def disarmed(self) -> str:
        """Latch that an operator alone clears."""
        return self._name("safety", "disarmed")

    @once
    def dry_run(self) -> str:
        """Latch: an operator wants no orders sent, until a restart after it was cleared."""
        return self._name("safety", "dry_run")

    def permit_p32(self, plan_id: str) -> str:
        """Record of the governor gates' verdict; never read back."""
        return f"{self.namespace}:permit:p32:{plan_id}"

    def permit_p33(self, plan_id: str) -> str:
        """Record of the position gate's verdict; never read back."""
        return f"{self.namespace}:permit:p33:{plan_id}"

    def last_exec_ms(self, leg: str) -> str:
        """When the symbol's last open was executed, ms."""
        return f"{self.namespace}:cooldown:last_exec_ts:{leg}"

    @once
    def rotation_lock(self) -> str:
        """The one rotation under way."""
        return self._name("rotation", "lock")

    def rotation_lock_of(self, plan_id: str) -> str:
        """The same, by the parked plan."""
        return f"{self.namespace}:rotation:lock:{plan_id}"

    def ledger(self, leg: str) -> str:
        """Hash: what the engine believes it holds."""
        return f"{self.namespace}:position:ledger:{leg}"

    def snapshot(self, leg: str) -> str:
        """Hash: the exchange's view."""
        return f"{self.namespace}:position:snapshot:{leg}"

    @once
    def bsc_events(self) -> str:
        """Stream of BSC's events."""
        return self._name("stream", "bsc.events")

    @once
    def bsc_health(self) -> str:
        """JSON that BSC writes."""
        return self._name("bsc", "health")

    @once
    def intents(self) -> str:
        """Stream of signals for the intent bridge, in."""
        return self._name("stream", "trade.intent")

    @once
    def harvest_proposals(self) -> str:
        """Stream of exit proposals, before the heat gate."""
        return self._name("stream", "harvest.proposal")

    @once
    def harvest_calibrated(self) -> str:
        """Stream of exit proposals, after the heat gate."""
        return self._name("stream", "harvest.calibrated")

    def harvest_state(self, leg: str) -> str:
        """JSON with a TTL: what was proposed for the leg's position already."""
        return f"{self.namespace}:harvest:state:{leg}"

    def harvest_inputs(self, symbol: str) -> str:
        """Hash that an external model may write: the inputs of the kill score."""
        return f"{self.namespace}:harvest:inputs:{symbol}"


def leg_of(key: str) -> Leg:
    """Return the leg that a key's suffix names: ``BTCUSDT`` or ``BTCUSDT:LONG``."""
    symbol, _, side = key.partition(":")
    return Leg(symbol, PositionSide(side or PositionSide.BOTH))
