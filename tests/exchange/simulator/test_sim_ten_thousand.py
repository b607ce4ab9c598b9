"""One account, ten thousand random operations of every kind: the books stay exact (a seeded loop).

What is checked comes from what the venue *told* its observers, added up here, and never from the sums
it keeps itself. ``SIM_MONEY_SEEDS=5`` runs so many seeds instead of one.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import orjson
import pytest

from quantum_trader.domain.order import OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide
from quantum_trader.exchange.simulator import TradingTerms
from quantum_trader.exchange.simulator.events import AccountEvent, OrderEvent
from quantum_trader.exchange.simulator.model import Order

D = Decimal
SEEDS = int(os.environ.get("SIM_MONEY_SEEDS", "1"))
OPERATIONS = 10_000
REPLAYED = 2_000
START = D(10_000)
BASE = {"BTCUSDT": 50_000, "ETHUSDT": 2_000}
HOUR_MS = 3_600_000
CONDITIONAL = ("STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TAKE_PROFIT", "TRAILING_STOP_MARKET")
PREVENTIONS = ("EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "NONE")
FORCED = ("autoclose", "adl_autoclose")


class Books:
    """What an observer of the venue adds up."""

    def __init__(self) -> None:
        self.realized = self.fees = self.funding = self.covered = self.paid_in = D(0)
        self.amounts: dict[Leg, Decimal] = defaultdict(Decimal)
        self.cash: dict[Leg, Decimal] = defaultdict(Decimal)
        self.executed: dict[tuple[str, int], Decimal] = defaultdict(Decimal)
        self.seen: Counter[str] = Counter()
        self.touched: dict[tuple[str, int], Order] = {}

    def note(self, event: Any) -> None:
        if isinstance(event, AccountEvent):
            self.seen[event.reason] += 1
            self.funding += event.change if event.reason == "FUNDING_FEE" else 0
            self.covered += event.change if event.reason == "INSURANCE_CLEAR" else 0
        elif isinstance(event, OrderEvent):
            self._note_order(event)

    def _note_order(self, event: OrderEvent) -> None:
        order, trade = event.order, event.trade
        self.seen[f"{event.execution} {order.status.value}"] += 1
        forced = order.client_order_id.partition("-")[0]
        self.seen[forced] += forced in FORCED
        key = order.symbol, order.order_id
        self.touched[key] = order
        if trade is None:
            return
        self.realized += trade.realized_pnl
        self.fees += trade.commission
        self.amounts[order.leg] += trade.side.sign * trade.quantity
        self.cash[order.leg] -= trade.side.sign * trade.quantity * trade.price
        self.executed[key] += trade.quantity


class Trader:
    """Does random things to one account through the exchange's front door."""

    def __init__(self, desk: Any, seed: int) -> None:
        self.desk = desk
        self.chance = random.Random(seed)
        self.books = Books()
        self.digest = blake2b()
        self.accepted: Counter[str] = Counter()
        desk.venue.observe(self.books.note)
        self.works: list[tuple[Callable[[], None], int]] = [
            (self.market, 30),
            (self.limit, 25),
            (self.conditional, 8),
            (self.amend, 5),
            (self.cancel, 6),
            (self.cancel_all, 2),
            (self.count_down, 1),
            (self.move_price, 15),
            (self.wait, 8),
            (self.set_leverage, 3),
            (self.set_margin_type, 3),
            (self.move_margin, 4),
            (self.deleverage, 1),
            (self.switch_mode, 1),
        ]

    def act(self) -> None:
        if self.desk.account.wallet < START / 10:
            self.pay_in()
        works, weights = zip(*self.works, strict=True)
        self.chance.choices(works, weights)[0]()
        self.send("GET", "/fapi/v3/account")

    def send(self, method: str, path: str, **params: Any) -> Any:
        reply = self.desk.raw(method, path, **params)
        self.digest.update(reply.body)
        self.accepted[path] += reply.status == 200 and method != "GET"
        return orjson.loads(reply.body)

    @property
    def symbol(self) -> str:
        return self.chance.choice(tuple(BASE))

    def order(self, symbol: str) -> dict[str, Any]:
        """Side, size and position side, of which some make sense."""
        wish: dict[str, Any] = {
            "symbol": symbol,
            "side": self.chance.choice(("BUY", "SELL")),
            "quantity": D(self.chance.choice((1, 10, 100, 1000, 3000))) * 50 / BASE[symbol],
            "selfTradePreventionMode": self.chance.choice(PREVENTIONS),
        }
        if self.desk.account.hedge_mode:
            wish["positionSide"] = self.chance.choice(("LONG", "SHORT"))
        elif self.chance.random() < 0.3:
            wish["reduceOnly"] = "true"
        return wish

    def near(self, symbol: str, permille_max: int = 40) -> int:
        """A price not far from the last one."""
        last = self.desk.venue.quote(symbol, self.desk.now_ms).last
        return int(last) * (1000 + self.chance.randint(-permille_max, permille_max)) // 1000

    def market(self) -> None:
        self.send("POST", "/fapi/v1/order", type="MARKET", **self.order(self.symbol))

    def limit(self) -> None:
        symbol, time_in_force = self.symbol, self.chance.choice(("GTC", "GTC", "IOC", "FOK", "GTX", "GTD"))
        terms = {"timeInForce": time_in_force, "price": self.near(symbol, self.chance.choice((2, 40)))}
        if time_in_force == "GTD":
            terms["goodTillDate"] = self.desk.now_ms + HOUR_MS
        self.send("POST", "/fapi/v1/order", type="LIMIT", **terms, **self.order(symbol))

    def conditional(self) -> None:
        symbol, kind = self.symbol, self.chance.choice(CONDITIONAL)
        terms: dict[str, Any] = {"algoType": "CONDITIONAL", "type": kind, **self.order(symbol)}
        if kind == "TRAILING_STOP_MARKET":
            terms["callbackRate"] = self.chance.choice(("0.1", "1"))
        else:
            terms["triggerPrice"] = self.near(symbol)
        if kind in ("STOP", "TAKE_PROFIT"):
            terms |= {"price": self.near(symbol), "timeInForce": "GTC"}
        self.send("POST", "/fapi/v1/algoOrder", **terms)

    def amend(self) -> None:
        if resting := list(self.desk.account.open_orders.values()):
            order = self.chance.choice(resting)
            wish = {"symbol": order.symbol, "side": order.side.value, "orderId": order.order_id}
            factor = self.chance.choice(("0.5", "1", "2"))
            quantity = (order.quantity * D(factor)).quantize(D("0.001"))
            self.send("PUT", "/fapi/v1/order", **wish, quantity=quantity, price=self.near(order.symbol))

    def cancel(self) -> None:
        if resting := list(self.desk.account.open_orders.values()):
            order = self.chance.choice(resting)
            self.send("DELETE", "/fapi/v1/order", symbol=order.symbol, orderId=order.order_id)
        if waiting := list(self.desk.account.open_algos):
            self.send("DELETE", "/fapi/v1/algoOrder", algoId=self.chance.choice(waiting))

    def cancel_all(self) -> None:
        for symbol in BASE:
            self.send("DELETE", "/fapi/v1/allOpenOrders", symbol=symbol)
            self.send("DELETE", "/fapi/v1/algoOpenOrders", symbol=symbol)

    def count_down(self) -> None:
        self.send("POST", "/fapi/v1/countdownCancelAll", symbol=self.symbol, countdownTime=60_000)

    def move_price(self) -> None:
        symbol = self.symbol
        price = BASE[symbol] * self.chance.randint(900, 1100) // 1000
        self.desk.pin(symbol, price, price * self.chance.randint(998, 1002) // 1000)

    def wait(self) -> None:
        self.desk.now_ms += self.chance.choice((1, 1_000, 90_000, HOUR_MS, 8 * HOUR_MS))

    def set_leverage(self) -> None:
        self.send("POST", "/fapi/v1/leverage", symbol=self.symbol, leverage=self.chance.choice((3, 20, 75)))

    def set_margin_type(self) -> None:
        symbol = self.symbol
        if self.chance.random() < 0.5:
            self.leave(symbol)
        kind = self.chance.choice(("ISOLATED", "CROSSED"))
        self.send("POST", "/fapi/v1/marginType", symbol=symbol, marginType=kind)

    def move_margin(self) -> None:
        if legs := sorted(self.desk.account.positions):
            leg, amount = self.chance.choice(legs), D(self.chance.randint(1, 90_000)) / 1000
            terms = {"amount": amount, "type": self.chance.choice((1, 2)), "positionSide": leg.side.value}
            self.send("POST", "/fapi/v1/positionMargin", symbol=leg.symbol, **terms)

    def deleverage(self) -> None:
        if legs := sorted(self.desk.account.positions):
            leg = self.chance.choice(legs)
            quantity = D("0.001") if self.chance.random() < 0.5 else None
            self.desk.venue.deleverage(self.desk.account, leg, self.desk.now_ms, quantity)

    def switch_mode(self) -> None:
        for symbol in BASE:
            self.leave(symbol)
        wanted = str(not self.desk.account.hedge_mode).lower()
        self.send("POST", "/fapi/v1/positionSide/dual", dualSidePosition=wanted)

    def leave(self, symbol: str) -> None:
        """Cancel and close everything on ``symbol``."""
        self.send("DELETE", "/fapi/v1/allOpenOrders", symbol=symbol)
        self.send("DELETE", "/fapi/v1/algoOpenOrders", symbol=symbol)
        for leg, held in list(self.desk.account.positions.items()):
            if leg.symbol == symbol:
                side = "SELL" if held.amount > 0 else "BUY"
                how = {"reduceOnly": "true"} if leg.side is PositionSide.BOTH else {"positionSide": leg.side}
                terms = {"symbol": symbol, "side": side, "type": "MARKET", "quantity": abs(held.amount)}
                self.send("POST", "/fapi/v1/order", **terms, **how)

    def pay_in(self) -> None:
        account, now_ms = self.desk.account, self.desk.now_ms
        self.desk.venue.desk.income(account, "TRANSFER", "", START, now_ms)
        self.books.paid_in += START

    # -- what must hold after every operation

    def check(self) -> None:
        account, books = self.desk.account, self.books
        earned = books.realized - books.fees + books.funding + books.covered
        assert account.wallet == START + books.paid_in + earned
        held = {leg: held.amount for leg, held in account.positions.items()}
        assert held == {leg: amount for leg, amount in books.amounts.items() if amount}
        assert set(account.open_orders) == {
            key for key, order in account.open_orders.items() if is_open(order)
        }
        for key, order in books.touched.items():
            assert order.executed == books.executed[key] <= order.quantity, order
            assert (order.status is OrderStatus.FILLED) == (order.remaining == 0), order
        books.touched.clear()

    def check_value(self) -> None:
        """Buying and selling cost what realised PnL and entry prices say, but for their rounding."""
        account, books = self.desk.account, self.books
        invested = sum((held.amount * held.entry for held in account.positions.values()), D(0))
        rounding = D("1E-7") * (1 + sum(books.seen.values()))
        assert abs(books.realized - invested - sum(books.cash.values(), D(0))) < rounding


def is_open(order: Order) -> bool:
    return not order.status.is_final and order.remaining > 0


WANTED = {  # everything that such a run must have been through
    "TRADE FILLED",
    "TRADE PARTIALLY_FILLED",
    "CALCULATED FILLED",
    "CANCELED CANCELED",
    "EXPIRED EXPIRED",
    "EXPIRED EXPIRED_IN_MATCH",
    "AMENDMENT NEW",
    *FORCED,
    "FUNDING_FEE",
    "MARGIN_TRANSFER",
    "MARGIN_TYPE_CHANGE",
    "LEVERAGE",
    "POSITION_MODE",
}


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_ten_thousand_operations_keep_the_books_to_the_last_digit(open_desk: Any, seed: int) -> None:
    trader = Trader(open_desk(terms=TradingTerms(depth_usdt=D(105_000))), seed)
    for _ in range(OPERATIONS):
        trader.act()
        trader.check()
    trader.check_value()
    assert {name for name, count in trader.books.seen.items() if count} >= WANTED
    assert trader.books.covered > 0
    assert trader.accepted["/fapi/v1/algoOrder"] > 100


def test_the_same_operations_on_the_same_seed_give_the_same_exchange(open_desk: Any) -> None:
    traders = [Trader(open_desk(seed=7, terms=TradingTerms(depth_usdt=D(105_000))), 3) for _ in range(2)]
    for trader in traders:
        for _ in range(REPLAYED):
            trader.act()
    first, second = (trader.digest.hexdigest() for trader in traders)
    assert first == second
    assert traders[0].accepted == traders[1].accepted
