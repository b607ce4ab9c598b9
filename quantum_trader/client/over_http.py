"""The way over the engine's HTTP (``[http]`` in config.toml)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp

from quantum_trader.client.trader import NotAccepted, Unreachable
from quantum_trader.domain.clock import SystemClock

TIMEOUT_S = 10
WAIT_S_MAX = 30
NOT_FOUND, UNAVAILABLE, OK, ACCEPTED = 404, 503, 200, 202
CLOCK = SystemClock()


class HttpWay:
    """``POST /api/plans`` and ``GET /api/plans/<plan_id>``."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/") + "/api/plans"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session = aiohttp.ClientSession(headers=headers)

    async def put(self, fields: Mapping[str, str]) -> None:
        """Hand over a plan; raises ``NotAccepted`` or ``Unreachable``."""
        status, body, headers = await self._ask("POST", self._url, TIMEOUT_S, json=dict(fields))
        if status == UNAVAILABLE:
            raise Unreachable(body.get("error", "unavailable"))
        if status != ACCEPTED:
            retry = headers.get("Retry-After", "")
            error = body.get("error", f"HTTP {status}")
            raise NotAccepted(status, error, body.get("field", ""), int(retry) if retry.isdigit() else None)

    async def result(self, plan_id: str, wait_s: float) -> Mapping[str, str] | None:
        """Return the plan's result, asking again for as long as ``wait_s`` seconds."""
        deadline_s = CLOCK.monotonic_s() + wait_s
        while True:
            left_s = max(0.0, deadline_s - CLOCK.monotonic_s())
            found = await self._look(plan_id, min(WAIT_S_MAX, int(left_s)))
            if found is not None or left_s <= 1:
                return found

    async def _look(self, plan_id: str, wait_s: int) -> Mapping[str, str] | None:
        url = f"{self._url}/{quote(plan_id, safe='')}?wait_s={wait_s}"
        status, body, _ = await self._ask("GET", url, wait_s + TIMEOUT_S)
        if status == OK:
            return {name: str(value) for name, value in body.items()}
        if status != NOT_FOUND:
            raise Unreachable(body.get("error", f"HTTP {status}"))
        return None

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def _ask(
        self, method: str, url: str, timeout_s: float, **request: Any
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.request(method, url, timeout=timeout, **request) as answer:
                content = await answer.json(content_type=None)
        except (TimeoutError, aiohttp.ClientError, ValueError) as failed:
            raise Unreachable(f"{url}: {type(failed).__name__}: {failed}") from failed
        return answer.status, content if isinstance(content, dict) else {}, answer.headers
