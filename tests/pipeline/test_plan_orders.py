"""Which orders of a redelivered plan the exchange knows: none of them may be sent a second time (INC-18)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from support.cases import NOW_MS, close_plan, leg, plan

from quantum_trader.domain.order import AccountTrade, OrderState, OrderStatus, client_order_id
from quantum_trader.domain.trading import Side
from quantum_trader.exchange.errors import ExchangeError, ExchangeRefused
from quantum_trader.exchange.replies import Reply
from quantum_trader.pipeline.plan_orders import orders_of_plan
from quantum_trader.stores.codec import encode


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


class Hiding(Account):
    """Has a trade whose order no query finds yet."""

    async def client_order_id_of(self, symbol: str, order_id: int) -> str | None:  # type: ignore[override]
        return None


async def test_a_fill_whose_order_cannot_be_found_yet_may_be_the_plans() -> None:
    with pytest.raises(ExchangeError, match="cannot be found yet"):
        await orders_of_plan(Hiding(client_order_id("exit", 1)), close_plan(plan_id="exit"))  # type: ignore[arg-type]


class Refusing(Account):
    """Answers every query with one error."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self._code = code

    async def order(self, symbol: str, name: str) -> OrderState | None:
        body = encode({"code": self._code, "msg": "as it is"})
        raise ExchangeRefused("GET /fapi/v1/order", Reply(400, {}, body))


async def test_a_symbol_that_no_request_may_name_has_no_orders() -> None:
    assert await orders_of_plan(Refusing(-1121), close_plan(plan_id="exit")) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [-1000, -1003, -1021, -2015, -9999])
async def test_a_query_that_was_not_answered_says_nothing_of_orders(code: int) -> None:
    with pytest.raises(ExchangeRefused):
        await orders_of_plan(Refusing(code), plan(plan_id="open"))  # type: ignore[arg-type]


async def test_an_open_is_known_by_its_only_order() -> None:
    assert await orders_of_plan(Account(client_order_id("other")), plan(plan_id="open")) == []  # type: ignore[arg-type]
    found = await orders_of_plan(Account(client_order_id("open")), plan(plan_id="open"))  # type: ignore[arg-type]
    assert [order.client_order_id for order in found] == [client_order_id("open")]


@pytest.mark.parametrize(("was_sent", "numbers"), [(True, [1]), (False, [])])
async def test_a_plan_that_was_an_exit_by_its_effect_is_known_by_a_later_order(
    was_sent: bool, numbers: list[int]
) -> None:
    account = Account(client_order_id("reduce", 1))
    found = await orders_of_plan(account, plan(plan_id="reduce"), was_sent=was_sent)  # type: ignore[arg-type]
    assert [order.client_order_id for order in found] == [client_order_id("reduce", n) for n in numbers]
