"""The socket border of the embedded exchange: HTTP and WebSockets in, faults carried out.

Everything that decides is synchronous (gateway.py); here are only sockets, the clock, and the
ways in which a connection can go wrong.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.simulator.admin import PREFIX, Admin
from quantum_trader.exchange.simulator.faults import HOLDS, RESETS, FaultRule, Faults
from quantum_trader.exchange.simulator.gateway import Gateway, Reply, Request
from quantum_trader.exchange.simulator.sockets import abort
from quantum_trader.exchange.simulator.stream_server import StreamServer
from quantum_trader.exchange.simulator.ws_api_server import PATH as WS_API_PATH
from quantum_trader.exchange.simulator.ws_api_server import ApiServer

_STOP_WITHIN_S: Final = 0.5


class Server:
    """Serves a gateway over HTTP on ``host``:``port``; ``admin`` None keeps ``/sim/…`` shut."""

    def __init__(
        self, gateway: Gateway, faults: Faults, clock: Clock, admin: Admin, *, opens_admin: bool
    ) -> None:
        self._gateway, self._faults, self._clock = gateway, faults, clock
        self._admin, self._opens_admin = admin, opens_admin
        self.streams = StreamServer(gateway.venue, faults, clock, self.now_ms)
        self._api = ApiServer(gateway, faults, clock, self.now_ms)
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port; OSError where it is taken."""
        server = web.Server(self._answer, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=_STOP_WITHIN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.streams.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        if self._runner is not None:
            await self.streams.stop()
            await self._api.stop()
            await self._runner.cleanup()
            self._runner = None

    def now_ms(self) -> int:
        """The venue's time: the clock's, plus the offset set for a drill."""
        return self._clock.now_ms() + self._admin.offset_ms

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        path, _, query = http.raw_path.partition("?")
        if http.headers.get("Upgrade", "").lower() == "websocket":
            if path == WS_API_PATH:
                return await self._api.answer(http, query)
            return await self.streams.answer(http, path, query)
        request = Request(
            method=http.method,
            path=path,
            query=query.encode(),
            body=await http.read(),
            api_key=http.headers.get("X-MBX-APIKEY", ""),
            peer=http.remote or "",
        )
        if self._opens_admin and path.startswith(PREFIX):
            return _response(self._admin.handle(request, self.now_ms()))
        return await self._answered_with_faults(request, http)

    async def _answered_with_faults(self, request: Request, http: web.BaseRequest) -> web.StreamResponse:
        interference = self._faults.interfere(request)
        if interference.latency_ms:
            await self._clock.sleep(interference.latency_ms / 1000)
        if interference.before is not None:
            return await self._spoiled(interference.before, http)
        reply = self._gateway.handle(request, self.now_ms(), interference.distortion)
        if interference.after is not None:
            return await self._spoiled(interference.after, http)
        return _response(reply)

    async def _spoiled(self, rule: FaultRule, http: web.BaseRequest) -> web.StreamResponse:
        if rule.kind in HOLDS:
            await self._clock.sleep(rule.ms / 1000)
        if rule.kind in HOLDS | RESETS:
            abort(http)
            return web.Response()
        return _response(rule.reply(self.now_ms()))


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status, body=reply.body, headers=reply.headers, content_type=reply.content_type
    )
