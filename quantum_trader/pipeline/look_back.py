"""Looking back: whether a delivered plan has sent its order before (SPEC 5 idempotency, 7.8; INC-17, INC-18).

A redelivered plan may have its order on the exchange although Redis knows nothing of it. So the
exchange is asked before the plan is judged, also before its age is: an order that was filled is
reported, not expired. Where the mirror or the archive in ``state_dir`` say that the order was sent,
"does not exist" is believed only past the order's time fence and after several answers that agree.

Plans that expired long ago and of whose order nothing is known here are not asked for one by one:
a backlog of thousands would use up the weight that exits need.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from msgspec import Struct

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.facts import PlanHistory
from quantum_trader.domain.order import OrderState, client_order_id
from quantum_trader.domain.plan import Plan
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.pipeline.evidence import Rooms
from quantum_trader.pipeline.follow import AGREEING_QUERIES_MIN, CLOCK_DOUBT_MS, Patience

PAUSE_S = 0.1
AGREEING_PAUSE_S = 0.5
ASKED_AFTER_EXPIRY_MS = 600_000
CLOCKS_APART_MS = 60_000  # as far as our clock and Redis' may be from each other
SAMPLES_MAX = 3
QUICK_S = 0.002

log = structlog.get_logger()


class Seen(Struct, frozen=True, gc=False):
    """What became known: the plan's own orders, or its history; neither while the exchange is silent."""

    orders: tuple[OrderState, ...] = ()
    history: PlanHistory | None = None


class LookBack:
    """Answers for one plan at a time; reads only."""

    def __init__(
        self,
        find_orders: Callable[[Plan], Awaitable[list[OrderState]]],
        stream_now_ms: Callable[[], Awaitable[int]],
        rooms: Rooms,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._find_orders = find_orders
        self._stream_now_ms = stream_now_ms
        self._rooms = rooms
        self._clock = clock
        self._patience = patience

    def at_first_sight(self, plan: Plan) -> Seen:
        """Say what ``state_dir`` knows of a plan that was not delivered before."""
        return Seen(history=PlanHistory(prior_order_ms=self._sent_ms(plan)))

    def may_have_order(self, plan: Plan) -> bool:
        """Whether an order of this id that ``state_dir`` knows may be the plan's own, not one of before it.

        Told from a used id only by the exchange's time of the order, as two clocks stand between them.
        """
        sent_ms = self._sent_ms(plan)
        return sent_ms is not None and sent_ms + CLOCKS_APART_MS >= plan.stream_ms

    def is_worth_asking(self, plan: Plan, age_ms_max: int) -> bool:
        """Whether the exchange is asked for a plan that is older than ``age_ms_max`` now."""
        age_ms = self._clock.now_ms() - plan.issued_at_ms
        return age_ms <= age_ms_max + ASKED_AFTER_EXPIRY_MS or self.has_sent(plan)

    def has_sent(self, plan: Plan) -> bool:
        """Whether ``state_dir`` says that an order of the plan was sent."""
        return self._sent_ms(plan) is not None

    def has_ended(self, plan: Plan) -> bool:
        """Whether ``state_dir`` says that the plan had its order and its result: Redis has lost that."""
        return client_order_id(plan.plan_id) in self._rooms.mirror.used_orders_ms

    async def at_the_exchange(self, plan: Plan, until_ms: float) -> Seen:
        """Ask the exchange, until ``until_ms`` (wall time; may be infinite) where it does not answer."""
        fence_ms, agreeing = self._fence_ms(plan), 0
        while True:
            try:
                found = await self._find_orders(plan)
            except ExchangeError as failed:
                log.warning("redelivery_unchecked", plan_id=plan.plan_id, error=str(failed))
                if self._clock.now_ms() > until_ms:
                    return Seen()
                await self._clock.sleep(PAUSE_S)
                continue
            if found:
                return await self._of_orders(found, plan)
            agreeing += 1
            if fence_ms is None or (agreeing >= AGREEING_QUERIES_MIN and self._clock.now_ms() > fence_ms):
                return Seen(history=PlanHistory())
            await self._clock.sleep(AGREEING_PAUSE_S)

    async def _of_orders(self, found: list[OrderState], plan: Plan) -> Seen:
        """Tell the plan's own orders from one that was placed before it; stream ids go by Redis' clock.

        Our clock stands between the two others, so both are measured: a plan's order follows its entry within
        milliseconds, and an id may be used again as soon as its plan has ended.
        """
        await self._rooms.server_clock.resync()
        offset_ms = self._rooms.server_clock.offset_ms or 0
        ahead_ms = await self._stream_ahead_ms()
        oldest_ms = min((order.created_ms or order.update_time_ms) for order in found) - offset_ms + ahead_ms
        if oldest_ms < plan.stream_ms:  # told by Redis' clock: the gate compares it with the stream id again
            return Seen(history=PlanHistory(prior_order_ms=oldest_ms))
        return Seen(tuple(found))

    async def _stream_ahead_ms(self) -> int:
        """Return Redis' time minus ours, by the quickest of three answers or the first that is quick."""
        samples: list[tuple[float, float]] = []
        while len(samples) < SAMPLES_MAX and not (samples and samples[-1][0] <= QUICK_S):
            asked_s = self._clock.monotonic_s()
            told_ms = await self._stream_now_ms()
            took_s = self._clock.monotonic_s() - asked_s
            ahead_ms = told_ms - self._clock.now_ms() + took_s * 500  # half of it is the way back
            samples.append((took_s, ahead_ms))
        return round(min(samples)[1])

    def _sent_ms(self, plan: Plan) -> int | None:
        return self._rooms.sent_orders_ms.get(client_order_id(plan.plan_id))

    def _fence_ms(self, plan: Plan) -> int | None:
        """Return when "does not exist" can be believed of an order that was sent; None if none was."""
        sent_ms = self._sent_ms(plan)
        if sent_ms is None:
            return None
        patience = self._patience
        return sent_ms + patience.recv_window_ms + CLOCK_DOUBT_MS + int(patience.not_placed_lag_s * 1000)
