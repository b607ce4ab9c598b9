"""What time does to an account: resting orders fill or expire, funding falls due, liquidation.

Theory of operation. Nothing runs in the background. Before the venue answers about an account it
lets time pass for it up to now, in this order: funding for every due moment, expiries (each after the
fills that came before it), fills of resting orders that the price has passed in between, triggers of
conditional orders, liquidation.
Looking more often than every ``CHECK_MS`` changes nothing that matters and is skipped, unless a
price was set by hand.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from decimal import Decimal
from typing import Final

from quantum_trader.domain.order import OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.simulator.algo_book import AlgoBook
from quantum_trader.exchange.simulator.bars import HOUR_MS
from quantum_trader.exchange.simulator.book import Level
from quantum_trader.exchange.simulator.execution import EXPIRED_LIQUIDATED, Desk, touch
from quantum_trader.exchange.simulator.margin import money
from quantum_trader.exchange.simulator.market import FUNDING_INTERVAL_MS
from quantum_trader.exchange.simulator.model import Account, Order
from quantum_trader.exchange.simulator.symbols import LIQUIDATION_FEE
from quantum_trader.exchange.simulator.valuation import LegValue, balances, value_legs

LIQUIDATION_PREFIX: Final = "autoclose-"
ADL_ID: Final = "adl_autoclose"
LIQUIDATIONS_KEPT_MAX: Final = 1000
CHECK_MS: Final = 200
_LOOK_BACK_MS: Final = HOUR_MS
_FUNDINGS_CAUGHT_UP_MAX: Final = 90  # a month of absence
ZERO: Final = Decimal(0)


class Passage:
    """Lets time pass for accounts; one object for all of them, keyed by API key."""

    def __init__(self, desk: Desk, algos: AlgoBook) -> None:
        self._desk = desk
        self._algos = algos
        self.liquidations: deque[Order] = deque(maxlen=LIQUIDATIONS_KEPT_MAX)  # copies, oldest first
        self._reaches: dict[tuple[str, int], tuple[Decimal, Decimal]] = {}
        self._reaches_of = (0, 0)
        self._seen: dict[str, tuple[int, int]] = {}

    def let_pass(self, account: Account, now_ms: int) -> None:
        """Bring ``account`` up to ``now_ms`` (ms since the epoch; going back does nothing)."""
        key = account.credentials.api_key
        revision = self._desk.market.revision
        since_ms, seen_revision = self._seen.get(key, (now_ms, -1))
        if now_ms < since_ms + CHECK_MS and seen_revision == revision:
            return
        self._seen[key] = (max(now_ms, since_ms), revision)
        if account.positions:
            self._fund(account, since_ms, now_ms)
        if account.countdowns:
            self._end_countdowns(account, since_ms, now_ms)
        if account.open_orders:
            self._expire_orders(account, since_ms, now_ms)
            self._fill_resting(account, since_ms, now_ms)
        if account.open_algos or account.triggered_algos:
            self._algos.look(account, max(since_ms, now_ms - _LOOK_BACK_MS), now_ms)
        if account.positions:
            self._liquidate(account, now_ms)

    def _fund(self, account: Account, since_ms: int, now_ms: int) -> None:
        due_ms = (since_ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS
        for _ in range(_FUNDINGS_CAUGHT_UP_MAX):
            if due_ms > now_ms:
                return
            for leg in sorted(account.positions):
                self._pay_funding(account, leg, due_ms)
            due_ms += FUNDING_INTERVAL_MS

    def _pay_funding(self, account: Account, leg: Leg, due_ms: int) -> None:
        held = account.positions[leg]
        rate = self._desk.market.funding_rate(leg.symbol, due_ms - 1)
        mark = self._desk.market.quote(leg.symbol, due_ms).mark
        payment = money(-held.amount * mark * rate)
        if account.setting(leg.symbol).isolated:
            held.isolated_wallet += payment
        self._desk.income(account, "FUNDING_FEE", leg.symbol, payment, due_ms)
        self._desk.tell_account(account, "FUNDING_FEE", (leg,), due_ms, payment)

    def _end_countdowns(self, account: Account, since_ms: int, now_ms: int) -> None:
        due = sorted((due_ms, symbol) for symbol, due_ms in account.countdowns.items() if due_ms <= now_ms)
        for due_ms, symbol in due:
            del account.countdowns[symbol]
            self._fill_resting(account, since_ms, due_ms)  # what was in time
            for order in account.open_on(symbol):
                self._desk.finish(account, order, OrderStatus.CANCELED, 0, due_ms)

    def _expire_orders(self, account: Account, since_ms: int, now_ms: int) -> None:
        due = [order for order in account.open_orders.values() if 0 < order.good_till_ms <= now_ms]
        for end_ms in sorted({max(since_ms, order.good_till_ms) for order in due}):
            self._fill_resting(account, since_ms, end_ms)  # what was in time
            for order in due:
                if order.good_till_ms <= end_ms and not order.status.is_final:
                    self._desk.finish(account, order, OrderStatus.EXPIRED, 0, end_ms)

    def _fill_resting(self, account: Account, since_ms: int, now_ms: int) -> None:
        from_ms = max(since_ms, now_ms - _LOOK_BACK_MS)
        for order in list(account.open_orders.values()):
            if order.status.is_final:  # expired by an earlier fill of this very loop
                continue
            if self._is_reached(order, from_ms, now_ms):
                quantity = order.remaining
                if order.only_reduces:
                    quantity = min(quantity, abs(account.amount(order.leg)))
                self._desk.fill(account, order, Level(order.price, quantity), maker=True, now_ms=now_ms)

    def _is_reached(self, order: Order, from_ms: int, now_ms: int) -> bool:
        lowest, highest = self._reach(order.symbol, max(from_ms, order.created_ms), now_ms)
        return lowest <= order.price if order.side is Side.BUY else highest >= order.price

    def _reach(self, symbol: str, from_ms: int, now_ms: int) -> tuple[Decimal, Decimal]:
        """Prices that bids at least, and asks at most, have had filled since ``from_ms``.

        Kept while time stands still: accounts with many orders are looked at together.
        """
        market = self._desk.market
        moment = now_ms, market.revision
        if moment != self._reaches_of:
            self._reaches_of, self._reaches = moment, {}
        known = self._reaches.get((symbol, from_ms))
        if known is None:
            quote, tick = market.quote(symbol, now_ms), self._desk.specs[symbol].tick
            low, high = market.extremes(symbol, from_ms, now_ms)
            known = min(quote.ask, low + tick), max(quote.bid, high - tick)
            self._reaches[symbol, from_ms] = known
        return known

    def _liquidate(self, account: Account, now_ms: int) -> None:
        values = value_legs(account, lambda symbol: self._desk.market.quote(symbol, now_ms).mark)
        totals = balances(account, values)
        crossed = [value for value in values if value.held.amount and not value.isolated]
        if crossed and totals.cross_wallet + totals.cross_pnl <= totals.cross_maintenance:
            self._close_out(account, crossed, now_ms)
        for value in values:
            equity = value.held.isolated_wallet + value.pnl
            if value.isolated and value.held.amount and equity <= value.maintenance:
                self._close_out(account, [value], now_ms)

    def _close_out(self, account: Account, values: list[LegValue], now_ms: int) -> None:
        symbols = {value.leg.symbol for value in values}
        crossed = not values[0].isolated
        for order in list(account.open_orders.values()):
            if crossed or order.symbol in symbols:
                self._desk.finish(account, order, OrderStatus.EXPIRED, EXPIRED_LIQUIDATED, now_ms)
        for value in values:
            self._force_close(account, value, now_ms)
        missing = account.isolated_wallets() - account.wallet
        if crossed and missing > 0:
            self._cover(account, "", tuple(value.leg for value in values), missing, now_ms)

    def _force_close(self, account: Account, value: LegValue, now_ms: int) -> None:
        leg, amount = value.leg, value.held.amount
        put_aside, wallet_before = value.held.isolated_wallet, account.wallet
        quote = self._desk.market.quote(leg.symbol, now_ms)
        level = Level(touch(quote, _closing_side(amount)), abs(amount))
        order = self._fill_forced(account, leg, level, LIQUIDATION_FEE, now_ms)
        self.liquidations.append(replace(order))
        lost = wallet_before - account.wallet
        if value.isolated and lost > put_aside:
            self._cover(account, leg.symbol, (leg,), lost - put_aside, now_ms)

    def deleverage(self, account: Account, leg: Leg, quantity: Decimal, now_ms: int) -> Order:
        """Close ``quantity`` (base asset, at most the position) of ``leg`` at the mark, free of fees."""
        mark = self._desk.market.quote(leg.symbol, now_ms).mark
        return self._fill_forced(account, leg, Level(mark, quantity), ZERO, now_ms, ADL_ID)

    def _fill_forced(
        self, account: Account, leg: Leg, level: Level, fee_rate: Decimal, now_ms: int, client_id: str = ""
    ) -> Order:
        """Fill an order of the venue's own; ``client_id`` empty makes it a liquidation's."""
        desk, side = self._desk, _closing_side(account.amount(leg))
        order = _forced_order(desk.next_order_id(leg.symbol), client_id, leg, side, level, now_ms)
        account.record(order)
        desk.tell_order(account, order, "NEW", None, now_ms)
        desk.fill(
            account,
            order,
            level,
            maker=False,
            now_ms=now_ms,
            fee_rate=fee_rate,
            execution="CALCULATED",
        )
        return order

    def _cover(
        self, account: Account, symbol: str, legs: tuple[Leg, ...], amount: Decimal, now_ms: int
    ) -> None:
        """The insurance fund pays what a liquidation cost beyond the margin."""
        self._desk.income(account, "INSURANCE_CLEAR", symbol, amount, now_ms)
        self._desk.tell_account(account, "INSURANCE_CLEAR", legs, now_ms, amount)


def _closing_side(amount: Decimal) -> Side:
    return Side.SELL if amount > 0 else Side.BUY


def _forced_order(order_id: int, client_id: str, leg: Leg, side: Side, level: Level, now_ms: int) -> Order:
    return Order(
        symbol=leg.symbol,
        order_id=order_id,
        client_order_id=client_id or f"{LIQUIDATION_PREFIX}{order_id}",
        side=side,
        position_side=leg.side,
        type="LIMIT",
        time_in_force="IOC",
        quantity=level.quantity,
        price=level.price,
        reduce_only=leg.side is PositionSide.BOTH,
        created_ms=now_ms,
        updated_ms=now_ms,
    )
