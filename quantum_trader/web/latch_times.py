"""How long the latches that are set still hold: asked for once a second, and only while one is set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.facts import Latches
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys

SAFE_MODE, COOLDOWN_GLOBAL, COOLDOWN_SYMBOL = "safe_mode", "cooldown_global", "cooldown_symbol"


@dataclass(frozen=True, slots=True)
class Latched:
    """A latch with a time to live; ``until_ms`` None: it has none, or it is not known yet."""

    name: str
    symbol: str
    until_ms: int | None


class LatchTimes:
    """Ends of the latches, by key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_ms: dict[tuple[str, str], int] = {}

    async def read(self, latches: Latches, database: Database, keys: Keys) -> None:
        """Ask for the remaining time of every latch that is set; raises ``RedisError``."""
        names = _set_ones(latches)
        if not names:
            self._until_ms = {}
            return
        pipeline = database.client.pipeline(transaction=False)
        for name, symbol in names:
            pipeline.pttl(_key(keys, name, symbol))
        left: list[Any] = await pipeline.execute()
        now_ms = self._clock.now_ms()
        self._until_ms = {
            name: now_ms + left_ms for name, left_ms in zip(names, left, strict=True) if left_ms > 0
        }

    def of(self, latches: Latches) -> list[Latched]:
        """Return the latches that are set, each with its end."""
        return [Latched(*name, self._until_ms.get(name)) for name in _set_ones(latches)]


def _set_ones(latches: Latches) -> list[tuple[str, str]]:
    named = [(SAFE_MODE, latches.safe_mode), (COOLDOWN_GLOBAL, latches.cooldown_global)]
    cooling = [(COOLDOWN_SYMBOL, symbol) for symbol in sorted(latches.cooldown_symbols)]
    return [(name, "") for name, is_set in named if is_set] + cooling


def _key(keys: Keys, name: str, symbol: str) -> str:
    if name == COOLDOWN_SYMBOL:
        return keys.cooldown_symbol(symbol)
    return keys.safe_mode if name == SAFE_MODE else keys.cooldown_global
