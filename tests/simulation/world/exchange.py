"""The embedded exchange's venue in virtual time, and the way to it: the engine's own REST client
runs down to the bytes of each request, and everything may go wrong with them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any

from simulation.world.loop import START_MS, Process, VirtualLoop, process_of_context

from quantum_trader.domain.order import OrderStatus
from quantum_trader.exchange.endpoints import Endpoint
from quantum_trader.exchange.errors import ExchangeUnreachable
from quantum_trader.exchange.replies import Reply
from quantum_trader.exchange.rest import RestTransport
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.signing import signer_for
from quantum_trader.exchange.simulator import FaultKind, FaultRule, Gateway, RateLimits, Request, TradingTerms
from quantum_trader.exchange.simulator.admission import admit
from quantum_trader.exchange.simulator.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bar
from quantum_trader.exchange.simulator.book import Level, Match
from quantum_trader.exchange.simulator.calls import Distortion
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.market import Market
from quantum_trader.exchange.simulator.model import Account, Credentials, Order
from quantum_trader.exchange.simulator.order_request import OrderRequest, parse
from quantum_trader.exchange.simulator.symbols import SYMBOLS, SymbolSpec
from quantum_trader.exchange.simulator.venue import Venue
from quantum_trader.exchange.weight import WeightBudget

KEY, SECRET = "simulated-key", "simulated-secret"
ORDER_PATH = "/fapi/v1/order"
SLOPES_PPM = {"trend_strong": 4_000, "base": 1_600, "chop": 0}  # price moves in an hour, by regime


class PlainTape:
    """Prices that rise in a straight line with a ripple: one regime a symbol, cheap to ask for."""

    first_ms = START_MS - 30 * DAY_MS

    def __init__(self, seed: int, symbols: Sequence[str], regimes: dict[str, str]) -> None:
        rng = random.Random(f"{seed}:tape")
        self.regimes = regimes
        self._ripple_ppm = {symbol: rng.randrange(100, 500) for symbol in symbols}
        self._knot = lru_cache(maxsize=4096)(self._make_knot)
        self._seed = seed

    def levels_ms(self, symbol: str) -> Sequence[int]:
        return (DAY_MS, HOUR_MS, MINUTE_MS)

    def bar(self, symbol: str, width_ms: int, open_ms: int) -> Bar:
        first, last = self._ticks(symbol, open_ms), self._ticks(symbol, open_ms + width_ms)
        return Bar(open_ms, open_ms + width_ms, first, max(first, last), min(first, last), last, 1_000_000)

    def premium_ppm(self, symbol: str, at_ms: int) -> tuple[int, int]:
        return 0, 0

    def _ticks(self, symbol: str, at_ms: int) -> int:
        spec = SYMBOLS[symbol]
        slope = SLOPES_PPM[self.regimes[symbol]] * (at_ms - START_MS) / HOUR_MS
        ripple = self._ripple_ppm[symbol] * self._knot(symbol, at_ms // MINUTE_MS)
        return max(1, round(float(spec.price_typical / spec.tick) * (1 + (slope + ripple) / 1e6)))

    def _make_knot(self, symbol: str, minute: int) -> float:
        return random.Random(f"{self._seed}:{symbol}:{minute}").uniform(-1, 1)


@dataclass(frozen=True, slots=True)
class LateFill:
    """An order that fills later than it is answered: all of it, or the second half."""

    delay_s: float
    first_half_now: bool


class LateVenue(Venue):
    """The venue, with fills that come late where ``lateness`` says so."""

    def __init__(self, loop: VirtualLoop, lateness: Callable[[], LateFill | None], *rest: Any) -> None:
        super().__init__(*rest)
        self._loop = loop
        self._lateness = lateness

    def place(
        self, account: Account, params: Any, now_ms: int, *, only_test: bool = False, hide_ms: int = 0
    ) -> Order:
        late = self._lateness() if params.get("type") == "MARKET" else None
        if late is None:
            return super().place(account, params, now_ms, only_test=only_test, hide_ms=hide_ms)
        self.let_pass(account, now_ms)
        spec = self.spec(params["symbol"])
        quote = self.market.quote(spec.symbol, now_ms)
        request = parse(params, spec, quote, account, now_ms)
        clamps = self.terms.clamps_reduce_only
        admit(
            account,
            request,
            quote,
            lambda one: self.market.quote(one, now_ms).mark,
            clamps_reduce_only=clamps,
        )
        match = self.desk.takes(account, request, quote)
        order = self.desk.enter(account, request, now_ms)
        order.hidden_until_ms = now_ms + hide_ms
        if late.first_half_now:
            self._fill_half(account, order, match, spec, now_ms)
        if not order.status.is_final:
            self._loop.later(late.delay_s, self._fill_rest, account, order, request)
        return order

    def _fill_half(self, account: Account, order: Order, match: Match, spec: SymbolSpec, now_ms: int) -> None:
        quantity = match.quantity / 2 // spec.step * spec.step
        if quantity > 0:
            level = Level(match.fills[0].price, quantity)
            self.desk.fill(account, order, level, maker=False, now_ms=now_ms)

    def _fill_rest(self, account: Account, order: Order, request: OrderRequest) -> None:
        now_ms = self._loop.now_ms
        match = Match(Decimal(0), ())
        if not order.only_reduces or account.amount(order.leg) * order.side.sign < 0:
            with suppress(RefusedError):
                match = self.desk.takes(account, request, self.market.quote(order.symbol, now_ms))
        left, fills = order.remaining, []
        for level in match.fills:
            taken = min(level.quantity, left)
            left -= taken
            if taken > 0:
                fills.append(Level(level.price, taken))
        self.desk.work(account, order, Match(order.remaining - left, tuple(fills)), now_ms)
        if not order.status.is_final:
            self.desk.finish(account, order, OrderStatus.EXPIRED, 9, now_ms)


class ExchangeFault(StrEnum):
    """What may happen to one request on its way."""

    NO_CONNECTION = "no_connection"  # not a byte left
    RESET_BEFORE = "reset_before_execution"
    RESET_AFTER = "reset_after_execution"
    SILENT_BEFORE = "timeout_before_execution"
    SILENT_AFTER = "timeout_after_execution"
    LATE_ARRIVAL = "late_arrival"  # arrives seconds later, perhaps when nobody waits any more
    RESET_LATE = "reset_and_late_arrival"  # the connection is gone at once, the request arrives all the same
    STATUS_BEFORE = "status_before"
    STATUS_AFTER = "status_after"
    CRASH_BEFORE = "crash_before_send"
    CRASH_AFTER = "crash_after_send"
    HIDDEN = "order_invisible"
    STALE = "stale_read"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault with its details: ``preset`` names an answer of the simulator's faults."""

    kind: ExchangeFault
    preset: str = ""
    ms: int = 0


class ExchangeNetwork:
    """The way to the venue; ``trouble_of`` is asked about every request."""

    def __init__(
        self,
        gateway: Gateway,
        loop: VirtualLoop,
        *,
        latency_s: Callable[[], float],
        trouble_of: Callable[[Process, str, str], Trouble | None],
    ) -> None:
        self.gateway = gateway
        self.is_down = False
        self.on_answer: list[Callable[[Process, Request, Any], None]] = []
        self._loop = loop
        self._latency_s = latency_s
        self._trouble_of = trouble_of

    async def ask(self, process: Process, endpoint: Endpoint, payload: str, timeout_s: float) -> Reply:
        """Send one request; raises ``ExchangeUnreachable`` as the transport does."""
        reply: asyncio.Future[Reply] = self._loop.create_future()
        in_body = endpoint.method == "POST"
        parts = {"body": payload.encode()} if in_body else {"query": payload.encode()}
        request = Request(endpoint.method, endpoint.path, api_key=KEY, peer="engine", **parts)
        trouble = self._trouble_of(process, endpoint.method, endpoint.path)
        kind = trouble.kind if trouble is not None else None
        later, delay_s = self._loop.later, self._latency_s()
        name = str(endpoint)
        if kind is ExchangeFault.CRASH_BEFORE:
            process.kill()
        elif self.is_down or kind is ExchangeFault.NO_CONNECTION:
            later(delay_s, _fail, reply, _unreachable(name, "connection refused", sent=False))
        elif kind is ExchangeFault.RESET_BEFORE:
            later(delay_s, _fail, reply, _unreachable(name, "connection reset", sent=True))
        elif kind is ExchangeFault.RESET_LATE and trouble is not None:
            later(delay_s, _fail, reply, _unreachable(name, "connection reset", sent=True))
            later(delay_s + trouble.ms / 1000, self._arrive, process, request, reply, trouble)
        else:
            later(timeout_s, _fail, reply, _unreachable(name, "timed out", sent=True))
            if kind is not ExchangeFault.SILENT_BEFORE:
                delay_s += trouble.ms / 1000 if trouble and kind is ExchangeFault.LATE_ARRIVAL else 0
                later(delay_s, self._arrive, process, request, reply, trouble)
        return await reply

    def _arrive(
        self, process: Process, request: Request, reply: asyncio.Future[Reply], trouble: Trouble | None
    ) -> None:
        kind = trouble.kind if trouble is not None else None
        if self.is_down or (trouble is not None and kind is ExchangeFault.STATUS_BEFORE):
            preset = "502_gateway" if trouble is None or not trouble.preset else trouble.preset
            self._answer(reply, _preset(preset, self._loop.now_ms))
            return
        hide_ms = trouble.ms if trouble is not None and kind is ExchangeFault.HIDDEN else 0
        stale_ms = trouble.ms if trouble is not None and kind is ExchangeFault.STALE else 0
        answer = self.gateway.handle(request, self._loop.now_ms, Distortion(hide_ms, stale_ms))
        for told in self.on_answer:
            told(process, request, answer)
        if kind is ExchangeFault.CRASH_AFTER:
            process.kill()
        elif kind is ExchangeFault.RESET_AFTER:
            _fail(reply, _unreachable(request.path, "connection reset", sent=True))
        elif trouble is not None and kind is ExchangeFault.STATUS_AFTER:
            self._answer(reply, _preset(trouble.preset, self._loop.now_ms))
        elif kind is not ExchangeFault.SILENT_AFTER:
            self._answer(reply, Reply(answer.status, answer.headers, answer.body))

    def _answer(self, reply: asyncio.Future[Reply], answer: Reply) -> None:
        self._loop.later(self._latency_s(), _set, reply, answer)


class SimulatedTransport(RestTransport):
    """The engine's transport with its session taken out: budget and signatures are the real ones."""

    def __init__(self, network: ExchangeNetwork, settings: ExchangeSettings, weight: WeightBudget) -> None:
        process = process_of_context.get()
        assert process is not None
        self._network, self._process = network, process
        self._timeout_s = settings.request_timeout_s
        self._weight = weight
        self._signer = signer_for(settings.api_secret)

    async def close(self) -> None:
        """There is no session."""

    async def _exchange(self, endpoint: Endpoint, payload: str) -> Reply:
        return await self._network.ask(self._process, endpoint, payload, self._timeout_s)


def build_exchange(
    seed: int,
    loop: VirtualLoop,
    symbols: Sequence[str],
    *,
    regimes: dict[str, str],
    depth_usdt: Decimal | None,
    lateness: Callable[[], LateFill | None],
    clamps_reduce_only: bool,
    balance_usdt: Decimal,
) -> tuple[LateVenue, Account, Gateway]:
    """Return a venue with one account, and its gateway."""
    specs = {symbol: SYMBOLS[symbol] for symbol in symbols}
    market = Market(PlainTape(seed, symbols, regimes), specs, start_ms=START_MS)
    terms = TradingTerms(depth_usdt=depth_usdt, clamps_reduce_only=clamps_reduce_only)
    venue = LateVenue(loop, lateness, specs, market, terms)
    account = venue.open_account(Credentials(KEY, SECRET), balance_usdt, START_MS)
    return venue, account, Gateway(venue, RateLimits())


def _preset(name: str, now_ms: int) -> Reply:
    retry_after_s = 2 if name.startswith(("429", "418")) else None
    rule = FaultRule(FaultKind.STATUS_BEFORE, preset=name, retry_after_s=retry_after_s)
    answer = rule.reply(now_ms)
    return Reply(answer.status, answer.headers, answer.body)


def _unreachable(endpoint: str, reason: str, *, sent: bool) -> ExchangeUnreachable:
    return ExchangeUnreachable(endpoint, reason, may_have_been_sent=sent)


def _set(reply: asyncio.Future[Reply], answer: Reply) -> None:
    if not reply.done():
        reply.set_result(answer)


def _fail(reply: asyncio.Future[Reply], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)
