"""``/healthz``: the loop answers. ``/readyz``: work gets done, 503 where it does not."""

from __future__ import annotations

from aiohttp import web

from quantum_trader import __version__
from quantum_trader.web.readiness import checks, first_problem
from quantum_trader.web.server import reply
from quantum_trader.web.view import VIEW


def add_routes(app: web.Application) -> None:
    """Add the probes."""
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)


async def _healthz(request: web.Request) -> web.Response:
    view = request.app[VIEW]
    bsc = {"state": view.bsc.state, "authority": view.bsc.authority}
    return reply({"alive": True, "version": __version__, "uptime_s": view.uptime_s, "bsc": bsc})


async def _readyz(request: web.Request) -> web.Response:
    found = checks(request.app[VIEW])
    ready = first_problem(found) is None
    return reply({"ready": ready, "checks": [check.as_fields() for check in found]}, 200 if ready else 503)
