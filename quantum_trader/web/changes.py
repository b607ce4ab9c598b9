"""The two changes that the page can make: kill and resume, each with a reason (SPEC 13).

The guard (auth.py) has seen the token before a request comes here.
"""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import web

from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.operator import StopStore
from quantum_trader.web.server import reply
from quantum_trader.web.view import VIEW

REASON_LENGTH_MAX = 500
SCOPES = {"all": "1", "opens": "opens"}

log = structlog.get_logger()


def add_routes(app: web.Application) -> None:
    """Add them."""
    app.router.add_post("/api/kill", _kill)
    app.router.add_post("/api/resume", _resume)


async def _kill(request: web.Request) -> web.Response:
    """``{"reason": …, "scope": "all" | "opens"}``."""
    wish = await _wish(request, {"reason", "scope"})
    scope = wish.get("scope", "all")
    if scope not in SCOPES:
        raise web.HTTPBadRequest(text='scope must be "all" or "opens"')
    return await _set(request, SCOPES[scope], wish)


async def _resume(request: web.Request) -> web.Response:
    """``{"reason": …}``. Cooldowns, safe mode and a disarm stay as they are."""
    return await _set(request, "", await _wish(request, {"reason"}))


async def _set(request: web.Request, value: str, wish: dict[str, Any]) -> web.Response:
    view, reason = request.app[VIEW], wish["reason"]
    if view.joined is None:
        raise web.HTTPServiceUnavailable(
            text="the engine is starting; try again, or use `quantum-trader kill`"
        )
    stops = StopStore(view.joined.database, Keys(view.config.redis.namespace))
    audit = {"kill": value or "0", "reason": reason, "remote": request.remote}
    try:
        await stops.kill(value, reason, view.clock.now_ms())
    except RedisError as failed:
        log.error("operator_change_failed", **audit, error=str(failed))  # noqa: TRY400
        raise web.HTTPServiceUnavailable(
            text="Redis does not answer, so nothing was changed for certain; close positions with "
            "`quantum-trader flatten --yes`, which needs no Redis"
        ) from None
    log.warning("operator_change", **audit)
    return reply({"kill": value or "0"})


async def _wish(request: web.Request, allowed: set[str]) -> dict[str, Any]:
    """Return the body: an object of texts with a reason and nothing unknown."""
    try:
        wish = await request.json()
    except ValueError:
        raise web.HTTPBadRequest(text="the body is no JSON") from None
    if not isinstance(wish, dict) or not set(wish) <= allowed:
        raise web.HTTPBadRequest(text=f"the body must be an object of {', '.join(sorted(allowed))}")
    if not all(isinstance(value, str) for value in wish.values()):
        raise web.HTTPBadRequest(text="every value must be a text")
    reason = wish.get("reason", "").strip()
    if not reason or len(reason) > REASON_LENGTH_MAX or not reason.isprintable():
        raise web.HTTPBadRequest(text=f"give a reason: one line of at most {REASON_LENGTH_MAX} characters")
    return {**wish, "reason": reason}
