"""The life of conditional orders: placed, followed, triggered, done (BINANCE.md 8.3, 10.2).

Theory of operation. They live in a store of their own and cost no margin. When the price has
passed the trigger, an ordinary order is made that carries the algo's client id and obeys every
rule of a fresh order; where one refuses it, the algo is REJECTED with that reason. Observers
hear TRIGGERING, TRIGGERED (with the plain order's id), the plain order's own events, FINISHED.
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from typing import Final

from quantum_trader.exchange.simulator.admission import admit
from quantum_trader.exchange.simulator.algo_model import TRAILING, AlgoOrder
from quantum_trader.exchange.simulator.algo_request import as_plain
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.execution import Desk
from quantum_trader.exchange.simulator.model import Account, Order
from quantum_trader.exchange.simulator.replies import average_price

FIRST_ALGO_ID: Final = 3_000_000_000_000


class AlgoBook:
    """Works on the conditional orders of accounts with the desk that all of them share."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def enter(self, account: Account, algo: AlgoOrder, now_ms: int) -> None:
        """Record an order that was checked, as NEW."""
        self._desk.algo_id += 1
        algo.algo_id = FIRST_ALGO_ID + self._desk.algo_id
        algo.client_algo_id = algo.client_algo_id or _made_up_id(algo.algo_id)
        account.record_algo(algo)
        self._desk.tell_algo(account, algo, now_ms)

    def end(self, account: Account, algo: AlgoOrder, status: str, now_ms: int) -> None:
        """Finish an order with ``status``; its record stays."""
        account.open_algos.pop(algo.algo_id, None)
        account.triggered_algos.pop((algo.symbol, algo.actual_order_id), None)
        self._turn(account, algo, status, now_ms)

    def look(self, account: Account, since_ms: int, now_ms: int) -> None:
        """Trigger and expire what the prices since ``since_ms`` make due."""
        for algo in list(account.open_algos.values()):
            if 0 < algo.good_till_ms <= now_ms or self._has_lost_its_position(account, algo):
                self.end(account, algo, "EXPIRED", now_ms)
            elif self._is_due(account, algo, max(since_ms, algo.created_ms), now_ms):
                self._trigger(account, algo, now_ms)
        self.settle(account, now_ms)

    def settle(self, account: Account, now_ms: int) -> None:
        """Finish triggered orders whose plain order has come to its end."""
        for key, algo in list(account.triggered_algos.items()):
            order = account.orders.get(key)
            if order is None or order.status.is_final:
                self._finish(account, algo, order, now_ms)

    @staticmethod
    def _has_lost_its_position(account: Account, algo: AlgoOrder) -> bool:
        return algo.time_in_force == "GTE_GTC" and not account.amount(algo.leg)

    def _is_due(self, account: Account, algo: AlgoOrder, since_ms: int, now_ms: int) -> bool:
        market = self._desk.market
        quote, (low, high) = (
            market.quote(algo.symbol, now_ms),
            market.extremes(algo.symbol, since_ms, now_ms),
        )
        last = quote.last
        if algo.working_type == "MARK_PRICE":  # the mark moves along with last
            share = quote.mark / quote.last
            low, high, last = low * share, high * share, quote.mark
        if algo.type != TRAILING:
            return algo.is_hit(low, high)
        was_active = bool(algo.extreme)
        due = algo.trails(low, high, last)
        if algo.extreme and not was_active:
            self._turn(account, algo, "NEW", now_ms)
        return due

    def _trigger(self, account: Account, algo: AlgoOrder, now_ms: int) -> None:
        algo.triggered_ms = now_ms
        account.open_algos.pop(algo.algo_id, None)
        self._turn(account, algo, "TRIGGERING", now_ms)
        try:
            order = self._placed(account, algo, now_ms)
        except RefusedError as refusal:
            algo.reject_reason = refusal.msg
            self.end(account, algo, "REJECTED", now_ms)
            return
        if order.status.is_final:
            self._finish(account, algo, order, now_ms)
        else:
            account.triggered_algos[order.symbol, order.order_id] = algo

    def _placed(self, account: Account, algo: AlgoOrder, now_ms: int) -> Order:
        desk = self._desk
        spec, quote = desk.specs[algo.symbol], desk.market.quote(algo.symbol, now_ms)
        request = as_plain(algo, spec, self._quantity(account, algo))
        admit(
            account,
            request,
            quote,
            lambda symbol: desk.market.quote(symbol, now_ms).mark,
            clamps_reduce_only=desk.terms.clamps_reduce_only,
        )
        match = desk.takes(account, request, quote)
        algo.actual_order_id = desk.next_order_id(algo.symbol)
        self._turn(account, algo, "TRIGGERED", now_ms)
        order = desk.enter(account, request, now_ms, algo.actual_order_id)
        desk.work(account, order, match, now_ms)
        return order

    @staticmethod
    def _quantity(account: Account, algo: AlgoOrder) -> Decimal:
        if not algo.close_position:
            return algo.quantity
        amount = abs(account.amount(algo.leg))
        if not amount:
            raise RefusedError(-2022)
        return amount

    def _finish(self, account: Account, algo: AlgoOrder, order: Order | None, now_ms: int) -> None:
        if order is not None:
            algo.actual_price, algo.actual_quantity = average_price(order), order.executed
        self.end(account, algo, "FINISHED", now_ms)

    def _turn(self, account: Account, algo: AlgoOrder, status: str, now_ms: int) -> None:
        algo.status, algo.updated_ms = status, now_ms
        self._desk.tell_algo(account, algo, now_ms)


def _made_up_id(algo_id: int) -> str:
    return blake2b(f"algo:{algo_id}".encode(), digest_size=11).hexdigest()
