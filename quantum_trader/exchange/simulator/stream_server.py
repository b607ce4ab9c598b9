"""Stream connections: WebSockets in front of the hub, the beat, and faults carried out."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import parse_qs

from aiohttp import WSCloseCode, web

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.simulator.faults import FaultKind, FaultRule, Faults
from quantum_trader.exchange.simulator.sockets import Line, TimeSource, end
from quantum_trader.exchange.simulator.stream_hub import StreamHub
from quantum_trader.exchange.simulator.stream_session import Frame, StreamSession, address_of
from quantum_trader.exchange.simulator.venue import Venue

BEAT_S: Final = 0.1
HOLD_LOOP_MAX_S: Final = 0.005


class StreamServer:
    """Serves ``/ws``, ``/stream`` and their routed forms for one venue."""

    def __init__(self, venue: Venue, faults: Faults, clock: Clock, now_ms: TimeSource) -> None:
        self._clock, self._faults, self._now_ms = clock, faults, now_ms
        self.hub = StreamHub(venue, self._flush_soon)
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to beat."""
        self._beating = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Close every connection and end; raises what the beat had failed with."""
        for session in self.hub.sessions:
            session.outlet.close(WSCloseCode.GOING_AWAY)
        if self._beating is not None:
            await end(self._beating)

    async def answer(self, http: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        """Serve one stream connection until it ends; 404 for a path of no known form."""
        address = address_of(path, parse_qs(query))
        if address is None:
            return web.Response(status=404)
        line = Line(http, self._clock)
        outlet = _Outlet(line, self._faults, path)
        session = StreamSession(address, outlet, lambda it: self.hub.attach(it, self._now_ms()))
        self.hub.attach(session, self._now_ms())
        try:
            return await line.serve(lambda text: session.receive(text, self._now_ms()))
        finally:
            self.hub.detach(session)

    def _flush_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self.hub.flush)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            held_since_s = loop.time()
            for _ in self.hub.beat(self._now_ms()):
                if loop.time() - held_since_s > HOLD_LOOP_MAX_S:
                    await asyncio.sleep(0)
                    held_since_s = loop.time()
            await self._clock.sleep(BEAT_S)


class _Outlet:
    """A session's frames on their way to its line, with faults in between."""

    def __init__(self, line: Line, faults: Faults, path: str) -> None:
        self._line, self._faults, self._path = line, faults, path
        self._silent_until_s = 0.0

    def send(self, frame: Frame) -> None:
        """Queue ``frame``, unless a fault has it otherwise."""
        if asyncio.get_running_loop().time() < self._silent_until_s:
            return
        rules = self._faults.interfere_with_frame(self._path, frame)
        if rules:
            self._send_spoiled(frame, {rule.kind: rule for rule in rules})
        else:
            self._line.put(frame.body)

    def close(self, code: int) -> None:
        """Close the connection behind the frames that are queued already."""
        self._line.put(code)

    def _send_spoiled(self, frame: Frame, rules: dict[FaultKind, FaultRule]) -> None:
        loop = asyncio.get_running_loop()
        if FaultKind.STREAM_DROP in rules:
            self._line.abort()
            return
        if FaultKind.STREAM_SILENCE in rules:
            self._silent_until_s = loop.time() + rules[FaultKind.STREAM_SILENCE].ms / 1000
            return
        late = rules.get(FaultKind.STREAM_LATE)
        for _ in range(2 if FaultKind.STREAM_DOUBLE in rules else 1):
            if late is None:
                self._line.put(frame.body)
            else:
                loop.call_later(late.ms / 1000, self._line.put, frame.body)
