"""Asking the running engine what would stop an open now (questions.py answers)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from quantum_trader.cli.common import engine_status
from quantum_trader.domain.clock import SystemClock
from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys

PATIENCE_S = 20.0
LATE_S = 3.0  # a busy engine's status may have lapsed for a moment
LOOK_EVERY_S = 0.05
QUESTIONS_KEPT = 100


async def ask(
    database: Database, keys: Keys, symbol: str, side: str, quantity: str | None
) -> Mapping[str, Any] | None:
    """Return the engine's answer; None where no engine runs or it does not answer in time."""
    runs = await engine_status(database, keys) is not None
    question = {"id": secrets.token_hex(8), "symbol": symbol, "side": side, "qty": quantity or ""}
    client: Any = database.client
    pipeline = client.pipeline(transaction=True)
    pipeline.rpush(keys.questions, encode(question))
    pipeline.ltrim(keys.questions, -QUESTIONS_KEPT, -1)
    await pipeline.execute()
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + (PATIENCE_S if runs else LATE_S)
    while clock.monotonic_s() < deadline_s:
        raw = await client.get(keys.answer(str(question["id"])))
        if raw is not None:
            answer: Mapping[str, Any] = decode(raw)
            return answer
        await clock.sleep(LOOK_EVERY_S)
    return None


async def latch_times(database: Database, keys: Keys, symbol: str) -> dict[str, int]:
    """Return how many seconds each latch that binds ``symbol`` still holds, by reason code."""
    names = {
        "cooldown_global": keys.cooldown_global,
        "cooldown_symbol": keys.cooldown_symbol(symbol),
        "safe_mode": keys.safe_mode,
    }
    pipeline = database.client.pipeline(transaction=False)
    for name in names.values():
        pipeline.pttl(name)
    left: list[Any] = await pipeline.execute()
    return {code: -(-ms // 1000) for code, ms in zip(names, left, strict=True) if ms > 0}
