"""Who may see and who may change, decided in one place for every request.

A browser on this machine is not a friend: any site that its user visits can send requests here. So

* a request must name a host that is ours (a rebound DNS name does not reach the API);
* a change needs the bearer token, a JSON body, and no other site as its origin. Browsers attach no
  bearer token by themselves, and no answer carries a CORS header;
* beyond loopback the token is needed for reading as well. Only the page's own files, which hold
  nothing, and the two probes are open.

Every route is covered because the middleware sits before all of them: a new one needs no check of its own.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from quantum_trader.config_tables import HttpTable
from quantum_trader.trading_mode import is_loopback

READING = frozenset({"GET", "HEAD"})
GUARDED = ("/api/", "/metrics")
CARRY_THEIR_TOKEN = frozenset({"/api/plans/tradingview"})  # in the body: its sender can set no header
OUR_ORIGIN = frozenset({"", "none", "same-origin"})
HOW_TO_SET = (
    "changes are refused because no token is configured: set QT_HTTP__TOKEN "
    "(`openssl rand -hex 32` makes one) and restart"
)
PROTECTION = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "Server": "quantum-trader",
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request goes no further: an HTTP status, and one line that says what to do."""

    status: int
    error: str


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one server. ``token`` "" refuses every change."""

    token: str = field(repr=False)
    hosts: frozenset[str]
    reading_needs_token: bool

    @classmethod
    def of(cls, table: HttpTable) -> Access:
        """Return the rules that ``[http]`` states."""
        names = {name.lower() for name in (*table.hosts, table.host, "localhost")}
        return cls(table.token.get_secret_value(), frozenset(names), not is_loopback(table.host))

    def refusal(self, request: web.BaseRequest) -> Refused | None:
        """Return why ``request`` may not pass; None if it may."""
        if not self._is_ours(request.headers.get("Host", "")):
            return Refused(403, "this host name is not known here; add it to http.hosts if it is yours")
        if request.method not in READING:
            return self._change_refused(request)
        if self.reading_needs_token and request.path.startswith(GUARDED):
            return self._token_refused(request)
        return None

    def _change_refused(self, request: web.BaseRequest) -> Refused | None:
        if not _is_same_origin(request):
            return Refused(403, "another site may change nothing here")
        if request.path in CARRY_THEIR_TOKEN:
            return None
        if not self.token:
            return Refused(403, HOW_TO_SET)
        refused = self._token_refused(request)
        if refused is None and request.content_type != "application/json":
            return Refused(415, "send JSON, with Content-Type: application/json")
        return refused

    def _token_refused(self, request: web.BaseRequest) -> Refused | None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.knows(given.strip()):
            return None
        wrong = "the token is wrong" if given else "a token is needed"
        return Refused(401, f"{wrong}: send `Authorization: Bearer TOKEN` with the value of http.token")

    def knows(self, given: str) -> bool:
        """Whether ``given`` is the token, in a time that does not depend on where they differ."""
        sent = given.encode(errors="surrogateescape")  # the header's own bytes, which need not be UTF-8
        return bool(self.token) and hmac.compare_digest(sent, self.token.encode())

    def _is_ours(self, host: str) -> bool:
        """Addresses are ours, as no DNS name leads to them; of names only the known ones."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self.hosts or _is_address(name)


def guard(access: Access) -> Middleware:
    """Return the middleware that lets no request past which ``access`` refuses."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = access.refusal(request)
        if refused is None:
            return await handler(request)
        log.warning("http_refused", path=request.path, status=refused.status, remote=request.remote)
        headers = {"WWW-Authenticate": "Bearer"} if refused.status == web.HTTPUnauthorized.status_code else {}
        return web.json_response({"error": refused.error}, status=refused.status, headers=headers)

    return check


async def protect(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Put the headers that keep browsers in check on every answer; for ``on_response_prepare``."""
    del request
    for name, value in PROTECTION.items():
        if name not in response.headers:
            response.headers[name] = value


def _is_same_origin(request: web.BaseRequest) -> bool:
    """A request of no browser names no origin; one of a browser must come from our own page."""
    if request.headers.get("Sec-Fetch-Site", "") not in OUR_ORIGIN:
        return False
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("Host")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
