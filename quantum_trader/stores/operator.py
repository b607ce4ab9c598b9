"""The stops that the engine sets on itself and an operator alone clears (SPEC 2, 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantum_trader.stores.codec import encode
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.plan_stream import EVENTS_KEPT


class StopStore:
    """Sets and clears stops; raises ``RedisError`` when the server does not answer."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def disarm(self, reason: str, now_ms: int) -> bool:
        """Disarm with the reason and time; false if it was disarmed already, which keeps its first reason."""
        value = encode({"reason": reason, "time": now_ms})
        event = {"event": "DISARMED", "reason": reason, "timestamp": str(now_ms)}
        return await self._latch(self._keys.disarmed, value, None, event)

    async def cool_down(self, symbol: str, ttl_s: int, reason: str, now_ms: int) -> bool:
        """Set the symbol's cooldown for ``ttl_s`` seconds; a running one is not extended."""
        event = {
            "event": "COOLDOWN_SET",
            "symbol": symbol,
            "reason": reason,
            "ttl_s": str(ttl_s),
            "timestamp": str(now_ms),
        }
        return await self._latch(self._keys.cooldown_symbol(symbol), b"1", ttl_s, event)

    async def arm(self, reason: str, now_ms: int) -> bool:
        """Clear the disarm, for an operator with a reason; false if there was none."""
        return await self._clear(self._keys.disarmed, "ARMED", reason, now_ms)

    async def stop_sending(self, reason: str, now_ms: int) -> bool:
        """Have the engine go to dry_run, for an operator with a reason; false if it was told so before."""
        value = encode({"reason": reason, "time": now_ms})
        event = {"event": "MODE_CHANGED", "mode": "dry_run", "reason": reason, "timestamp": str(now_ms)}
        return await self._latch(self._keys.dry_run, value, None, event)

    async def allow_sending(self, reason: str, now_ms: int) -> bool:
        """Clear that; the engine's next start sends orders again. False if there was nothing to clear."""
        return await self._clear(self._keys.dry_run, "MODE_RELEASED", reason, now_ms)

    async def clear_latch(self, key: str, reason: str, now_ms: int) -> bool:
        """Clear a cooldown or safe mode, for an operator with a reason; false if it was not set."""
        return await self._clear(key, "LATCH_CLEARED", reason, now_ms)

    async def _clear(self, key: str, name: str, reason: str, now_ms: int) -> bool:
        event: Any = {"event": name, "latch": key, "reason": reason, "timestamp": str(now_ms)}
        pipeline = self._database.client.pipeline(transaction=True)
        pipeline.delete(key)
        pipeline.xadd(self._keys.governor_events, event, maxlen=EVENTS_KEPT, approximate=True)
        deleted, _ = await pipeline.execute()
        return bool(deleted)

    async def kill(self, value: str, reason: str, now_ms: int) -> None:
        """Set the kill switch to ``1`` or ``opens``, or clear it with "", for an operator with a reason."""
        shown = value or "0"
        event: Any = {
            "event": "KILL_SWITCH_CHANGED",
            "kill": shown,
            "reason": reason,
            "timestamp": str(now_ms),
        }
        pipeline = self._database.client.pipeline(transaction=True)
        if value:
            pipeline.set(self._keys.kill, value)
        else:
            pipeline.delete(self._keys.kill)
        pipeline.xadd(self._keys.governor_events, event, maxlen=EVENTS_KEPT, approximate=True)
        await pipeline.execute()

    async def tell_kill(self, now_ms: int) -> bool:
        """Publish the kill switch's value if no event says it yet; true if so. A plain client set it."""
        reply: Any = await self._database.run(
            "kill_change", [self._keys.kill, self._keys.governor_events], [now_ms]
        )
        return bool(reply)

    async def _latch(self, key: str, value: bytes, ttl_s: int | None, event: Mapping[str, str]) -> bool:
        flat = encode([part for pair in event.items() for part in pair])
        args: list[str | bytes | int] = [value, "" if ttl_s is None else ttl_s, flat]
        reply: Any = await self._database.run("latch", [key, self._keys.governor_events], args)
        return bool(reply)
