"""Fills that no order of ours explains: whose they are, told by names that may come late (SPEC 5, 7.9)."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from support.cases import NOW_MS, leg

from quantum_trader.domain.order import AccountTrade, OrderState, OrderStatus
from quantum_trader.domain.trading import Side
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.pipeline.foreign_fills import NAMELESS_AFTER_MS, ForeignFills
from quantum_trader.stores.connection import RedisError

HOUR_MS = 3_600_000


class Account:
    """One fill; ``name`` is its order's, None while no query finds it."""

    def __init__(self, filled_ms: int, name: str | None) -> None:
        self.filled_ms, self.name = filled_ms, name
        self.forced: list[OrderState] = []

    async def trades(self, symbol: str, since_ms: int) -> list[AccountTrade]:
        fill = AccountTrade(leg(), Side.SELL, 1, 7, Decimal(1), Decimal(100), Decimal(0), self.filled_ms)
        return [fill] if self.filled_ms >= since_ms else []

    async def client_order_id_of(self, symbol: str, order_id: int) -> str | None:
        return self.name

    async def forced_orders(self, symbol: str, since_ms: int) -> list[OrderState]:
        return [order for order in self.forced if order.update_time_ms >= since_ms]


class Told:
    """What was done about it."""

    def __init__(self) -> None:
        self.cooled: list[str] = []
        self.disarmed: list[str] = []
        self.shown: list[str] = []
        self.cooldowns = SimpleNamespace(cools=lambda symbol: None)

    async def cool_down(self, symbol: str, ttl_s: int, cause: str, now_ms: int) -> None:
        self.cooled.append(cause)

    async def disarm(self, reason: str) -> None:
        self.disarmed.append(reason)

    async def publish(self, event: dict[str, str]) -> None:
        self.shown.append(event["client_order_id"])


def foreign_fills(account: Account) -> tuple[ForeignFills, Told]:
    told: Any = Told()
    clock: Any = SimpleNamespace(now_ms=lambda: NOW_MS)
    return ForeignFills(account, told, told, told, clock), told  # type: ignore[arg-type]


async def test_a_fill_whose_order_cannot_be_named_yet_is_looked_at_again() -> None:
    account = Account(NOW_MS - 100, None)
    fills, told = foreign_fills(account)
    with pytest.raises(ExchangeError, match="cannot be found yet"):
        await fills.explain(leg(), NOW_MS - 1_000, was_held=True)
    account.name = "bsc-1"
    await fills.explain(leg(), NOW_MS - 1_000, was_held=True)
    assert (told.cooled, told.shown) == (["bsc"], [])


async def test_a_fill_whose_order_is_never_found_is_shown_after_a_while() -> None:
    fills, told = foreign_fills(Account(NOW_MS - NAMELESS_AFTER_MS, None))
    await fills.explain(leg(), NOW_MS - 2 * NAMELESS_AFTER_MS, was_held=True)
    assert told.shown == [""]


def forced(hours_ago: int) -> OrderState:
    at_ms = NOW_MS - hours_ago * HOUR_MS
    name, one = "autoclose-1", Decimal(1)
    return OrderState(leg(), Side.SELL, 9, name, OrderStatus.FILLED, one, one, Decimal(100), at_ms, at_ms)


@pytest.mark.parametrize(("was_held", "disarmed"), [(True, 1), (False, 0)])
async def test_inc53_a_position_that_was_liquidated_while_the_engine_was_down_disarms(
    was_held: bool, disarmed: int
) -> None:
    account = Account(NOW_MS - 30 * HOUR_MS, "autoclose-1")
    account.forced = [forced(30)]
    fills, told = foreign_fills(account)
    await fills.explain(leg(), NOW_MS - 40 * HOUR_MS, was_held=was_held)
    assert len(told.disarmed) == disarmed


async def test_a_disarm_that_redis_did_not_take_is_made_again() -> None:
    fills, told = foreign_fills(Account(NOW_MS, "autoclose-1"))
    liquidated = SimpleNamespace(leg=leg(), order_id=7, client_order_id="autoclose-1")
    taken = told.disarm

    async def lost(reason: str) -> None:
        raise RedisError("connection lost")

    told.disarm = lost
    with pytest.raises(RedisError):
        await fills.act_on_told(liquidated)  # type: ignore[arg-type]
    told.disarm = taken
    await fills.act_on_told(liquidated)  # type: ignore[arg-type]
    await fills.act_on_told(liquidated)  # type: ignore[arg-type]
    assert len(told.disarmed) == 1
