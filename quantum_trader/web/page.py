"""The page's own files, from the package: no build step, nothing from elsewhere, nothing secret."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from aiohttp import web

TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
INDEX = "index.html"


def add_routes(app: web.Application) -> None:
    """Add one route a file; each is read once, at start."""
    for entry in (files("quantum_trader.web") / "static").iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        if suffix not in TYPES:
            continue
        respond = _serve(entry.read_bytes(), TYPES[suffix])
        app.router.add_get(f"/static/{entry.name}", respond)
        if entry.name == INDEX:
            app.router.add_get("/", respond)


def _serve(content: bytes, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def respond(request: web.Request) -> web.Response:
        del request
        return web.Response(body=content, content_type=content_type, charset="utf-8")

    return respond
