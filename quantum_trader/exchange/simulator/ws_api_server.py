"""Connections of the WebSocket API: sockets in front of their sessions, faults carried out."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import parse_qs

from aiohttp import WSCloseCode, web

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.faults import HOLDS, RESETS, FaultRule, Faults, Interference
from quantum_trader.exchange.simulator.gateway import Gateway
from quantum_trader.exchange.simulator.sockets import Line, TimeSource, end
from quantum_trader.exchange.simulator.ws_api import ApiRequest, ApiSession, spoiled

PATH: Final = "/ws-fapi/v1"
HELD_MAX: Final = 100


class ApiServer:
    """Serves ``/ws-fapi/v1`` for one gateway."""

    def __init__(self, gateway: Gateway, faults: Faults, clock: Clock, now_ms: TimeSource) -> None:
        self._gateway, self._faults, self._clock, self._now_ms = gateway, faults, clock, now_ms
        self._connections: set[_Connection] = set()

    async def stop(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.line.put(WSCloseCode.GOING_AWAY)

    async def answer(self, http: web.BaseRequest, query: str) -> web.StreamResponse:
        """Serve one connection until it ends; 429 where the peer may not connect any more."""
        returns_limits = parse_qs(query).get("returnRateLimits") != ["false"]
        now_ms = self._now_ms()
        session = ApiSession(self._gateway, http.remote or "", now_ms, returns_limits=returns_limits)
        try:
            session.open(now_ms)
        except RefusedError as refusal:
            return web.Response(status=refusal.http_status)
        connection = _Connection(Line(http, self._clock), session, self._faults, self._clock, self._now_ms)
        self._connections.add(connection)
        try:
            return await connection.line.serve(connection.receive)
        finally:
            self._connections.discard(connection)
            await connection.end()


class _Connection:
    """Answers in the order of the requests, but for those that a fault holds back."""

    def __init__(
        self, line: Line, session: ApiSession, faults: Faults, clock: Clock, now_ms: TimeSource
    ) -> None:
        self.line = line
        self._session, self._faults, self._clock, self._now_ms = session, faults, clock, now_ms
        self._held: set[asyncio.Task[None]] = set()

    def receive(self, text: str) -> None:
        """Carry out one frame."""
        request = self._session.read(text)
        if isinstance(request, bytes):
            self.line.put(request)
            return
        interference = self._faults.interfere(request.as_http(self._session.caller(request)))
        if interference == Interference() or len(self._held) >= HELD_MAX:
            self.line.put(self._session.answer(request, self._now_ms()))
            return
        task = asyncio.create_task(self._answer_with_faults(request, interference))
        self._held.add(task)
        task.add_done_callback(self._held.discard)

    async def end(self) -> None:
        """Forget what is still held back."""
        await end(*self._held)

    async def _answer_with_faults(self, request: ApiRequest, interference: Interference) -> None:
        if interference.latency_ms:
            await self._clock.sleep(interference.latency_ms / 1000)
        if interference.before is not None:
            await self._spoil(interference.before, request)
            return
        reply = self._session.answer(request, self._now_ms(), interference.distortion)
        if interference.after is not None:
            await self._spoil(interference.after, request)
            return
        self.line.put(reply)

    async def _spoil(self, rule: FaultRule, request: ApiRequest) -> None:
        if rule.kind in HOLDS:
            await self._clock.sleep(rule.ms / 1000)
        if rule.kind in HOLDS | RESETS:
            self.line.abort()
            return
        self.line.put(spoiled(request, rule.reply(self._now_ms()), self._now_ms()))
