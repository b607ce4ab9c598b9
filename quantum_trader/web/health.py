"""``/healthz``: the loop answers."""

from __future__ import annotations

from aiohttp import web

from quantum_trader import __version__
from quantum_trader.web.server import reply
from quantum_trader.web.view import VIEW


def add_routes(app: web.Application) -> None:
    """Add the probe."""
    app.router.add_get("/healthz", _healthz)


async def _healthz(request: web.Request) -> web.Response:
    view = request.app[VIEW]
    uptime_s = round(view.clock.monotonic_s() - view.started_s)
    return reply({"alive": True, "version": __version__, "uptime_s": uptime_s})
