"""A month of BSC's life on a moved clock, polled every minute: prices, faults, restarts by seed (SPEC 10).

The exchange is the embedded one, asked without sockets. Now and then reads or orders fail, the
process is restarted or away for some minutes, owners trade. At every poll: nothing is closed without a
breach, no breach outlives two good polls, blindness is told, and the end comes on day 30 and not earlier.

``BSC_MONTH_SEEDS=5`` runs so many seeds instead of one.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
from bsc_month_scene import KEY, MINUTE_MS, START_MS, MemoryDisk, Notebook, Oracle, SimClock, SimLine

from quantum_trader.bsc import limits
from quantum_trader.bsc.events import Event
from quantum_trader.bsc.health import Authority, State
from quantum_trader.bsc.lifespan import DAY_MS, Lifespan
from quantum_trader.bsc.status import StatusFile
from quantum_trader.bsc.telling import Memory, Teller
from quantum_trader.bsc.watch_log import WatchLog
from quantum_trader.bsc.watchdog import Watchdog
from quantum_trader.exchange.simulator import AccountSettings, SimulatorSettings, build_venue
from quantum_trader.exchange.simulator.errors import RefusedError

SEEDS = int(os.environ.get("BSC_MONTH_SEEDS", "1"))
SYMBOLS = ("XRPUSDT", "ADAUSDT", "DOGEUSDT")
THIN = "DOGEUSDT"  # isolated and at 50x, so that its margin ends before the loss limit
POLLS_A_DAY = 24 * 60
POLLS = 30 * POLLS_A_DAY + 60
RESTARTS = 50
AWAY_MINUTES_MAX = 10


class Month:
    """One seeded month."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.clock = SimClock()
        account = AccountSettings(KEY, "sim", Decimal(5_000))
        settings = SimulatorSettings(seed=seed, accounts=(account,), symbols=SYMBOLS)
        self.venue = build_venue(settings, START_MS)
        self.line = SimLine(self.venue, self.clock, random.Random(seed + 1))
        self.venue.set_leverage(self.line.account, THIN, 50, START_MS)
        self.venue.set_isolated(self.line.account, THIN, START_MS, isolated=True)
        self.oracle = Oracle(self.venue, self.line)
        self.heard = Notebook()
        self.folder = folder
        self.overdue: dict[tuple[str, int], int] = {}
        self.failed_in_a_row = 0
        self.good_polls = self.failed_polls = self.blind_periods = 0

    async def start(self) -> Watchdog:
        memory = Memory(Lifespan(self.folder), WatchLog(self.folder), StatusFile(self.folder))
        teller = Teller(memory, self.heard, self.clock)
        await teller.begin(closes=True)
        return Watchdog(lambda: self.line, teller, self.heard, self.clock, closes=True)

    def trade(self) -> None:
        """Let an owner open, add, reduce or turn round, now and then."""
        if self.chance.random() > 0.0008:
            return
        wish = {
            "symbol": self.chance.choice(SYMBOLS),
            "side": self.chance.choice(("BUY", "SELL")),
            "type": "MARKET",
            "quantity": str(self.chance.choice((50, 100, 150))),
        }
        try:
            self.venue.place(self.line.account, wish, self.clock.now_ms())
        except RefusedError as refused:
            if refused.code not in (-2019, -4164):  # no margin left, too small for the filter
                raise

    def disturb(self) -> None:
        """Let the exchange be well for a day, and ill for some polls."""
        if self.line.fails == 0 and self.chance.random() < 0.0006:
            self.line.fails = self.chance.choice((0.2, 1.0, 1.0))
        elif self.line.fails and self.chance.random() < 0.1:
            self.line.fails = 0.0

    async def step(self, dog: Watchdog) -> None:
        """Poll once, and judge what was done by what the oracle knew before."""
        before = self.oracle.breached(self.clock.now_ms())
        self.line.closes.clear()
        blind_before = self.heard.count[Event.BLIND]
        state = await dog.poll()
        assert set(self.line.closes) <= {symbol for symbol, _ in before}, (self.line.closes, before)
        self._check_lifespan()
        self._check_overdue(before, state)
        self._check_blindness(state, self.heard.count[Event.BLIND] - blind_before)

    @property
    def is_over(self) -> bool:
        return self.clock.now_ms() >= START_MS + 30 * DAY_MS

    def _check_lifespan(self) -> None:
        health = self.heard.last_health
        assert health is not None
        assert (health.authority is Authority.OBSERVER) == self.is_over, self.clock.now_ms()

    def _check_overdue(self, before: dict[tuple[str, int], str], state: State) -> None:
        if self.is_over or not before:
            self.overdue.clear()
            return
        left = before.keys() & self.oracle.breached(self.clock.now_ms()).keys()
        good = state is State.OK and self.line.fails == 0
        self.overdue = {key: self.overdue.get(key, 0) + good for key in left}
        assert all(polls < 2 for polls in self.overdue.values()), self.overdue

    def _check_blindness(self, state: State, told: int) -> None:
        is_good = state is State.OK
        self.good_polls, self.failed_polls = self.good_polls + is_good, self.failed_polls + (not is_good)
        self.failed_in_a_row = 0 if is_good else self.failed_in_a_row + 1
        begins = self.failed_in_a_row == limits.BLIND_AFTER_POLLS
        assert told == begins
        assert (state is State.BLIND) == (self.failed_in_a_row >= limits.BLIND_AFTER_POLLS)
        self.blind_periods += begins


@pytest.fixture
def quiet() -> Iterator[None]:
    """A month of log lines is not worth rendering."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
async def test_inc107_a_month_of_polls_with_faults_and_fifty_restarts(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    MemoryDisk(monkeypatch)
    month = Month(seed, Path("bsc"))
    restarts = set(month.chance.sample(range(1, 30 * POLLS_A_DAY), RESTARTS))
    away = 0
    dog = await month.start()
    for minute in range(POLLS):
        month.clock.at_ms = max(month.clock.at_ms, START_MS + minute * MINUTE_MS)
        month.trade()
        month.disturb()
        if minute in restarts:
            away = month.chance.randint(0, AWAY_MINUTES_MAX)
            dog = await month.start()
        if away:
            away -= 1
            continue
        await month.step(dog)
    assert month.heard.reasons.keys() == {"MAX_LOSS_BREACH", "MAX_DURATION_BREACH", "MAX_MARGIN_BREACH"}
    assert month.blind_periods > 0
    assert month.heard.count[Event.DEMOTED] == 1
    assert month.heard.count[Event.ACTIVATED] == RESTARTS + 1
    coverage = WatchLog(month.folder).read().coverage(START_MS, month.clock.now_ms())
    assert (coverage.good_polls, coverage.failed_polls) == (month.good_polls, month.failed_polls)
