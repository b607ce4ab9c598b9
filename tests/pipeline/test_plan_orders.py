"""Which orders of a redelivered plan the exchange knows: none of them may be sent a second time (INC-18)."""

from __future__ import annotations

from decimal import Decimal

from support.cases import NOW_MS, close_plan, leg, plan

from quantum_trader.domain.order import AccountTrade, OrderState, OrderStatus, client_order_id
from quantum_trader.domain.trading import Side
from quantum_trader.pipeline.plan_orders import orders_of_plan


class Account:
    """Orders by client id, each filled once."""

    def __init__(self, *names: str) -> None:
        self._names = names

    async def order(self, symbol: str, name: str) -> OrderState | None:
        if name not in self._names:
            return None
        number = self._names.index(name)
        return OrderState(
            leg(), Side.SELL, number, name, OrderStatus.FILLED, Decimal(1), Decimal(1), Decimal(100), NOW_MS
        )

    async def trades(self, symbol: str, since_ms: int) -> list[AccountTrade]:
        return [
            AccountTrade(leg(), Side.SELL, number, number, Decimal(1), Decimal(100), Decimal(0), NOW_MS)
            for number in range(len(self._names))
        ]

    async def client_order_id_of(self, symbol: str, order_id: int) -> str:
        return self._names[order_id]


async def test_an_exit_whose_first_order_was_refused_is_known_by_a_later_one() -> None:
    known = Account("web-1", client_order_id("exit", 1), client_order_id("other", 0))
    found = await orders_of_plan(known, close_plan(plan_id="exit"))  # type: ignore[arg-type]
    assert [order.client_order_id for order in found] == [client_order_id("exit", 1)]


async def test_every_order_of_an_exit_is_found_oldest_first() -> None:
    names = [client_order_id("exit", number) for number in (2, 0, 11)]
    found = await orders_of_plan(Account(*names), close_plan(plan_id="exit"))  # type: ignore[arg-type]
    assert [order.client_order_id for order in found] == [client_order_id("exit", n) for n in (0, 2, 11)]


async def test_an_open_is_known_by_its_only_order() -> None:
    assert await orders_of_plan(Account(client_order_id("other")), plan(plan_id="open")) == []  # type: ignore[arg-type]
    found = await orders_of_plan(Account(client_order_id("open")), plan(plan_id="open"))  # type: ignore[arg-type]
    assert [order.client_order_id for order in found] == [client_order_id("open")]
