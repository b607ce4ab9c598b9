"""The venue: accounts by API key, and everything an account may do. Pure: no I/O, no clock.

Theory of operation. Every call takes ``now_ms`` (ms since the epoch). The same calls with the
same times give the same venue, so it can run inside a seeded simulation in virtual time as well
as behind a socket. Time passes for an account (passage.py) just before it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Final

from quantum_trader.domain.order import OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide
from quantum_trader.exchange.simulator.admission import admit
from quantum_trader.exchange.simulator.algo_book import AlgoBook
from quantum_trader.exchange.simulator.algo_model import AlgoOrder
from quantum_trader.exchange.simulator.algo_request import parse_algo
from quantum_trader.exchange.simulator.amendment import amend
from quantum_trader.exchange.simulator.brackets import notional_cap
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.events import Observer
from quantum_trader.exchange.simulator.execution import Desk, TradingTerms
from quantum_trader.exchange.simulator.listen_keys import ListenKeys
from quantum_trader.exchange.simulator.margin import initial_margin
from quantum_trader.exchange.simulator.market import Market, Quote
from quantum_trader.exchange.simulator.model import Account, Credentials, Order
from quantum_trader.exchange.simulator.order_request import parse
from quantum_trader.exchange.simulator.parameters import Params, optional_integer
from quantum_trader.exchange.simulator.passage import Passage
from quantum_trader.exchange.simulator.symbols import SymbolSpec
from quantum_trader.exchange.simulator.valuation import (
    Balances,
    LegValue,
    balances,
    brackets_of,
    value_legs,
)

ZERO: Final = Decimal(0)


class Venue:
    """Accounts, orders and positions of the embedded exchange; see the theory of operation."""

    def __init__(
        self, specs: Mapping[str, SymbolSpec], market: Market, terms: TradingTerms | None = None
    ) -> None:
        self.market = market
        self.accounts: dict[str, Account] = {}
        self.listen_keys = ListenKeys()
        self.desk = Desk(specs, market, terms or TradingTerms())
        self.algos = AlgoBook(self.desk)
        self._passage = Passage(self.desk, self.algos)

    @property
    def specs(self) -> dict[str, SymbolSpec]:
        """The listed symbols; replace an entry to change a filter or a status."""
        return self.desk.specs

    @property
    def terms(self) -> TradingTerms:
        """Fees, depth and policies."""
        return self.desk.terms

    @property
    def liquidations(self) -> Iterable[Order]:
        """The newest liquidation orders of all accounts, oldest first."""
        return self._passage.liquidations

    def observe(self, observer: Observer) -> None:
        """Call ``observer`` with every later event; it must be quick and must not raise."""
        self.desk.observe(observer)

    def open_account(self, credentials: Credentials, balance_usdt: Decimal, now_ms: int) -> Account:
        """Add an account that starts with ``balance_usdt``; its alias follows from the key."""
        alias = blake2b(credentials.api_key.encode(), digest_size=8).hexdigest()
        account = Account(credentials, alias, balance_usdt)
        # Clients take an asset that was never updated for one that does not exist.
        account.updated_ms = now_ms
        self.accounts[credentials.api_key] = account
        return account

    def spec(self, symbol: str) -> SymbolSpec:
        """The symbol's filters; -1121 where it is not listed."""
        try:
            return self.specs[symbol]
        except KeyError:
            raise RefusedError(-1121) from None

    def quote(self, symbol: str, now_ms: int) -> Quote:
        """Prices of a listed symbol; -1121 otherwise."""
        return self.market.quote(self.spec(symbol).symbol, now_ms)

    def let_pass(self, account: Account, now_ms: int) -> None:
        """Bring the account up to ``now_ms``: funding, resting orders, liquidation."""
        self._passage.let_pass(account, now_ms)

    def values(self, account: Account, now_ms: int) -> tuple[list[LegValue], Balances]:
        """The account's legs at mark prices, and its totals."""
        legs = value_legs(account, lambda symbol: self.market.quote(symbol, now_ms).mark)
        return legs, balances(account, legs)

    def place(
        self, account: Account, params: Params, now_ms: int, *, only_test: bool = False, hide_ms: int = 0
    ) -> Order:
        """Place a plain order (BINANCE.md 8.2) and return it as it stands after matching.

        With ``only_test`` everything is checked and nothing is placed (the returned order has id
        0). For ``hide_ms`` afterwards queries do not find it. Raises ``RefusedError``.
        """
        self.let_pass(account, now_ms)
        spec = self.spec(params["symbol"])
        quote = self.market.quote(spec.symbol, now_ms)
        request = parse(params, spec, quote, account, now_ms)
        admit(
            account,
            request,
            quote,
            lambda symbol: self.market.quote(symbol, now_ms).mark,
            clamps_reduce_only=self.terms.clamps_reduce_only,
        )
        match = self.desk.takes(account, request, quote)
        if only_test:
            return request.as_order(now_ms)
        order = self.desk.enter(account, request, now_ms)
        order.hidden_until_ms = now_ms + hide_ms
        self.desk.work(account, order, match, now_ms)
        return order

    def find(self, account: Account, params: Params, now_ms: int) -> Order | None:
        """The order of ``orderId`` or (the latest) of ``origClientOrderId``, if it is visible."""
        symbol = self.spec(params["symbol"]).symbol
        order_id = optional_integer(params, "orderId")
        if order_id is not None:
            order = account.orders.get((symbol, order_id))
        else:
            order = account.by_client_id.get((symbol, params.get("origClientOrderId", "")))
        return order if order is not None and order.hidden_until_ms <= now_ms else None

    def cancel(self, account: Account, order: Order, now_ms: int) -> None:
        """Cancel a resting order; -2011 where it is not open any more."""
        if (order.symbol, order.order_id) not in account.open_orders:
            raise RefusedError(-2011)
        self.desk.finish(account, order, OrderStatus.CANCELED, 0, now_ms)

    def cancel_all(self, account: Account, orders: Iterable[Order], now_ms: int) -> None:
        """Cancel resting orders."""
        for order in list(orders):
            self.desk.finish(account, order, OrderStatus.CANCELED, 0, now_ms)

    def amend(self, account: Account, order: Order, params: Params, now_ms: int) -> None:
        """Change a resting order (BINANCE.md 8.2). Raises ``RefusedError``."""
        amend(self.desk, account, order, params, now_ms)

    def move_margin(self, account: Account, leg: Leg, amount: Decimal, now_ms: int) -> None:
        """Move ``amount`` USDT from the cross wallet to an isolated position (back, if negative).

        Raises -4055, -4049, -4054, -4050 or -4051.
        """
        values, totals = self.values(account, now_ms)
        value = next((value for value in values if value.leg == leg), None)
        if not amount:
            raise RefusedError(-4055)
        if not account.setting(leg.symbol).isolated:
            raise RefusedError(-4049)
        if value is None or not value.held.amount:
            raise RefusedError(-4054)
        if amount > totals.available:
            raise RefusedError(-4050)
        if amount < 0 and value.held.isolated_wallet + amount + min(ZERO, value.pnl) < value.position_margin:
            raise RefusedError(-4051)
        value.held.isolated_wallet += amount
        account.remember(now_ms)
        self.desk.tell_account(account, "MARGIN_TRANSFER", (leg,), now_ms)

    def deleverage(self, account: Account, leg: Leg, now_ms: int, quantity: Decimal | None = None) -> Order:
        """Auto-deleverage ``quantity`` (all of it without one) of a position; -2022 where there is none."""
        self.let_pass(account, now_ms)
        held = abs(account.amount(leg))
        wanted = held if quantity is None else min(quantity, held)
        if not wanted:
            raise RefusedError(-2022)
        return self._passage.deleverage(account, leg, wanted, now_ms)

    def place_algo(self, account: Account, params: Params, now_ms: int) -> AlgoOrder:
        """Place a conditional order (BINANCE.md 8.3). Raises ``RefusedError``."""
        self.let_pass(account, now_ms)
        spec = self.spec(params["symbol"])
        algo = parse_algo(params, spec, self.market.quote(spec.symbol, now_ms), account, now_ms)
        self.algos.enter(account, algo, now_ms)
        return algo

    def cancel_algo(self, account: Account, algo: AlgoOrder, now_ms: int) -> None:
        """Cancel a conditional order that waits; -2011 once it has been triggered or ended."""
        if algo.algo_id not in account.open_algos:
            raise RefusedError(-2011)
        self.algos.end(account, algo, "CANCELED", now_ms)

    def set_leverage(self, account: Account, symbol: str, leverage: int, now_ms: int) -> Decimal:
        """Set the symbol's leverage and return the largest notional it allows, in USDT.

        Raises -4028, -2027 (position too large for it), -4161 or -2028 (BINANCE.md 8.4).
        """
        brackets = brackets_of(self.spec(symbol).symbol)
        if not 1 <= leverage <= brackets[0].leverage:
            raise RefusedError(-4028, leverage=leverage)
        cap = notional_cap(brackets, leverage)
        legs, totals = self.values(account, now_ms)
        touched = [value for value in legs if value.leg.symbol == symbol]
        if any(abs(value.notional) > cap for value in touched):
            raise RefusedError(-2027)
        _check_lower_leverage(touched, leverage, totals)
        account.setting(symbol).leverage = leverage
        self.desk.tell_account(account, "LEVERAGE", (Leg(symbol),), now_ms)
        return cap

    def set_isolated(self, account: Account, symbol: str, now_ms: int, *, isolated: bool) -> None:
        """Change the symbol's margin type; -4046, -4047 or -4048."""
        setting = account.setting(self.spec(symbol).symbol)
        if setting.isolated is isolated:
            raise RefusedError(-4046)
        waiting = any(algo.symbol == symbol for algo in account.open_algos.values())
        if waiting or account.open_on(symbol):
            raise RefusedError(-4047)
        if any(account.amount(Leg(symbol, side)) for side in PositionSide):
            raise RefusedError(-4048)
        setting.isolated = isolated
        self.desk.tell_account(account, "MARGIN_TYPE_CHANGE", (Leg(symbol),), now_ms)

    def set_hedge_mode(self, account: Account, now_ms: int, *, hedge: bool) -> None:
        """Change the position mode of the account; -4059, -4067 or -4068."""
        if account.hedge_mode is hedge:
            raise RefusedError(-4059)
        if account.open_orders or account.open_algos:
            raise RefusedError(-4067)
        if account.positions:
            raise RefusedError(-4068)
        account.hedge_mode = hedge
        self.desk.tell_account(account, "POSITION_MODE", (), now_ms)


def _check_lower_leverage(touched: list[LegValue], leverage: int, totals: Balances) -> None:
    for value in touched:
        if leverage >= value.leverage:
            return
        if value.isolated and value.held.amount:
            raise RefusedError(-4161)
        growth = initial_margin(value.notional, leverage) - value.position_margin
        if growth > totals.available:
            raise RefusedError(-2028)
