"""Asking the exchange what became of an order: until it is final, or proven never placed (SPEC 7.4, 7.5).

*Unknown is not failed.* "Order does not exist" is believed only when all of this holds:

1. the request can no longer be accepted: its timestamp + recvWindow has passed on the exchange's clock;
2. queries agree over ``not_placed_lag_s`` since then, three of them at least;
3. the account's trades show no fill of it, and explain how the position stands: the ledger, which
   has our settled orders, plus what others traded since, or shortly before: the ledger adopts that
   only while nothing is under way on the symbol.

Until then the order stays unknown, for as long as it takes: patience never turns into a verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.order import CLIENT_ORDER_ID_PREFIX, AccountTrade, OrderState
from quantum_trader.domain.trading import ZERO
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.ports import AccountReads
from quantum_trader.stores.claims import StoredOrder

PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 1.0
AGREEING_QUERIES_MIN = 3
CLOCK_DOUBT_MS = 1000  # the exchange accepts timestamps up to 1 s ahead of its clock (BINANCE.md 2)
ALERT_AFTER_S = 60.0
LANE_PATIENCE_S = 1.0
LOOK_BACK_MS = 60_000  # how much earlier others may have traded what a busy symbol's ledger has not adopted

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """How sure "not placed" must be: recvWindow in ms and the lag to outwait in s."""

    recv_window_ms: int
    not_placed_lag_s: float


async def wait_in_lane(
    following: Awaitable[OrderState], give_up_lane: Callable[[], Awaitable[None]]
) -> OrderState:
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
        unresolved_since_ms: dict[str, int] | None = None,
    ) -> None:
        """``unresolved_since_ms`` lists, for others to see, the orders whose outcome is unknown now."""
        self._account = account
        self._clock = clock
        self._exchange_now_ms = exchange_now_ms
        self._patience = patience
        self._unresolved_since_ms = {} if unresolved_since_ms is None else unresolved_since_ms

    async def until_final(self, order: OrderState) -> OrderState:
        """Return ``order`` when nothing more can happen to it and its fill price is known."""
        pause = _Pauses(self._clock)
        while not order.status.is_final or (order.executed_quantity > 0 and order.avg_price is None):
            try:
                found = await self._account.order(order.leg.symbol, order.client_order_id)
            except ExchangeError as failed:
                log.warning("order_query_failed", client_order_id=order.client_order_id, error=str(failed))
                found = None
            if found is not None and found.order_id == order.order_id:
                order = _newer(order, found)
                if order.status.is_final and (order.executed_quantity == 0 or order.avg_price is not None):
                    break
            await pause.next()
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
        pause = _Pauses(self._clock, alert=lambda: _alert(order))
        agreeing_since_ms: int | None = None
        agreeing = 0
        while True:
            found = await self._look(order)
            if isinstance(found, OrderState):
                return await self.until_final(found)
            now_ms = self._exchange_now_ms()
            if found is None and now_ms > self._fence_ms(order):
                agreeing_since_ms = agreeing_since_ms or now_ms
                agreeing += 1
                proven = self._is_proven(agreeing, now_ms - agreeing_since_ms)
                if proven and await self._nothing_shows(order, ledger_amount()):
                    return None
            else:
                agreeing_since_ms, agreeing = None, 0
            await pause.next()

    async def _look(self, order: StoredOrder) -> OrderState | ExchangeError | None:
        """Ask once; an order from before this one's timestamp is another plan's, not this one."""
        try:
            found = await self._account.order(order.leg.symbol, order.client_order_id)
        except ExchangeError as failed:
            return failed
        if found is None or _is_older(found, order):
            return None
        return found

    def _fence_ms(self, order: StoredOrder) -> int:
        return order.timestamp_ms + self._patience.recv_window_ms + CLOCK_DOUBT_MS

    def _is_proven(self, agreeing: int, agreed_for_ms: int) -> bool:
        return agreeing >= AGREEING_QUERIES_MIN and agreed_for_ms >= self._patience.not_placed_lag_s * 1000

    async def _nothing_shows(self, order: StoredOrder, ledger_amount: Decimal) -> bool:
        """Whether trades and position are explained without this order."""
        since_ms = order.timestamp_ms - LOOK_BACK_MS
        try:
            trades = await self._account.trades(order.leg.symbol, since_ms)
            positions = await self._account.positions()
            client_ids = {
                order_id: await self._account.client_order_id_of(order.leg.symbol, order_id)
                for order_id in {trade.order_id for trade in trades}
            }
        except ExchangeError as failed:
            log.warning("order_proof_failed", client_order_id=order.client_order_id, error=str(failed))
            return False
        known = {order_id: name for order_id, name in client_ids.items() if name is not None}
        if len(known) < len(client_ids) or order.client_order_id in known.values():
            return False  # a fill of an order that cannot be found yet may be this one's
        foreign = [t for t in trades if not known[t.order_id].startswith(CLIENT_ORDER_ID_PREFIX)]
        return positions.amount(order.leg) in _explained(ledger_amount, order, foreign)


def _explained(ledger_amount: Decimal, order: StoredOrder, foreign: Sequence[AccountTrade]) -> set[Decimal]:
    """Return the amounts that others' trades explain: the ledger may have adopted the earliest of them."""
    moves = [t.side.sign * t.quantity for t in foreign if t.leg == order.leg]
    return {ledger_amount + sum(moves[adopted:], ZERO) for adopted in range(len(moves) + 1)}


class _Pauses:
    """Pauses that double up to a bound, and one alert when it takes long."""

    def __init__(self, clock: Clock, alert: Callable[[], None] | None = None) -> None:
        self._clock = clock
        self._alert = alert
        self._begun_s = clock.monotonic_s()
        self._pause_s = PAUSE_FIRST_S

    async def next(self) -> None:
        if self._alert is not None and self._clock.monotonic_s() - self._begun_s > ALERT_AFTER_S:
            self._alert()
            self._alert = None
        await self._clock.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 2, PAUSE_MAX_S)


def _is_older(found: OrderState, order: StoredOrder) -> bool:
    return (found.created_ms or found.update_time_ms) < order.timestamp_ms - CLOCK_DOUBT_MS


def _newer(known: OrderState, found: OrderState) -> OrderState:
    """A query may lag behind what is known already: fills never go back."""
    return found if found.executed_quantity >= known.executed_quantity else known


def _alert(order: StoredOrder) -> None:
    log.error(
        "unknown_outcome_alert",
        client_order_id=order.client_order_id,
        symbol=order.leg.symbol,
        cure="opens of the symbol wait until the exchange answers; check the order on the exchange",
    )
