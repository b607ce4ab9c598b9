"""From the venue's events to user data frames, in the order of the real venue.

Theory of operation. The venue tells NEW, the account's change, then the TRADE; each is turned
into its payload at once, because the account goes on changing. A fill's TRADE_LITE belongs before
all of them (BINANCE.md 10.3), so payloads wait in a list until the venue's call is over, and
TRADE_LITE is then put before the first frame of its fill.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from quantum_trader.exchange.simulator import user_frames
from quantum_trader.exchange.simulator.algo_replies import algo_update
from quantum_trader.exchange.simulator.events import AccountEvent, AlgoEvent, Event, OrderEvent
from quantum_trader.exchange.simulator.market import Market
from quantum_trader.exchange.simulator.replies import Body

PENDING_MAX: Final = 10_000
_FILLS: Final = frozenset({"TRADE", "CALCULATED"})


@dataclass(frozen=True, slots=True)
class UserPayload:
    """One payload for everyone who listens to the account; ``order_id`` 0 where it is about none."""

    api_key: str
    body: Body
    symbol: str = ""
    order_id: int = 0

    @property
    def event(self) -> str:
        """The payload's ``e``."""
        name: Any = self.body["e"]
        return str(name)


class UserFeed:
    """Payloads that wait for the end of the venue's call; at most ``PENDING_MAX``."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._pending: list[UserPayload] = []

    def note(self, event: Event) -> None:
        """Turn an event into its payloads; those beyond the bound are lost, as frames can be."""
        if len(self._pending) < PENDING_MAX:
            self._pending.extend(self._payloads(event))

    def take(self) -> list[UserPayload]:
        """What is ready to be sent."""
        taken, self._pending = self._pending, []
        return taken

    def _payloads(self, event: Event) -> list[UserPayload]:
        key = event.account.credentials.api_key
        if isinstance(event, AlgoEvent):
            return [UserPayload(key, algo_update(event), event.algo.symbol)]
        if isinstance(event, AccountEvent):
            body = self._account_body(event)
            symbol = event.legs[0].symbol if event.legs else ""
            return [] if body is None else [UserPayload(key, body, symbol)]
        order = event.order
        update = UserPayload(key, user_frames.order_update(event), order.symbol, order.order_id)
        if event.execution in _FILLS:
            self._put_before_its_fill(event, key)
        return [update]

    def _account_body(self, event: AccountEvent) -> Body | None:
        if event.reason == "LEVERAGE":
            return user_frames.leverage_update(event)
        if event.reason == "POSITION_MODE":  # the real venue pushes nothing
            return None
        return user_frames.account_update(event, self._market)

    def _put_before_its_fill(self, event: OrderEvent, key: str) -> None:
        order = event.order
        pending, place = self._pending, len(self._pending)
        if place and pending[-1].event == "ACCOUNT_UPDATE" and pending[-1].api_key == key:
            place -= 1
        if place and pending[place - 1].order_id == order.order_id and _is_new(pending[place - 1]):
            place -= 1
        lite = UserPayload(key, user_frames.trade_lite(event), order.symbol, order.order_id)
        pending.insert(place, lite)


def _is_new(payload: UserPayload) -> bool:
    return payload.event == "ORDER_TRADE_UPDATE" and payload.body["o"]["x"] == "NEW"
