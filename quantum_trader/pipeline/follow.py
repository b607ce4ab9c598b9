"""Asking the exchange what became of an order: until it is final, or proven never placed (SPEC 7.4, 7.5).

*Unknown is not failed.* "Order does not exist" is believed only when all of this holds:

1. the request can no longer be accepted: its timestamp + recvWindow has passed on the exchange's clock;
2. queries agree over ``not_placed_lag_s`` since then, three of them at least;
3. the account's trades show no fill of it, and explain how the position stands: the ledger, which
   has our settled orders, plus what others traded since, or shortly before (the ledger adopts that
   only while nothing is under way on the symbol); or the position as it was read before the order,
   plus all trades since. Two ways, for a ledger that is wrong is not mended before this ends.

Where neither explains the position, the trades alone have to show nothing for two minutes more: a fill
is among them by then, and an explanation may never come (docs/decisions/0011). Until one of these holds
the order stays unknown, however long that takes. What a failed proof asked for is asked again less and
less often, as it weighs more than all that the engine reads otherwise.

Whoever tells first counts: the reply, the user data stream (``OrderNews``) or a query. What the
stream tells goes the way of every other word on an order, into the one result of its plan; it never
touches a position by itself, so no fill can count twice (INC-12).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog

from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.order import (
    CLIENT_ORDER_ID_PREFIX,
    Accepted,
    AccountTrade,
    OrderState,
    Outcome,
    Unknown,
    furthest,
)
from quantum_trader.domain.trading import ZERO, Leg
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.ports import AccountReads
from quantum_trader.pipeline.plan_orders import says_no_symbol
from quantum_trader.positions.order_news import OrderNews, Watch
from quantum_trader.stores.claims import StoredOrder

PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 1.0
AGREEING_QUERIES_MIN = 3
UNEXPLAINED_MS = 120_000  # for how long queries and trades have to agree where nothing explains the position
PROOF_PAUSE_MAX_S = 16.0
CLOCK_DOUBT_MS = 1000  # the exchange accepts timestamps up to 1 s ahead of its clock (BINANCE.md 2)
ALERT_AFTER_S = 60.0
LANE_PATIENCE_S = 1.0
LOOK_BACK_MS = 60_000  # how much earlier others may have traded what a busy symbol's ledger has not adopted
HEAD_START_S = 0.05  # a live stream tells a fill about when its reply comes: a query can be saved
REPLY_GRACE_S = 0.25

GiveUpLane = Callable[[], Awaitable[None]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """How sure "not placed" must be: recvWindow in ms and the lag to outwait in s."""

    recv_window_ms: int
    not_placed_lag_s: float


async def _wait_in_lane(following: Awaitable[OrderState], give_up_lane: GiveUpLane) -> OrderState:
    """Await ``following``; where it takes longer than a second, give up the symbol's lane meanwhile.

    An accepted order whose end is not known keeps opens off its symbol by its claim; exits do not
    wait for it (SPEC 5 "In flight").
    """
    task = asyncio.ensure_future(following)
    try:
        done, _ = await asyncio.wait({task}, timeout=LANE_PATIENCE_S)
        if not done:
            await give_up_lane()
        return await task
    finally:
        task.cancel()


class OrderFollower:
    """Follows orders through the account reads that are reserved for exits and settlement."""

    def __init__(
        self,
        account: AccountReads,
        clock: Clock,
        exchange_now_ms: Callable[[], int],
        patience: Patience,
        news: OrderNews,
        unresolved_since_ms: dict[str, int] | None = None,
    ) -> None:
        """``unresolved_since_ms`` lists, for others to see, the orders whose outcome is unknown now."""
        self._account = account
        self._clock = clock
        self._exchange_now_ms = exchange_now_ms
        self._patience = patience
        self._news = news
        self._unresolved_since_ms = {} if unresolved_since_ms is None else unresolved_since_ms

    async def first_word(self, sending: Awaitable[Outcome], order: StoredOrder) -> Outcome:
        """Await ``sending`` and return its outcome, or what the stream told of the order meanwhile.

        The reply to an order that the stream shows ended is not waited for much longer. What the
        stream shows to exist was accepted, whatever a reply says or fails to say.
        """
        outcome: Outcome = Unknown("its reply was not waited for any longer")
        try:
            async with asyncio.timeout(None) as patience:
                with self._news.watch(order.client_order_id, lambda: self._end_soon(patience, order)):
                    self._end_soon(patience, order)
                    outcome = await sending
        except TimeoutError:
            if not patience.expired():
                raise
        told = self._told(order)
        return outcome if told is None or isinstance(outcome, Accepted) else Accepted(told)

    def _end_soon(self, patience: asyncio.Timeout, order: StoredOrder) -> None:
        """Give the reply a little time still, once, where the stream shows that the order has ended."""
        if patience.when() is None and self._is_over(order):
            patience.reschedule(asyncio.get_running_loop().time() + REPLY_GRACE_S)

    async def until_final(self, order: OrderState, give_up_lane: GiveUpLane | None = None) -> OrderState:
        """Return ``order`` when nothing more can happen to it and its fill price is known.

        Where that takes longer than a second, the symbol's lane is given up meanwhile, if it is held.
        """
        order = await self._heard_soon(order)
        if not order.is_settled:
            asking = self._asked_until_final(order)
            order = await (asking if give_up_lane is None else _wait_in_lane(asking, give_up_lane))
        if order.executed_quantity > 0:
            self._news.expect(order.client_order_id, self._clock.monotonic_s())
        return order

    async def _heard_soon(self, order: OrderState) -> OrderState:
        """Return ``order`` with what a live stream tells of it, for which it has a moment.

        The first word may only be that the order exists.
        """
        order = self._heard(order)
        if order.is_settled or not self._news.is_live:
            return order
        loop = asyncio.get_running_loop()
        due_s = loop.time() + HEAD_START_S
        with self._news.watch(order.client_order_id) as news:
            while not order.is_settled and (left_s := due_s - loop.time()) > 0:
                news.clear()
                await news.told_within(left_s)
                order = self._heard(order)
        return order

    async def _asked_until_final(self, order: OrderState) -> OrderState:
        """Ask for ``order`` again and again, and hear what the stream tells, until it is settled."""
        pause = _Pauses(self._clock)
        with self._news.watch(order.client_order_id) as news:
            while not order.is_settled:
                order = await self._ask_and_hear(order, news)
                if not order.is_settled:
                    await pause.next(news)
                    order = self._heard(order)
        return order

    async def resolve(self, order: StoredOrder, ledger_amount: Callable[[], Decimal]) -> OrderState | None:
        """Return the final state of an order of unknown outcome, or None: proven never placed.

        ``ledger_amount`` tells the leg's signed amount in the ledger, which lacks this order.
        """
        self._unresolved_since_ms[order.client_order_id] = self._clock.now_ms()
        try:
            return await self._resolve(order, ledger_amount)
        finally:
            self._unresolved_since_ms.pop(order.client_order_id, None)

    async def _resolve(self, order: StoredOrder, ledger_amount: Callable[[], Decimal]) -> OrderState | None:
        pause, proof = _Pauses(self._clock, alert=lambda: _alert(order)), _Turns(self._clock)
        agreeing_since_ms: int | None = None
        agreeing = 0
        with self._news.watch(order.client_order_id) as news:
            while True:
                news.clear()
                found = self._told(order) or await self._look(order)
                if isinstance(found, OrderState):
                    return await self.until_final(found)
                now_ms = self._exchange_now_ms()
                if found is None and now_ms > self._fence_ms(order):
                    agreeing_since_ms = agreeing_since_ms or now_ms
                    agreeing += 1
                    agreed_for_ms = now_ms - agreeing_since_ms
                    may_be_proven = self._is_proven(agreeing, agreed_for_ms) and proof.is_due()
                    if may_be_proven and await self._nothing_shows(order, ledger_amount(), agreed_for_ms):
                        return None
                else:
                    agreeing_since_ms, agreeing = None, 0
                await pause.next(news)

    def _heard(self, order: OrderState) -> OrderState:
        """Return ``order`` with what the stream told of it."""
        told = self._news.of(order.client_order_id)
        return order if told is None or told.order_id != order.order_id else furthest(order, told)

    def _told(self, order: StoredOrder) -> OrderState | None:
        """Return what the stream told of the order that was sent; None where it told nothing."""
        told = self._news.of(order.client_order_id)
        if told is None or (told.leg, told.side) != (order.leg, order.side) or _is_older(told, order):
            return None
        return told

    def _is_over(self, order: StoredOrder) -> bool:
        told = self._told(order)
        return told is not None and told.is_settled

    async def _ask_and_hear(self, order: OrderState, news: Watch) -> OrderState:
        """Ask once; done at once when the stream tells the end meanwhile."""
        asking = asyncio.ensure_future(self._ask(order))
        try:
            while not asking.done() and not self._heard(order).is_settled:
                news.clear()
                await news.told_or(asking)
            return furthest(self._heard(order), asking.result() if asking.done() else order)
        finally:
            await end_tasks([asking])

    async def _ask(self, order: OrderState) -> OrderState:
        """Return ``order`` as a query finds it, unchanged where that has no answer."""
        try:
            found = await self._account.order(order.leg.symbol, order.client_order_id)
        except ExchangeError as failed:
            log.warning("order_query_failed", client_order_id=order.client_order_id, error=str(failed))
            return order
        return order if found is None or found.order_id != order.order_id else furthest(order, found)

    async def _look(self, order: StoredOrder) -> OrderState | ExchangeError | None:
        """Ask once; an order from before this one's timestamp is another plan's, not this one."""
        try:
            found = await self._account.order(order.leg.symbol, order.client_order_id)
        except ExchangeError as failed:
            return self._told(order) if says_no_symbol(failed) else failed
        if found is None or _is_older(found, order):
            return self._told(order)
        return found

    def _fence_ms(self, order: StoredOrder) -> int:
        return order.timestamp_ms + self._patience.recv_window_ms + CLOCK_DOUBT_MS

    def _is_proven(self, agreeing: int, agreed_for_ms: int) -> bool:
        return agreeing >= AGREEING_QUERIES_MIN and agreed_for_ms >= self._patience.not_placed_lag_s * 1000

    async def _nothing_shows(self, order: StoredOrder, ledger_amount: Decimal, agreed_for_ms: int) -> bool:
        """Whether trades and position are explained without this order."""
        since_ms = order.timestamp_ms - LOOK_BACK_MS
        try:
            told = await self._trades(order.leg.symbol, since_ms)
            trades = told or ()
            positions = await self._account.positions()
            client_ids = {
                order_id: await self._account.client_order_id_of(order.leg.symbol, order_id)
                for order_id in {trade.order_id for trade in trades}
            }
        except ExchangeError as failed:
            log.warning("order_proof_failed", client_order_id=order.client_order_id, error=str(failed))
            return False
        if self._told(order) is not None:
            return False
        known = {order_id: name for order_id, name in client_ids.items() if name is not None}
        if len(known) < len(client_ids) or order.client_order_id in known.values():
            return False  # a fill of an order that cannot be found yet may be this one's
        foreign = [t for t in trades if not known[t.order_id].startswith(CLIENT_ORDER_ID_PREFIX)]
        explained = _explained(ledger_amount, order.leg, foreign)
        if order.position_amt is not None:
            explained |= _explained(order.position_amt, order.leg, trades)
        trades_have_the_last_word = told is not None and agreed_for_ms > UNEXPLAINED_MS
        return positions.amount(order.leg) in explained or trades_have_the_last_word

    async def _trades(self, symbol: str, since_ms: int) -> Sequence[AccountTrade] | None:
        """Return what was traded; None of a symbol that the exchange has no more, of which it cannot say."""
        try:
            return await self._account.trades(symbol, since_ms)
        except ExchangeError as failed:
            if says_no_symbol(failed):
                return None
            raise


def _explained(known: Decimal, leg: Leg, trades: Sequence[AccountTrade]) -> set[Decimal]:
    """Return the amounts that ``trades`` make of a known one, which may hold the earliest of them already."""
    moves = [t.side.sign * t.quantity for t in trades if t.leg == leg]
    return {known + sum(moves[held:], ZERO) for held in range(len(moves) + 1)}


class _Pauses:
    """Pauses that double up to a bound, and one alert when it takes long."""

    def __init__(self, clock: Clock, alert: Callable[[], None] | None = None) -> None:
        self._clock = clock
        self._alert = alert
        self._begun_s = clock.monotonic_s()
        self._pause_s = PAUSE_FIRST_S

    async def next(self, news: Watch) -> None:
        """Return after the pause, or as soon as there is news."""
        if self._alert is not None and self._clock.monotonic_s() - self._begun_s > ALERT_AFTER_S:
            self._alert()
            self._alert = None
        pause = asyncio.ensure_future(self._clock.sleep(self._pause_s))
        try:
            await news.told_or(pause)
        finally:
            await end_tasks([pause])
        self._pause_s = min(self._pause_s * 2, PAUSE_MAX_S)


class _Turns:
    """Says when it is time for something again, each time after twice the pause up to a bound."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_s = clock.monotonic_s()
        self._pause_s = PAUSE_MAX_S

    def is_due(self) -> bool:
        """Whether it is time; true begins the next pause."""
        now_s = self._clock.monotonic_s()
        if now_s < self._due_s:
            return False
        self._due_s, self._pause_s = now_s + self._pause_s, min(self._pause_s * 2, PROOF_PAUSE_MAX_S)
        return True


def _is_older(found: OrderState, order: StoredOrder) -> bool:
    return (found.created_ms or found.update_time_ms) < order.timestamp_ms - CLOCK_DOUBT_MS


def _alert(order: StoredOrder) -> None:
    log.error(
        "unknown_outcome_alert",
        client_order_id=order.client_order_id,
        symbol=order.leg.symbol,
        cure="opens of the symbol wait until the exchange answers; check the order on the exchange",
    )
