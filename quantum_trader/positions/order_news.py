"""What the user data stream told about orders, kept until whoever follows one asks for it.

A fill may be told before the reply to its order is there, so the newest orders are remembered
whether or not anyone waits for them yet. Nobody has to listen to the stream for an order to end: an
order of which nothing was told is asked for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Self

from quantum_trader.domain.order import OrderState, furthest

REMEMBERED_MAX = 2_000
TOLD_WITHIN_S = 5


class Watch:
    """Whether anything was told of one order; for one who waits, from ``with`` to its end.

    ``watches`` are all of them, by client order id. ``on_told`` is called at every word.
    """

    def __init__(
        self, watches: dict[str, list[Watch]], client_order_id: str, on_told: Callable[[], None] | None
    ) -> None:
        self._watches = watches
        self._client_order_id = client_order_id
        self._on_told = on_told
        self._is_told = False
        self._waiting: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._watches.setdefault(self._client_order_id, []).append(self)
        return self

    def __exit__(self, *_: object) -> None:
        others = self._watches[self._client_order_id]
        others.remove(self)
        if not others:
            del self._watches[self._client_order_id]

    def tell(self) -> None:
        """Wake whoever waits, now or later."""
        self._is_told = True
        self._wake()
        if self._on_told is not None:
            self._on_told()

    def clear(self) -> None:
        """Count as news only what is told from now on."""
        self._is_told = False

    async def told_or(self, work: asyncio.Future[Any]) -> None:
        """Return when something was told or ``work`` is done; ends neither."""
        if work.done():
            return
        work.add_done_callback(self._wake)
        try:
            await self._told()
        finally:
            work.remove_done_callback(self._wake)

    async def told_within(self, timeout_s: float) -> None:
        """Return when something was told, or after ``timeout_s``."""
        limit = asyncio.get_running_loop().call_later(timeout_s, self._wake)
        try:
            await self._told()
        finally:
            limit.cancel()

    async def _told(self) -> None:
        if self._is_told:
            return
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _wake(self, _: object = None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class OrderNews:
    """The newest word on each of the orders told last, by client order id."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, OrderState] = OrderedDict()
        self._waiting: dict[str, list[Watch]] = {}
        self._expected: dict[str, float] = {}
        self.is_live = False

    def tell(self, order: OrderState) -> None:
        """Take over what an event says, however late or often it says it."""
        name = order.client_order_id
        known = self._told.get(name)
        self._told[name] = order if known is None else furthest(known, order)
        self._told.move_to_end(name)
        if len(self._told) > REMEMBERED_MAX:
            self._told.popitem(last=False)
        for watch in self._waiting.get(name, ()):
            watch.tell()

    def of(self, client_order_id: str) -> OrderState | None:
        """Return the newest word on the order; None where the stream told nothing of it."""
        return self._told.get(client_order_id)

    def watch(self, client_order_id: str, on_told: Callable[[], None] | None = None) -> Watch:
        """Return a watch that is told whenever something is told of the order."""
        return Watch(self._waiting, client_order_id, on_told)

    def expect(self, client_order_id: str, now_s: float) -> None:
        """Note that the order was filled, which a live stream tells within seconds."""
        if self.is_live and client_order_id not in self._told and len(self._expected) < REMEMBERED_MAX:
            self._expected.setdefault(client_order_id, now_s + TOLD_WITHIN_S)

    def has_missed(self, now_s: float) -> bool:
        """Whether the stream failed to tell of a fill: then it is deaf, however lively (INC-88)."""
        due = [name for name, due_s in self._expected.items() if now_s >= due_s or name in self._told]
        missed = [name for name in due if name not in self._told]
        for name in due:
            del self._expected[name]
        return bool(missed)

    def restart(self) -> None:
        """Expect nothing of a stream that has just become live: it tells only what is to come."""
        self._expected.clear()
