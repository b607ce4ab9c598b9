"""Harvest and heat over recorded candles: real rules and a real Redis, the clock in the driver's hand.

A position stands still while the market passes by, and is opened anew every ``reopen_every`` candles, so
that two runs that differ in the heat's mode see the very same positions.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from quantum_trader.config import Config
from quantum_trader.domain.trading import Account, Kline, Leg, Position, Positions
from quantum_trader.market.live import LiveMarket
from quantum_trader.pipeline.rules import RulesInForce
from quantum_trader.positions.ledger import Ledger, LedgerEntry
from quantum_trader.positions.live import LiveAccount
from quantum_trader.producers.harvest import Harvest
from quantum_trader.producers.view import View
from quantum_trader.stores.connection import Database
from quantum_trader.stores.harvest import HarvestStore
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.lease import Lease
from support.cases import account, leg
from support.clock import HandClock

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
XRP_5M = DATA / "candles" / "XRPUSDT-5m.csv"
BTC_1H = DATA / "live-2024-2026" / "btcusdt_perp_1h_oi_last_index_mark_2023-12_2024-10.csv"
HOUR_MS = 3_600_000
HISTORY = 25  # hours that the inputs need


def xrp_hours() -> list[Kline]:
    """Return the recorded 5 minute candles of XRPUSDT, joined to hours."""
    with XRP_5M.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    whole = len(rows) // 12 * 12
    return [_joined(rows[at : at + 12]) for at in range(0, whole, 12)]


def btc_hours() -> list[Kline]:
    """Return the recorded hourly prices of BTCUSDT as candles."""
    with BTC_1H.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["last_price"]]
    candles = []
    for row in rows:
        open_ms = int(datetime.fromisoformat(row["timestamp"]).timestamp() * 1000)
        price = Decimal(row["last_price"])
        candles.append(Kline(open_ms, price, price, price, price, Decimal(0), open_ms + HOUR_MS - 1))
    return candles


def _joined(rows: Sequence[Mapping[str, str]]) -> Kline:
    open_ms = int(rows[0]["open_time"])
    return Kline(
        open_ms,
        Decimal(rows[0]["open"]),
        max(Decimal(row["high"]) for row in rows),
        min(Decimal(row["low"]) for row in rows),
        Decimal(rows[-1]["close"]),
        sum((Decimal(row["volume"]) for row in rows), Decimal(0)),
        open_ms + HOUR_MS - 1,
    )


class _Held:
    """A lease that is never lost."""

    is_held = True


@dataclass
class Replay:
    """One market of hourly candles, and one position of ``notional`` USDT that is opened again and again."""

    config: Config
    candles: Sequence[Kline]
    database: Database
    symbol: str
    equity: Decimal
    notional: Decimal = Decimal(1000)
    reopen_every: int = 12
    at: int = HISTORY
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self._entry = self.candles[self.at]
        self._live = LiveAccount(cast("Any", self), self.clock, self.clock.now_ms)
        self._market = LiveMarket(cast("Any", self), self.clock)
        self._ledger = Ledger()
        view = View(
            RulesInForce(self.config),
            self._live,
            self._market,
            self._ledger,
            cast("Lease", _Held()),
            self.clock,
        )
        self.harvest = Harvest(view, HarvestStore(self.database, Keys()))

    async def run(self, hours: int) -> None:
        """Let ``hours`` candles pass, and look at the position after each."""
        for number in range(hours):
            self.at += 1
            self.clock.time_s = (self.candles[self.at].close_time_ms + 1) / 1000
            if number % self.reopen_every == 0:
                self._open()
            await self._market.refresh_klines(self.symbol)
            await self._live.refresh_positions()
            await self._live.refresh_account()
            await self.harvest.look()

    def _open(self) -> None:
        self._entry = self.candles[self.at]
        opened_ms = self._entry.close_time_ms
        entry = LedgerEntry(
            self._amount, self._entry.close, opened_ms, last_update_ts=opened_ms, source="fill"
        )
        self._ledger.replace(leg(self.symbol), entry)

    @property
    def _amount(self) -> Decimal:
        """Long and short in turn."""
        is_short = self._entry.open_time_ms // (HOUR_MS * self.reopen_every) % 2
        size = (self.notional / self._entry.close).quantize(Decimal("0.001"))
        return -size if is_short else size

    # -- what the exchange would answer

    async def klines(self, symbol: str, interval: str, limit: int) -> Sequence[Kline]:
        assert (symbol, interval) == (self.symbol, "1h")
        return self.candles[max(0, self.at - limit + 1) : self.at + 1]

    async def positions(self) -> Positions:
        one: Leg = leg(self.symbol)
        mark = self.candles[self.at].close
        held = Position(one, self._amount, self._entry.close, mark, Decimal(0), self._entry.close_time_ms)
        return Positions({one: held})

    async def account(self) -> Account:
        return account(margin_balance=self.equity)
