"""The way over the engine's Redis: the plan stream in, the result stream out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantum_trader.client.trader import Unreachable
from quantum_trader.domain.clock import SystemClock
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.plan_entry import put_plan
from quantum_trader.stores.results import as_text, entries_of, result_of

BLOCK_MS = 1000
RESULTS_SEARCHED = 10_000
CLOCK = SystemClock()


class RedisWay:
    """Reads and writes the streams as any program may."""

    def __init__(self, url: str, namespace: str) -> None:
        self._database = Database(url)
        self._keys = Keys(namespace)

    async def put(self, fields: Mapping[str, str]) -> None:
        """Hand over a plan; raises ``Unreachable``."""
        try:
            await put_plan(self._database, self._keys, fields)
        except (RedisError, OSError) as failed:
            raise Unreachable(f"Redis does not answer: {failed}") from failed

    async def result(self, plan_id: str, wait_s: float) -> Mapping[str, str] | None:
        """Return the plan's result: one that is on the stream already, else the one that comes."""
        deadline_s = CLOCK.monotonic_s() + wait_s
        try:
            last = await self._newest()
            found = await result_of(self._database, self._keys, plan_id, RESULTS_SEARCHED)
            while found is None and (left_s := deadline_s - CLOCK.monotonic_s()) > 0:
                found, last = await self._next(plan_id, last, min(BLOCK_MS, int(left_s * 1000) + 1))
        except (RedisError, OSError) as failed:
            raise Unreachable(f"Redis does not answer: {failed}") from failed
        return found

    async def close(self) -> None:
        """Close every connection."""
        await self._database.close()

    async def _newest(self) -> str:
        """Return where the stream ends now: what is older is searched, what is newer waited for."""
        newest: Any = await self._database.client.xrevrange(self._keys.results, count=1)
        return str(newest[0][0].decode()) if newest else "0"

    async def _next(self, plan_id: str, last: str, block_ms: int) -> tuple[Mapping[str, str] | None, str]:
        reply: Any = await self._database.client.xread({self._keys.results: last}, block=block_ms)
        for name, raw in entries_of(reply):
            last = name
            fields = as_text(raw)
            if fields.get("plan_id") == plan_id:
                return fields, last
        return None, last
