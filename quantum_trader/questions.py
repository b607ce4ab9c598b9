"""Answers `why SYMBOL`: what would stop an open now, by the real gates on the engine's present evidence.

A question is an entry on a list in Redis, its answer a key with a short life, so that it works with or
without the HTTP server. Asking changes nothing: no claim, no latch, no count.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.facts import PlanHistory
from quantum_trader.domain.plan import Plan, PlanSide
from quantum_trader.joining import Joined
from quantum_trader.pipeline.decide import decide
from quantum_trader.pipeline.evidence import gather
from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.keys import Keys

LOOK_EVERY_S = 0.25
QUESTIONS_MAX = 20
ANSWER_TTL_S = 30
SOURCE = "why"

log = structlog.get_logger()


class Questions:
    """Takes questions from the list and answers them."""

    def __init__(self, joined: Joined, keys: Keys, clock: Clock) -> None:
        self._joined = joined
        self._keys = keys
        self._clock = clock

    async def answer_all(self) -> None:
        """Answer what waits, at most ``QUESTIONS_MAX`` at a time; raises ``RedisError``."""
        client: Any = self._joined.database.client
        for raw in await client.lpop(self._keys.questions, QUESTIONS_MAX) or ():
            try:
                question = decode(raw)
                answer = await self._answer(question)
                name = self._keys.answer(str(question["id"]))
            except (ValueError, KeyError, TypeError, InvalidOperation) as senseless:
                log.warning("question_unreadable", error=f"{type(senseless).__name__}: {senseless}")
                continue
            await client.set(name, encode(answer), ex=ANSWER_TTL_S)

    async def _answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        joined, symbol = self._joined, str(question["symbol"])
        side = PlanSide(question.get("side") or PlanSide.BUY)
        asked = Decimal(question["qty"]) if question.get("qty") else self._smallest(symbol)
        operator = await joined.stream.operator_state(symbol)
        evidence = gather(self._plan(symbol, side, asked), joined.rooms, operator, PlanHistory())
        decision = decide(self._plan(symbol, side, asked), evidence, joined.rules.chain)
        return {
            "symbol": symbol,
            "side": side.value,
            "qty": f"{asked:f}",
            "allowed": decision.allowed,
            "sends_orders": joined.rules.sends_orders,
            "gate": decision.gate,
            "reason": decision.reason,
            "rotates": decision.rotation.key if decision.rotation is not None else "",
            "verdicts": [verdict.as_record() for verdict in decision.verdicts],
            "config_hash": decision.config_hash,
            "timestamp": self._clock.now_ms(),
        }

    def _smallest(self, symbol: str) -> Decimal:
        """Return the smallest legal open: whatever stops it is not its size."""
        market = self._joined.rooms.market
        rules = market.rules_of(symbol)
        mark = market.marks.value.get(symbol) if market.marks is not None else None
        if rules is None or mark is None:
            return Decimal(1)
        limits = rules.market_quantity
        return max(limits.round_up(limits.minimum), limits.round_up(rules.notional_min / mark))

    def _plan(self, symbol: str, side: PlanSide, quantity: Decimal) -> Plan:
        now_ms = self._clock.now_ms()
        return Plan(
            plan_id=SOURCE,
            decision="EXECUTE",
            symbol=symbol,
            side=side,
            quantity=quantity,
            reduce_only=False,
            stream_id=f"{now_ms}-0",
            issued_at_ms=now_ms,
            content_hash="",
            source=SOURCE,
        )
