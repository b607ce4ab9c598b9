"""Orders into fills: numbering, matching against the book, booking, and telling observers.

Theory of operation. ``Desk`` owns what all accounts share: symbols, market, counters, observers.
An order that was admitted is *entered* (recorded, NEW), then takes from the book what its type
allows, then rests, expires or is done. Every fill is booked before anyone is told, and told in
the order of the real venue: NEW, the account's change, then the TRADE (BINANCE.md 10.3).
A position that shrinks takes the reduce-only orders that have nothing left to reduce with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import blake2b
from typing import Final

from quantum_trader.domain.order import OrderStatus
from quantum_trader.domain.trading import Leg, Side
from quantum_trader.exchange.simulator.algo_model import AlgoOrder
from quantum_trader.exchange.simulator.book import Level, Match, match_taker
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.events import AccountEvent, AlgoEvent, Event, Observer, OrderEvent
from quantum_trader.exchange.simulator.margin import money
from quantum_trader.exchange.simulator.market import Market, Quote
from quantum_trader.exchange.simulator.model import Account, Income, Order, Trade
from quantum_trader.exchange.simulator.order_request import OrderRequest
from quantum_trader.exchange.simulator.self_trade import EXPIRED_PREVENTED, prevention
from quantum_trader.exchange.simulator.settlement import Fill, settle
from quantum_trader.exchange.simulator.symbols import SymbolSpec

ZERO: Final = Decimal(0)
FIRST_ORDER_ID: Final = 480_000_000_000
FIRST_TRADE_ID: Final = 5_600_000_000
EXPIRED_IOC: Final = 2
EXPIRED_REDUCE_ONLY: Final = 4
EXPIRED_LIQUIDATED: Final = 5
EXPIRED_MARKET: Final = 9
_EXECUTIONS: Final = {OrderStatus.EXPIRED_IN_MATCH: "EXPIRED"}  # ``x`` where it is not called like ``X``


@dataclass(frozen=True, slots=True)
class TradingTerms:
    """Fee rates (fractions of notional), depth of the book, and the reduce-only policy.

    ``depth_usdt`` None means that the touch fills any size. With ``clamps_reduce_only`` a
    reduce-only order above the position fills the position and expires the rest; without, it is
    refused with -2022 (BINANCE.md 12.2 has seen both).
    """

    taker_fee: Decimal = Decimal("0.0005")
    maker_fee: Decimal = Decimal("0.0002")
    depth_usdt: Decimal | None = None
    clamps_reduce_only: bool = True


class Desk:
    """What all accounts of the venue share; see the module's theory of operation."""

    def __init__(self, specs: Mapping[str, SymbolSpec], market: Market, terms: TradingTerms) -> None:
        self.specs = dict(specs)
        self.market = market
        self.terms = terms
        self.order_ids: dict[str, int] = {}
        self.trade_ids: dict[str, int] = {}
        self.tran_id = 0
        self.algo_id = 0
        self._observers: list[Observer] = []

    def observe(self, observer: Observer) -> None:
        """Call ``observer`` with every later event; it must be quick and must not raise."""
        self._observers.append(observer)

    def enter(self, account: Account, request: OrderRequest, now_ms: int, order_id: int = 0) -> Order:
        """Record an admitted order as NEW, under ``order_id`` if it has one already."""
        symbol = request.spec.symbol
        order_id = order_id or self.next_order_id(symbol)
        order = request.as_order(now_ms, order_id, _made_up_id(symbol, order_id))
        account.record(order)
        self.tell_order(account, order, "NEW", None, now_ms)
        return order

    def takes(self, account: Account, request: OrderRequest, quote: Quote) -> Match:
        """What the request would take from the book right now (nothing for post-only).

        Raises -4131, -5021 or -5022 where the type does not bear the answer.
        """
        wanted = self._wanted(account, request)
        limit = None if request.is_market else request.price
        match = match_taker(
            request.spec, quote, request.side, wanted, limit=limit, depth_usdt=self.terms.depth_usdt
        )
        if request.is_market and not match.fills:
            raise RefusedError(-4131)
        if request.time_in_force == "FOK" and match.quantity < request.quantity:
            raise RefusedError(-5021)
        if request.time_in_force == "GTX" and match.fills:
            raise RefusedError(-5022)
        return match

    def work(self, account: Account, order: Order, match: Match, now_ms: int) -> None:
        """Book what the order takes; the rest rests or expires, as its type says."""
        prevented = prevention(order, match, account.open_on(order.symbol))
        for maker in prevented.makers:
            self.finish(account, maker, OrderStatus.EXPIRED_IN_MATCH, EXPIRED_PREVENTED, now_ms)
        for level in prevented.match.fills:
            self.fill(account, order, level, maker=False, now_ms=now_ms)
        if order.status.is_final:
            return
        if prevented.ends_taker:
            reason = prevented.reason_of(order)
            self.finish(account, order, OrderStatus.EXPIRED_IN_MATCH, reason, now_ms)
        elif order.type == "MARKET":
            self.finish(account, order, OrderStatus.EXPIRED, EXPIRED_MARKET, now_ms)
        elif order.time_in_force in ("IOC", "FOK"):
            self.finish(account, order, OrderStatus.EXPIRED, EXPIRED_IOC, now_ms)
        elif order.only_reduces and account.amount(order.leg) * order.side.sign >= 0:
            self.finish(account, order, OrderStatus.EXPIRED, EXPIRED_REDUCE_ONLY, now_ms)
        else:
            account.open_orders[order.symbol, order.order_id] = order

    def fill(
        self,
        account: Account,
        order: Order,
        level: Level,
        *,
        maker: bool,
        now_ms: int,
        fee_rate: Decimal | None = None,
        execution: str = "TRADE",
    ) -> Trade:
        """Book one fill of ``order`` and tell observers; ``fee_rate`` overrides the usual one."""
        if fee_rate is None:
            fee_rate = self.terms.maker_fee if maker else self.terms.taker_fee
        quote = level.quantity * level.price
        fee = money(quote * fee_rate)
        fill = Fill(order.side.sign * level.quantity, level.price, fee)
        realized = settle(account, order.leg, fill, now_ms)
        trade = Trade(
            trade_id=self._next_trade_id(order.symbol),
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            position_side=order.position_side,
            price=level.price,
            quantity=level.quantity,
            commission=fee,
            realized_pnl=realized,
            maker=maker,
            time_ms=now_ms,
        )
        account.trades.append(trade)
        self._book_trade_incomes(account, trade)
        _advance_order(account, order, level, now_ms)
        self._tell(AccountEvent(account, "ORDER", (order.leg,), now_ms))
        self.tell_order(account, order, execution, trade, now_ms)
        self._drop_useless_reduce_only(account, order.leg, now_ms)
        return trade

    def finish(self, account: Account, order: Order, status: OrderStatus, reason: int, now_ms: int) -> None:
        """End an order that is not completely filled; ``reason`` as in BINANCE.md 6 (``er``)."""
        order.status, order.expiry_reason, order.updated_ms = status, reason, now_ms
        account.open_orders.pop((order.symbol, order.order_id), None)
        self.tell_order(account, order, _EXECUTIONS.get(status, status.value), None, now_ms)

    def income(self, account: Account, kind: str, symbol: str, amount: Decimal, now_ms: int) -> None:
        """Change the wallet by ``amount`` USDT and write it down."""
        account.wallet += amount
        account.updated_ms = now_ms
        self._write_income(account, kind, symbol, amount, now_ms)
        account.remember(now_ms)

    def tell_order(
        self, account: Account, order: Order, execution: str, trade: Trade | None, now_ms: int
    ) -> None:
        """Tell observers about a copy of the order."""
        if self._observers:
            self._tell(OrderEvent(account, replace(order), execution, trade, now_ms))

    def tell_account(
        self, account: Account, reason: str, legs: tuple[Leg, ...], now_ms: int, change: Decimal = ZERO
    ) -> None:
        """Tell observers about a change of wallet, positions or settings."""
        self._tell(AccountEvent(account, reason, legs, now_ms, change))

    def tell_algo(self, account: Account, algo: AlgoOrder, now_ms: int) -> None:
        """Tell observers about a copy of the conditional order."""
        if self._observers:
            self._tell(AlgoEvent(account, replace(algo), now_ms))

    def next_order_id(self, symbol: str) -> int:
        """The symbol's next order id; ids only grow."""
        self.order_ids[symbol] = self.order_ids.get(symbol, FIRST_ORDER_ID) + 1
        return self.order_ids[symbol]

    def _next_trade_id(self, symbol: str) -> int:
        self.trade_ids[symbol] = self.trade_ids.get(symbol, FIRST_TRADE_ID) + 1
        return self.trade_ids[symbol]

    def _wanted(self, account: Account, request: OrderRequest) -> Decimal:
        if not request.only_reduces:
            return request.quantity
        return min(request.quantity, abs(account.amount(request.leg)))

    def _book_trade_incomes(self, account: Account, trade: Trade) -> None:
        trade_id = str(trade.trade_id)
        if trade.realized_pnl:
            self._write_income(
                account, "REALIZED_PNL", trade.symbol, trade.realized_pnl, trade.time_ms, trade_id=trade_id
            )
        if trade.commission:
            self._write_income(
                account, "COMMISSION", trade.symbol, -trade.commission, trade.time_ms, trade_id=trade_id
            )

    def _write_income(
        self, account: Account, kind: str, symbol: str, amount: Decimal, now_ms: int, *, trade_id: str = ""
    ) -> None:
        self.tran_id += 1
        account.incomes.append(Income(self.tran_id, kind, symbol, amount, now_ms, trade_id))

    def _drop_useless_reduce_only(self, account: Account, leg: Leg, now_ms: int) -> None:
        if not account.open_orders:
            return
        amount = account.amount(leg)
        for order in account.open_on(leg.symbol):
            if order.leg == leg and order.only_reduces and amount * order.side.sign >= 0:
                self.finish(account, order, OrderStatus.EXPIRED, EXPIRED_REDUCE_ONLY, now_ms)

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)


def _advance_order(account: Account, order: Order, level: Level, now_ms: int) -> None:
    order.executed += level.quantity
    order.quote += level.quantity * level.price
    order.updated_ms = now_ms
    if order.remaining == 0:
        order.status = OrderStatus.FILLED
        account.open_orders.pop((order.symbol, order.order_id), None)
    else:
        order.status = OrderStatus.PARTIALLY_FILLED


def _made_up_id(symbol: str, order_id: int) -> str:
    return blake2b(f"{symbol}:{order_id}".encode(), digest_size=11).hexdigest()


def touch(quote: Quote, side: Side) -> Decimal:
    """The price that an order of ``side`` meets first."""
    return quote.ask if side is Side.BUY else quote.bid
