"""Which orders of a plan the exchange knows, where Redis has lost what the engine knew of them (SPEC 7.8)."""

from __future__ import annotations

from quantum_trader.domain.order import OrderState, client_order_id, number_of
from quantum_trader.domain.plan import Plan
from quantum_trader.exchange.codes import Refusal, refusal_of
from quantum_trader.exchange.errors import ExchangeError, ExchangeRefused
from quantum_trader.exchange.ports import AccountReads

NO_SUCH_SYMBOL = -1121
LOOK_BACK_MS = 60_000  # by how much the clocks of Redis and of the exchange may differ


def says_no_symbol(failed: ExchangeError) -> bool:
    """Whether the exchange has said that the symbol does not exist (-1121), and so no order of it."""
    return isinstance(failed, ExchangeRefused) and failed.code == NO_SUCH_SYMBOL


async def filled_numbers(account: AccountReads, symbol: str, plan_id: str, since_ms: int) -> list[int]:
    """Return the numbers of the plan's orders that filled since ``since_ms`` (exchange's time), ascending.

    Raises:
        ExchangeError: they could not be read, or an order that filled cannot be found yet: it may be theirs.
    """
    trades = await account.trades(symbol, since_ms)
    numbers = set()
    for order_id in dict.fromkeys(trade.order_id for trade in trades):
        name = await account.client_order_id_of(symbol, order_id)
        if name is None:
            raise ExchangeError("GET /fapi/v1/order", f"order {order_id} has filled and cannot be found yet")
        numbers.add(number_of(name, plan_id))
    return sorted(number for number in numbers if number is not None)


async def orders_of_plan(account: AccountReads, plan: Plan, *, was_sent: bool = False) -> list[OrderState]:
    """Return the orders of ``plan`` that the exchange knows, oldest first.

    An open has one at most. The first order of an exit may have been refused and a later one filled; a plan
    that ``was_sent`` may have been an exit by its effect then, whatever it would be now. A symbol that no
    request may name has none: that answer is as definite as "no such order".

    Raises:
        ExchangeError: they could not be read.
    """
    try:
        return await _found(account, plan, may_have_later=plan.says_exit or was_sent)
    except ExchangeRefused as refused:
        if refusal_of(refused.code) is not Refusal.PERMANENT:
            raise
        return []


async def _found(account: AccountReads, plan: Plan, *, may_have_later: bool) -> list[OrderState]:
    first = await account.order(plan.symbol, client_order_id(plan.plan_id))
    if not may_have_later:
        return [first] if first is not None else []
    numbers = await filled_numbers(account, plan.symbol, plan.plan_id, plan.stream_ms - LOOK_BACK_MS)
    names = [client_order_id(plan.plan_id, number) for number in numbers if number > 0]
    later = [await account.order(plan.symbol, name) for name in names]
    return [order for order in (first, *later) if order is not None]
