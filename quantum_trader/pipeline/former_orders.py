"""What the exchange remembers of a former life of which Redis and ``state_dir`` know nothing (SPEC 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from quantum_trader.domain.order import CLIENT_ORDER_ID_PREFIX, OrderState
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.ports import AccountReads
from quantum_trader.pipeline.evidence import Rooms

log = structlog.get_logger()


async def remember_former_orders(account: AccountReads, rooms: Rooms, symbols: Iterable[str]) -> None:
    """Read the newest orders of ``symbols`` and of what is held, so that a reused plan id is known.

    What cannot be read is logged, and does not keep the engine from starting.
    """
    held = rooms.account.positions.value.symbols if rooms.account.positions is not None else frozenset()
    asked = sorted(held.union(symbols))
    answers = await asyncio.gather(*map(account.newest_orders, asked), return_exceptions=True)
    found: list[OrderState] = []
    for symbol, answer in zip(asked, answers, strict=True):
        if isinstance(answer, ExchangeError):
            log.warning("former_orders_unread", symbol=symbol, error=str(answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += answer
    _remember(rooms, found)


def _remember(rooms: Rooms, orders: list[OrderState]) -> None:
    ours = [order for order in orders if order.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)]
    offset_ms = rooms.server_clock.offset_ms or 0
    for created_ms, name in sorted((_created_ms(order), order.client_order_id) for order in ours):
        rooms.sent_orders_ms.setdefault(name, created_ms - offset_ms)
    if ours:
        log.warning("former_orders_found", orders=len(ours), detail="state_dir knows of none of them")


def _created_ms(order: OrderState) -> int:
    return order.created_ms or order.update_time_ms
