"""The proof that an order was never placed: it has to end, and must not be had too cheaply (SPEC 7.4)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from support.cases import NOW_MS, position, positions
from support.values import replace

from quantum_trader.domain.order import AccountTrade, OrderState
from quantum_trader.domain.trading import Leg, Positions, Side
from quantum_trader.exchange.errors import ExchangeRefused
from quantum_trader.exchange.replies import Reply
from quantum_trader.pipeline.follow import UNEXPLAINED_MS, OrderFollower, Patience
from quantum_trader.positions.order_news import OrderNews
from quantum_trader.stores.claims import StoredOrder

SOL = Leg("SOLUSDT")
NO_SYMBOL = ExchangeRefused("order", Reply(400, {}, b'{"code": -1121, "msg": "Invalid symbol."}'))
SENT = StoredOrder(SOL, Side.BUY, Decimal("0.5"), "qt-sent-0", NOW_MS)


class SteppedClock:
    """Time that passes by sleeping."""

    def __init__(self) -> None:
        self.at_ms = NOW_MS

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return self.at_ms / 1000

    async def sleep(self, duration_s: float) -> None:
        self.at_ms += int(duration_s * 1000)


class Account:
    """An account on which the order was never placed, and where others traded."""

    asked = proofs = 0

    def __init__(self, held: Positions, *trades: tuple[int, str | None, Side, str]) -> None:
        self._held = held
        self._trades = [
            AccountTrade(SOL, side, number, number, Decimal(quantity), Decimal(118), Decimal(0), time_ms)
            for number, (time_ms, _, side, quantity) in enumerate(trades)
        ]
        self._names = dict(enumerate(name for _, name, _, _ in trades))

    async def order(self, symbol: str, client_order_id: str) -> OrderState | None:
        self.asked += 1
        assert self.asked < 300, "the order stayed unknown"
        return None

    async def positions(self) -> Positions:
        return self._held

    async def trades(self, symbol: str, since_ms: int) -> list[AccountTrade]:
        self.proofs += 1
        return [trade for trade in self._trades if trade.time_ms >= since_ms]

    async def client_order_id_of(self, symbol: str, order_id: int) -> str | None:
        return self._names[order_id]


async def resolved(
    account: Account, ledger: str, position_amt: str | None = None, clock: SteppedClock | None = None
) -> OrderState | None:
    clock = clock or SteppedClock()
    patience = Patience(3000, 1.0)
    follower = OrderFollower(account, clock, clock.now_ms, patience, OrderNews())  # type: ignore[arg-type]
    order = replace(SENT, position_amt=Decimal(position_amt) if position_amt else None)
    return await follower.resolve(order, lambda: Decimal(ledger))


async def test_an_order_is_proven_never_placed_although_the_ledger_lacks_what_others_traded_before_it() -> (
    None
):
    """The symbol was busy when they did, so nothing could be adopted; and it stays busy until this ends."""
    account = Account(positions(position("-0.08", "SOLUSDT")), (NOW_MS - 3_500, "web-1", Side.SELL, "0.08"))
    assert await resolved(account, "0") is None


async def test_a_wrong_ledger_does_not_keep_an_order_unknown_where_the_position_explains_itself() -> None:
    """It is mended only when nothing is under way on the symbol, and this order is."""
    account = Account(positions(position(1, "SOLUSDT")), (NOW_MS + 500, "qt-other-0", Side.SELL, "2"))
    assert await resolved(account, "-7", position_amt="3") is None


@pytest.mark.parametrize("name", ["web-1", "qt-other-0"])
async def test_a_position_that_nothing_explains_keeps_the_order_unknown_for_two_minutes(name: str) -> None:
    account = Account(positions(position("0.5", "SOLUSDT")), (NOW_MS - 3_500, name, Side.SELL, "0.08"))
    clock = SteppedClock()
    assert await resolved(account, "0", clock=clock) is None
    assert UNEXPLAINED_MS < clock.now_ms() - NOW_MS < UNEXPLAINED_MS + 30_000
    assert account.proofs < 15


@pytest.mark.parametrize("name", [None, SENT.client_order_id])
async def test_a_trade_that_may_be_the_orders_keeps_it_unknown_for_as_long_as_it_takes(
    name: str | None,
) -> None:
    account = Account(positions(position("0.5", "SOLUSDT")), (NOW_MS + 100, name, Side.BUY, "0.5"))
    with pytest.raises(AssertionError, match="stayed unknown"):
        await resolved(account, "0")


class Delisted(Account):
    """An account whose symbol the exchange has no more."""

    async def order(self, symbol: str, client_order_id: str) -> OrderState | None:
        await super().order(symbol, client_order_id)
        raise NO_SYMBOL

    async def trades(self, symbol: str, since_ms: int) -> list[AccountTrade]:
        raise NO_SYMBOL


async def test_an_order_of_a_symbol_that_the_exchange_does_not_have_any_more_is_proven_never_placed() -> None:
    clock = SteppedClock()
    assert await resolved(Delisted(positions()), "0", clock=clock) is None
    assert clock.now_ms() > NOW_MS + 3_000, "not before the request can no longer be accepted"


async def test_what_it_holds_of_such_a_symbol_keeps_the_order_unknown() -> None:
    with pytest.raises(AssertionError, match="stayed unknown"):
        await resolved(Delisted(positions(position("0.5", "SOLUSDT"))), "0")
