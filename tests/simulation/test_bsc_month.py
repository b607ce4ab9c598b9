"""A month of BSC's life on a moved clock: prices, faults, restarts by seed (SPEC 10, INC-107).

The exchange is the embedded one, asked without sockets. It is polled every quarter of an hour; now
and then reads or orders fail, the process restarts, owners trade. Four things are checked at every
step: nothing is closed without a breach, no breach outlives two good polls, blindness is told, and
the end comes on day 30 and not earlier.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.watch import Heard

from quantum_trader.bsc.events import Event
from quantum_trader.bsc.exits import all_breaches
from quantum_trader.bsc.health import Authority, State
from quantum_trader.bsc.lifespan import DAY_MS, Lifespan
from quantum_trader.bsc.opened import Openings
from quantum_trader.bsc.reading import look
from quantum_trader.bsc.status import StatusFile
from quantum_trader.bsc.telling import Memory, Teller
from quantum_trader.bsc.watch_log import WatchLog
from quantum_trader.bsc.watchdog import Watchdog
from quantum_trader.domain.order import (
    Accepted,
    AccountTrade,
    ExitOrder,
    NotSent,
    OrderState,
    Outcome,
    Rejected,
    Unknown,
)
from quantum_trader.domain.trading import Leg, QuantityLimits
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.margin_reads import CrossMargin, MarginPosition, PastOrder
from quantum_trader.exchange.simulator import AccountSettings, SimulatorSettings, build_venue
from quantum_trader.exchange.simulator.errors import RefusedError

START_MS = 1_800_000_000_000
MINUTE_MS = 60_000
SYMBOLS = ("XRPUSDT", "ADAUSDT", "DOGEUSDT")
POLLS = 31 * 24 * 4
STEP_MS = 15 * MINUTE_MS


class SimClock:
    """Time that passes when told, and by sleeping."""

    def __init__(self) -> None:
        self.at_ms = START_MS

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return self.at_ms / 1_000

    async def sleep(self, duration_s: float) -> None:
        self.at_ms += int(duration_s * 1_000)


@dataclass
class SimLine:
    """The venue without sockets, with reads and orders that fail by ``chance``."""

    venue: Any
    clock_of: SimClock
    chance: random.Random
    fails: float = 0.0
    closes: list[str] = field(default_factory=list)
    age_s: float | None = 0.0

    @property
    def reads(self) -> SimLine:
        return self

    @property
    def exits(self) -> SimLine:
        return self

    @property
    def clock(self) -> SimLine:
        return self

    @property
    def account(self) -> Any:
        return self.venue.accounts["sim"]

    def signing_time_ms(self) -> int:
        return self.clock_of.now_ms()

    async def measure(self) -> int:
        return 0

    async def resync(self) -> bool:
        return True

    async def positions(self) -> Sequence[MarginPosition]:
        self._answer("positions")
        self.venue.let_pass(self.account, self.clock_of.now_ms())
        values, _ = self.venue.values(self.account, self.clock_of.now_ms())
        return [
            MarginPosition(
                leg=value.leg,
                amount=value.held.amount,
                entry_price=value.held.entry,
                unrealized_pnl_usdt=value.pnl,
                maintenance_usdt=value.maintenance,
                isolated_wallet_usdt=value.held.isolated_wallet,
                is_isolated=value.isolated,
                update_time_ms=value.held.updated_ms,
            )
            for value in values
            if value.held.amount
        ]

    async def cross_margin(self) -> CrossMargin:
        self._answer("account")
        _, totals = self.venue.values(self.account, self.clock_of.now_ms())
        return CrossMargin(totals.cross_wallet, totals.cross_pnl)

    async def trades(self, symbol: str, since_ms: int) -> Sequence[AccountTrade]:
        self._answer("trades")
        return [
            AccountTrade(
                leg=Leg(trade.symbol, trade.position_side),
                side=trade.side,
                trade_id=trade.trade_id,
                order_id=trade.order_id,
                quantity=trade.quantity,
                price=trade.price,
                realized_pnl=trade.realized_pnl,
                time_ms=trade.time_ms,
            )
            for trade in self.account.trades
            if trade.symbol == symbol and trade.time_ms >= since_ms
        ]

    async def market_quantity(self, symbol: str) -> QuantityLimits:
        raise ExchangeError(symbol, "not simulated")

    async def orders(self, since_ms: int, until_ms: int) -> Sequence[PastOrder]:
        raise ExchangeError("orders", "not simulated")

    async def cancel_open_orders(self, symbol: str) -> None:
        del symbol

    async def reduce_position(self, order: ExitOrder) -> Outcome:
        fate = self.chance.random() if self.chance.random() < self.fails else 1.0
        if fate < 0.4:
            return NotSent("simulated")
        try:
            placed = self.venue.place(
                self.account,
                {
                    "symbol": order.leg.symbol,
                    "side": order.side.value,
                    "type": "MARKET",
                    "quantity": f"{order.quantity:f}",
                    "reduceOnly": "true",
                    "newClientOrderId": order.client_order_id,
                },
                self.clock_of.now_ms(),
            )
        except RefusedError as refused:
            return Rejected(refused.code, refused.msg, refused.http_status)
        self.closes.append(order.leg.symbol)
        if fate < 1.0:
            return Unknown("simulated time-out after execution")
        return Accepted(
            OrderState(
                order.leg,
                order.side,
                placed.order_id,
                order.client_order_id,
                placed.status,
                placed.quantity,
                placed.executed,
                None,
                placed.updated_ms,
            )
        )

    def _answer(self, read: str) -> None:
        if self.chance.random() < self.fails:
            raise ExchangeError(read, "simulated failure")


class Month:
    """One seeded month."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.clock = SimClock()
        account = AccountSettings("sim", "sim", Decimal(5_000))
        settings = SimulatorSettings(seed=seed, accounts=(account,), symbols=SYMBOLS)
        self.venue = build_venue(settings, START_MS)
        self.line = SimLine(self.venue, self.clock, random.Random(seed + 1))
        self.truth = SimLine(self.venue, self.clock, random.Random(0))
        self.heard = Heard()
        self.folder = folder
        self.overdue: dict[tuple[str, int], int] = {}
        self.failed_in_a_row = 0
        self.blind_seen = 0

    async def start(self) -> Watchdog:
        memory = Memory(Lifespan(self.folder), WatchLog(self.folder), StatusFile(self.folder))
        teller = Teller(memory, self.heard, self.clock)
        await teller.begin(closes=True)
        return Watchdog(lambda: self.line, teller, self.heard, self.clock, closes=True)

    def trade(self) -> None:
        """Let an owner open, add, reduce or turn round, now and then."""
        if self.chance.random() < 0.02:
            symbol = self.chance.choice(SYMBOLS)
            quantity = self.chance.choice((50, 100, 150))
            side = self.chance.choice(("BUY", "SELL"))
            wish = {"symbol": symbol, "side": side, "type": "MARKET", "quantity": str(quantity)}
            self.venue.place(self.line.account, wish, self.clock.now_ms())

    def disturb(self) -> None:
        """Let the exchange be well for hours, and ill for some polls."""
        if self.line.fails == 0 and self.chance.random() < 0.01:
            self.line.fails = self.chance.choice((0.1, 0.5, 1.0))
        elif self.line.fails and self.chance.random() < 0.2:
            self.line.fails = 0.0

    async def breached(self) -> dict[tuple[str, int], str]:
        """Which positions are beyond a limit now, judged on true reads and by a memory of its own."""
        seen = await look(self.truth, Openings(self.truth.trades))
        return {
            (breach.leg.symbol, breach.watched.position.update_time_ms): breach.trigger.value
            for breach in all_breaches(seen.reading)
        }

    async def step(self, dog: Watchdog) -> None:
        before = await self.breached()
        self.line.closes.clear()
        blind_before = len(self.heard.of(Event.BLIND))
        state = await dog.poll()
        now_ms = self.heard.healths[-1]
        closed = set(self.line.closes)
        assert closed <= {symbol for symbol, _ in before}, (closed, before)
        self._check_overdue(before, await self.breached(), state, now_ms.authority)
        self._check_blindness(state, blind_before)

    def _check_overdue(
        self,
        before: dict[tuple[str, int], str],
        after: dict[tuple[str, int], str],
        state: State,
        authority: Authority,
    ) -> None:
        if authority is Authority.OBSERVER:
            return
        left = before.keys() & after.keys()
        good = state is State.OK and self.line.fails == 0
        self.overdue = {key: self.overdue.get(key, 0) + good for key in left}
        assert all(polls < 2 for polls in self.overdue.values()), self.overdue

    def _check_blindness(self, state: State, blind_before: int) -> None:
        self.failed_in_a_row = 0 if state is State.OK else self.failed_in_a_row + 1
        told = len(self.heard.of(Event.BLIND)) - blind_before
        assert told == (self.failed_in_a_row == 3)
        assert (state is State.BLIND) == (self.failed_in_a_row >= 3)
        self.blind_seen += told


@pytest.fixture
def quiet() -> Iterator[None]:
    """A month of log lines is not worth rendering."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("seed", [1, 2])
async def test_inc107_a_month_with_faults_and_fifty_restarts(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.bsc.records.os.fsync", lambda _: None)
    month = Month(seed, tmp_path)
    restarts = set(month.chance.sample(range(1, POLLS), 50))
    dog = await month.start()
    for number in range(POLLS):
        month.clock.at_ms = max(month.clock.at_ms, START_MS + number * STEP_MS)
        if number in restarts:
            dog = await month.start()
        month.trade()
        month.disturb()
        await month.step(dog)
        told_ms = START_MS + number * STEP_MS
        authority = month.heard.healths[-1].authority
        assert (authority is Authority.OBSERVER) == (month.clock.now_ms() >= START_MS + 30 * DAY_MS), told_ms
    reasons = {told["reason"] for told in month.heard.of(Event.FORCE_CLOSE)}
    assert {"MAX_LOSS_BREACH", "MAX_DURATION_BREACH"} <= reasons
    assert month.blind_seen > 0
    assert len(month.heard.of(Event.DEMOTED)) == 1
    assert len(month.heard.of(Event.ACTIVATED)) == 51
