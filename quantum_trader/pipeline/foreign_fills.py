"""Who moved a position that we did not move: told by the client order ids of the account's fills.

A close by BSC, a liquidation or an auto-deleveraging cools the symbol down for an hour, so that the
strategy does not open at once what was just closed for its own good (INC-53); a liquidation or
auto-deleveraging also disarms. Any other order that no part of this engine sent is shown (SPEC 7.9).

The user data stream tells of such orders within a second, a difference between ledger and exchange
leads to those that it did not tell of. Whichever comes first acts, and each order is acted on once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.order import CLIENT_ORDER_ID_PREFIX, OrderState
from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.endpoints import ORDER
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.ports import AccountReads
from quantum_trader.pipeline.auto_disarm import AutoDisarm
from quantum_trader.stores.operator import StopStore
from quantum_trader.stores.plan_stream import PlanStream

COOLDOWN_S = 3600
FORCED_KEPT_MS = 89 * 86_400_000  # the exchange tells of forced orders for 90 days
LOOK_BACK_MS = 60_000  # how much earlier than the ledger's last word a fill may be dated
NAMELESS_AFTER_MS = 60_000
REMEMBERED_MAX = 10_000

OURS = (CLIENT_ORDER_ID_PREFIX, "op-")
WATCHDOG = "bsc-"
FORCED: Mapping[str, str] = {"autoclose-": "liquidation", "adl_autoclose": "auto-deleveraging"}

log = structlog.get_logger()


class ForeignFills:
    """Looks at the fills behind a difference between ledger and exchange, each order once."""

    def __init__(
        self, account: AccountReads, stops: StopStore, stream: PlanStream, disarm: AutoDisarm, clock: Clock
    ) -> None:
        self._account = account
        self._stops = stops
        self._stream = stream
        self._disarm = disarm
        self._clock = clock
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._acting = asyncio.Lock()

    async def explain(self, leg: Leg, since_ms: int, *, was_held: bool) -> None:
        """Find the orders that filled on ``leg`` since ``since_ms`` and act on those that are not ours.

        At most an hour back: what is older has cooled down by itself. A position of ours that was
        forced shut before that disarms all the same.

        Raises:
            ExchangeError, RedisError: the answer is not complete; ask again.
        """
        now_ms, from_ms = self._clock.now_ms(), since_ms - LOOK_BACK_MS
        oldest_ms = now_ms - COOLDOWN_S * 1000
        if was_held and from_ms < oldest_ms:
            for order in await self._account.forced_orders(leg.symbol, max(from_ms, now_ms - FORCED_KEPT_MS)):
                if order.leg == leg and order.executed_quantity > 0:
                    await self.act_on_told(order)
        trades = await self._account.trades(leg.symbol, max(from_ms, oldest_ms))
        newest_ms = {trade.order_id: trade.time_ms for trade in trades if trade.leg == leg}
        for order_id, filled_ms in newest_ms.items():
            if (leg.symbol, order_id) not in self._seen:
                await self._act_once(leg, order_id, await self._name_of(leg, order_id, filled_ms))

    async def _name_of(self, leg: Leg, order_id: int, filled_ms: int) -> str:
        """Return the order's name, "" where the exchange has none; an order that just filled has one."""
        name = await self._account.client_order_id_of(leg.symbol, order_id)
        if name is None and self._clock.now_ms() - filled_ms < NAMELESS_AFTER_MS:
            raise ExchangeError(str(ORDER), f"order {order_id} has filled and cannot be found yet")
        return name or ""

    @staticmethod
    def concerns(order: OrderState) -> bool:
        """Whether an order that the stream tells of is one to act on: not ours, and filled or forbidden.

        A close by BSC or a liquidation counts when something of it was filled; an order of anyone
        else is shown as soon as it is there.
        """
        name = order.client_order_id
        if name.startswith(OURS):
            return False
        return order.executed_quantity > 0 or not name.startswith((WATCHDOG, *FORCED))

    async def act_on_told(self, order: OrderState) -> None:
        """Act on an order that the stream told of, unless that was done. Raises ``RedisError``."""
        await self._act_once(order.leg, order.order_id, order.client_order_id)

    async def _act_once(self, leg: Leg, order_id: int, client_order_id: str) -> None:
        async with self._acting:
            if (leg.symbol, order_id) in self._seen:
                return
            await self._act_on(leg, order_id, client_order_id)
            self._seen[leg.symbol, order_id] = None
            if len(self._seen) > REMEMBERED_MAX:
                self._seen.popitem(last=False)

    async def _act_on(self, leg: Leg, order_id: int, client_order_id: str) -> None:
        if client_order_id.startswith(OURS):
            return
        now_ms = self._clock.now_ms()
        forced = next((what for prefix, what in FORCED.items() if client_order_id.startswith(prefix)), "")
        if forced or client_order_id.startswith(WATCHDOG):
            self._stream.cooldowns.cools(leg.symbol)  # a reading before it is set ends that
            await self._stops.cool_down(leg.symbol, COOLDOWN_S, forced or "bsc", now_ms)
            self._stream.cooldowns.cools(leg.symbol)
        if forced:
            await self._disarm.disarm(f"{forced} of {leg.key}")
        elif not client_order_id.startswith(WATCHDOG):
            await self._show(leg, order_id, client_order_id, now_ms)

    async def _show(self, leg: Leg, order_id: int, client_order_id: str, now_ms: int) -> None:
        log.error("foreign_order", symbol=leg.symbol, order_id=order_id, client_order_id=client_order_id)
        event = {
            "event": "FOREIGN_ORDER",
            "symbol": leg.symbol,
            "order_id": str(order_id),
            "client_order_id": client_order_id,
            "timestamp": str(now_ms),
        }
        await self._stream.publish(event)
