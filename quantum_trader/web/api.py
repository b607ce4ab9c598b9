"""``/api/*`` for reading: what the page shows, as JSON, for programs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from quantum_trader.stores.archive import archived_plan
from quantum_trader.web import snapshot
from quantum_trader.web.feed import DECISIONS_KEPT, whole
from quantum_trader.web.server import reply
from quantum_trader.web.view import VIEW, EngineView

NEWEST_DEFAULT = 100
HISTORY_MS_MAX = 2**53

log = structlog.get_logger()

PARTS: dict[str, Callable[[EngineView], Any]] = {
    "status": snapshot.state,
    "positions": snapshot.positions,
    "account": snapshot.account,
    "latches": snapshot.latches,
    "slots": snapshot.slots,
    "bsc": snapshot.bsc,
    "reasons": lambda view: view.feed.reasons(),
}


def add_routes(app: web.Application) -> None:
    """Add one route a part, and those that take a parameter."""
    for name, part in PARTS.items():
        app.router.add_get(f"/api/{name}", _answer(part))
    app.router.add_get("/api/decisions", _decisions)
    app.router.add_get("/api/decision", _decision)
    app.router.add_get("/api/event-log", _event_log)
    app.router.add_get("/api/history", _history)


def _answer(part: Callable[[EngineView], Any]) -> Callable[[web.Request], Any]:
    async def respond(request: web.Request) -> web.Response:
        return reply(part(request.app[VIEW]))

    return respond


async def _decisions(request: web.Request) -> web.Response:
    """``?limit=``: so many of the newest decisions, without their chains."""
    return reply(request.app[VIEW].feed.newest(_number(request, "limit", NEWEST_DEFAULT, DECISIONS_KEPT)))


async def _decision(request: web.Request) -> web.Response:
    """``?plan_id=``: one decision with its gate chain, from memory or from the archive."""
    view, plan_id = request.app[VIEW], request.query.get("plan_id", "")
    found = view.feed.find(plan_id)
    if found is None:
        try:
            found = await asyncio.to_thread(archived_plan, view.config.state_dir, plan_id)
        except sqlite3.Error as broken:
            log.warning("archive_unread", error=str(broken))
            return reply({"error": "the archive in state_dir cannot be read"}, 503)
    if found is None:
        return reply({"error": "no such plan; plan ids are case-sensitive"}, 404)
    return reply(whole(found))


async def _event_log(request: web.Request) -> web.Response:
    """``?limit=``: so many of the newest events of the engine and of BSC."""
    return reply(request.app[VIEW].events.newest(_number(request, "limit", NEWEST_DEFAULT, 300)))


async def _history(request: web.Request) -> web.Response:
    """``?since_ms=``: equity and exposure since then, at most a day."""
    return reply(request.app[VIEW].history.columns(_number(request, "since_ms", 0, HISTORY_MS_MAX)))


def _number(request: web.Request, name: str, default: int, largest: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > len(str(largest)):
        raise web.HTTPBadRequest(text=f"{name} must be a whole number")
    return min(int(text), largest)
