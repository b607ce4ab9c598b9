"""One connection to the exchange that is kept alive: opened, listened to, renewed, opened again.

Theory of operation. A link is *live* while its socket is open and was heard within ``silent_s_max``
seconds. An open socket says nothing (INC-88: it may stay open and silent for ever), so life is judged
by what comes in: messages where the stream has a beat of its own (``messages_are_the_beat``), else
any frame, for which the peer is asked every two seconds. Silence is believed when two looks in a
row find it, so that an event loop that was held up does not kill a connection whose frames wait in
the buffer.

A link that ends is opened again after a pause that doubles up to 15 s, with jitter; one that lived
for a minute begins anew with the shortest pause. Before the exchange's limit of 24 h it is renewed:
the new socket is up before the old one goes, so what both tell is told twice and nothing is missed.
Whoever listens to a link must therefore bear doubles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.reads import random_share
from quantum_trader.exchange.streams.socket import Socket

LOOK_EVERY_S = 0.25
PAUSE_FIRST_S = 0.25
PAUSE_MAX_S = 15.0
SETTLED_AFTER_S = 60.0
RENEWAL_RETRY_S = 60.0
LINGER_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """How one kind of link is judged, in seconds; see the module's theory of operation."""

    silent_s_max: float
    messages_are_the_beat: bool = False
    ask_every_s: float = 2.0
    renew_after_s: float = 23 * 3600.0
    connect_timeout_s: float = 5.0


async def _nothing_to_do(_: Socket) -> None:
    """A link whose peer expects no greeting."""


class Link:
    """Keeps one connection alive.

    ``find_url`` is asked for the address before every connection and may raise ``ExchangeError``.
    ``greet`` is awaited on a new socket before it counts. ``ask`` asks the peer for a sign of life.
    ``on_live`` and ``on_dead`` are called when the link becomes live, and when it ceases to be.
    """

    def __init__(
        self,
        name: str,
        find_url: Callable[[], Awaitable[str]],
        receive: Callable[[bytes], None],
        clock: Clock,
        terms: LinkTerms,
        *,
        greet: Callable[[Socket], Awaitable[None]] = _nothing_to_do,
        ask: Callable[[Socket], None] = Socket.ping,
        on_live: Callable[[], None] = lambda: None,
        on_dead: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random_share,
    ) -> None:
        self.name = name
        self._find_url = find_url
        self._receive = receive
        self._clock = clock
        self._terms = terms
        self._greet = greet
        self._ask = ask
        self._on_live = on_live
        self._on_dead = on_dead
        self._jitter = jitter
        self.socket: Socket | None = None
        """The socket in use; None while there is none."""
        self._old: list[tuple[float, Socket]] = []
        self._condemned = ""
        self._asked_at_s = float("-inf")
        self._renew_not_before_s = float("-inf")
        self._renewal_due = False
        self._live_since_s: float | None = None
        self._failing = False
        self.connections = 0
        self.messages_are_the_beat = terms.messages_are_the_beat

    @property
    def is_live(self) -> bool:
        """Whether the peer was heard within the terms."""
        return self._live_since_s is not None

    @property
    def live_for_s(self) -> float:
        """Seconds since the link became live; 0 while it is not."""
        return 0.0 if self._live_since_s is None else self._clock.monotonic_s() - self._live_since_s

    @property
    def silent_s(self) -> float | None:
        """Seconds since what counts as a sign of life came; None where nothing has come."""
        heard_at_s = self._beat_at_s(self.socket) if self.socket is not None else None
        return None if heard_at_s is None else self._clock.monotonic_s() - heard_at_s

    def condemn(self, why: str) -> None:
        """Have the connection opened anew: what it tells, or fails to tell, is wrong."""
        self._condemned = why
        if self.socket is not None:
            self.socket.close()

    def renew(self) -> None:
        """Have the connection replaced now: the peer is about to end it."""
        self._renewal_due = True

    async def run(self) -> None:
        """Keep the link alive until cancelled."""
        pause_s = PAUSE_FIRST_S
        try:
            while True:
                opened_at_s = self._clock.monotonic_s()
                why = await self._live_once()
                self._note_end(why)
                if self._clock.monotonic_s() - opened_at_s >= SETTLED_AFTER_S:
                    pause_s = PAUSE_FIRST_S
                await self._clock.sleep(pause_s * (0.5 + self._jitter() / 2))
                pause_s = min(pause_s * 2, PAUSE_MAX_S)
        finally:
            self._drop()

    async def _live_once(self) -> str:
        """Connect and watch until it ends; return why it did."""
        self._condemned = ""
        try:
            self._take(await self._open())
        except ExchangeError as failed:
            return str(failed)
        try:
            return await self._watch()
        finally:
            self._drop()

    async def _open(self) -> Socket:
        url = await self._find_url()
        socket = await Socket.open(url, self._receive, self._clock, self._terms.connect_timeout_s)
        try:
            await self._greet(socket)
        except BaseException:
            socket.close()
            raise
        return socket

    def _take(self, socket: Socket) -> None:
        if self.socket is not None:
            self._old.append((self._clock.monotonic_s() + LINGER_S, self.socket))
        self.socket, self._asked_at_s = socket, float("-inf")
        self._renewal_due = False
        self.messages_are_the_beat = self._terms.messages_are_the_beat
        self.connections += 1

    async def _watch(self) -> str:
        silent_looks = 0
        while self.socket is not None and not self.socket.ended.is_set():
            await self._look_after(self.socket)
            if self._condemned:
                return self._condemned
            silent_looks = silent_looks + 1 if self._is_silent(self.socket) else 0
            if silent_looks > 1:
                return f"silent for {self._terms.silent_s_max} s"
            await _ended_or_later(self.socket)
        return self._condemned or "connection lost"

    async def _look_after(self, socket: Socket) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._asked_at_s >= self._terms.ask_every_s:
            self._asked_at_s = now_s
            self._ask(socket)
        if self._live_since_s is None and self._beat_at_s(socket) is not None:
            self._live_since_s = now_s
            self._failing = False
            log.info("stream_live", stream=self.name)
            self._on_live()
        self._close_old(now_s)
        is_due = self._renewal_due or now_s >= socket.opened_at_s + self._terms.renew_after_s
        if is_due and now_s >= self._renew_not_before_s:
            await self._renew()

    async def _renew(self) -> None:
        self._renew_not_before_s = self._clock.monotonic_s() + RENEWAL_RETRY_S
        try:
            self._take(await self._open())
        except ExchangeError as failed:
            log.warning("stream_renewal_failed", stream=self.name, error=str(failed))
        else:
            log.info("stream_renewed", stream=self.name)

    def _is_silent(self, socket: Socket) -> bool:
        heard_at_s = self._beat_at_s(socket) or socket.opened_at_s
        return self._clock.monotonic_s() - heard_at_s > self._terms.silent_s_max

    def _beat_at_s(self, socket: Socket) -> float | None:
        return socket.told_at_s if self.messages_are_the_beat else socket.heard_at_s

    def _close_old(self, now_s: float) -> None:
        due = [socket for close_at_s, socket in self._old if now_s >= close_at_s]
        self._old = [(close_at_s, socket) for close_at_s, socket in self._old if now_s < close_at_s]
        for socket in due:
            socket.close()

    def _drop(self) -> None:
        for socket in (self.socket, *(socket for _, socket in self._old)):
            if socket is not None:
                socket.close()
        self.socket, self._old = None, []
        if self._live_since_s is not None:
            self._live_since_s = None
            self._on_dead()

    def _note_end(self, why: str) -> None:
        """Say once that the link is down, however often it fails to come back."""
        if not self._failing:
            log.warning("stream_down", stream=self.name, why=why)
        self._failing = True


async def _ended_or_later(socket: Socket) -> None:
    try:
        async with asyncio.timeout(LOOK_EVERY_S):
            await socket.ended.wait()
    except TimeoutError:
        return
