"""The intent bridge: signals on ``trade.intent`` become plans on ``apply.plan`` (SPEC 9).

Off unless switched on. At least once: a signal is acknowledged in the same step in which its plan,
its skip or its dead letter is written. The plan's id is a pure function of the signal, so that a
redelivered one is a duplicate, and no second order (INC-05).
"""

from __future__ import annotations

from collections import Counter

import structlog

from quantum_trader.producers.intents import BridgeTerms, Intent, NoSignal, Skip, plan_of, read_intent
from quantum_trader.producers.view import View
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.intents import IntentStream, Signal

IDLE_S = 1.0
BLIND_PAUSE_S = 0.5

log = structlog.get_logger()


class IntentBridge:
    """Reads signals one by one, in order."""

    name = "intent_bridge"

    def __init__(self, view: View, stream: IntentStream) -> None:
        self._view = view
        self._stream = stream
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Carry over signals for as long as the bridge is on and this engine leads; raises ``RedisError``."""
        while True:
            while not self._is_on:
                await self._view.clock.sleep(IDLE_S)
            await self._join_stream()
            while self._is_on and (left := await self._stream.pending()):
                await self._carry(left)
            while self._is_on:
                await self._carry(await self._stream.new())

    async def _join_stream(self) -> None:
        """Begin with the oldest signal that might still trade, where nobody has read the stream before."""
        oldest_ms = self._view.clock.now_ms() - self._terms.age_ms_max
        if await self._stream.ensure_group(oldest_ms):
            log.info("intent_bridge_begins", oldest_ms=oldest_ms)

    @property
    def _is_on(self) -> bool:
        return self._view.config.intent_bridge.enabled and self._view.lease.is_held

    async def _carry(self, signals: list[Signal]) -> None:
        for signal in signals:
            try:
                await self._settle(signal, read_intent(signal.stream_id, signal.raw))
            except NoSignal as wrong:
                log.warning("dead_letter", stream_id=signal.stream_id, reason=str(wrong))
                await self._bury(signal, str(wrong))
            except RedisError:
                raise
            except Exception:  # a bug of ours must not hold up the signals behind this one
                log.exception("intent_failed", stream_id=signal.stream_id)
                await self._bury(signal, "internal_error")

    async def _bury(self, signal: Signal, reason: str) -> None:
        self.counts["dead"] += 1
        await self._stream.bury(signal, reason)

    async def _settle(self, signal: Signal, intent: Intent) -> None:
        outcome = await self._outcome(intent)
        if outcome is None:  # switched off meanwhile: the signal stays ours, unacknowledged
            return
        if isinstance(outcome, Skip):
            await self._skip(signal, intent, outcome.reason)
            return
        await self._stream.forward(signal, outcome)
        self.counts["forwarded"] += 1
        log.info("intent_forwarded", plan_id=intent.plan_id, symbol=intent.symbol, action=outcome["action"])

    async def _outcome(self, intent: Intent) -> dict[str, str] | Skip | None:
        """Lay the signal against the live positions, waiting for them until it is too old for anything."""
        while self._is_on:
            now_ms, terms = self._view.clock.now_ms(), self._terms
            positions = await self._view.read_positions()
            if positions is not None:
                return plan_of(intent, positions.value, now_ms, terms)
            if now_ms - intent.issued_at_ms > terms.age_ms_max:
                return Skip("stale")
            await self._view.clock.sleep(BLIND_PAUSE_S)
        return None

    @property
    def _terms(self) -> BridgeTerms:
        config = self._view.config
        return BridgeTerms(
            config.intake.max_age_s * 1000,
            config.intake.exit_max_age_s * 1000,
            config.intent_bridge.sell_opens_short,
        )

    async def _skip(self, signal: Signal, intent: Intent, reason: str) -> None:
        self.counts[f"skipped_{reason}"] += 1
        log.warning("intent_skipped", stream_id=signal.stream_id, symbol=intent.symbol, reason=reason)
        event = {
            "event": "INTENT_SKIPPED",
            "plan_id": intent.plan_id,
            "symbol": intent.symbol,
            "side": intent.side.value,
            "reason": reason,
            "stream_id": signal.stream_id,
            "timestamp": str(self._view.clock.now_ms()),
        }
        await self._stream.skip(signal, event)
