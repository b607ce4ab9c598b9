"""What a simulated month needs: time, a disk in memory, an exchange without sockets, and an oracle."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from quantum_trader.bsc import lifespan, status, watch_log
from quantum_trader.bsc.events import Event
from quantum_trader.bsc.health import Health
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
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.events import OrderEvent

START_MS = 1_800_000_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
KEY = "sim"


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


class MemoryDisk:
    """Keeps BSC's records as bytes, so that a restart reads what was written and no disk is waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._files: dict[str, bytes] = {}
        for module in (lifespan, watch_log, status):
            monkeypatch.setattr(module, "read_record", self.read)
            monkeypatch.setattr(module, "write_record", self.write)
        for module in (lifespan, watch_log):
            monkeypatch.setattr(module, "exclusive", contextlib.nullcontext)
        monkeypatch.setattr(asyncio, "to_thread", _at_once)

    def read(self, path: Path) -> dict[str, Any] | None:
        content = self._files.get(path.name)
        record: dict[str, Any] | None = None if content is None else orjson.loads(content)
        return record

    def write(self, path: Path, record: Mapping[str, Any]) -> None:
        self._files[path.name] = orjson.dumps(dict(record))


async def _at_once(work: Any, *args: Any) -> Any:
    return work(*args)


class Notebook:
    """A sink that counts events, and keeps why positions were closed and the last health."""

    def __init__(self) -> None:
        self.count: Counter[Event] = Counter()
        self.reasons: Counter[str] = Counter()
        self.last_health: Health | None = None

    def event(self, event: Event, **fields: object) -> None:
        self.count[event] += 1
        if event is Event.FORCE_CLOSE:
            self.reasons[str(fields["reason"])] += 1

    def health(self, health: Health) -> None:
        self.last_health = health


class SimLine:
    """The venue without sockets, with reads and orders that fail by ``chance``."""

    def __init__(self, venue: Any, clock: SimClock, chance: random.Random) -> None:
        self._venue = venue
        self._time = clock
        self._chance = chance
        self.fails = 0.0
        self.closes: list[str] = []
        self.age_s: float | None = 0.0
        self.reads = self.exits = self.clock = self
        self._valued: tuple[tuple[int, int], Any] = ((0, 0), None)

    @property
    def account(self) -> Any:
        return self._venue.accounts[KEY]

    def values(self) -> Any:
        """The account at mark prices; kept until time passes or the wallet changes."""
        moment = self._time.now_ms(), self._venue.desk.tran_id
        if self._valued[0] != moment:
            self._valued = moment, self._venue.values(self.account, moment[0])
        return self._valued[1]

    def signing_time_ms(self) -> int:
        return self._time.now_ms()

    async def measure(self) -> int:
        return 0

    async def resync(self) -> bool:
        return True

    async def positions(self) -> Sequence[MarginPosition]:
        self._answer("positions")
        self._venue.let_pass(self.account, self._time.now_ms())
        if not self.account.positions:
            return []
        values, _ = self.values()
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
        _, totals = self.values()
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
        fate = self._chance.random() if self._chance.random() < self.fails else 1.0
        if fate < 0.4:
            return NotSent("simulated")
        try:
            placed = self._venue.place(self.account, _as_params(order), self._time.now_ms())
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
        if self._chance.random() < self.fails:
            raise ExchangeError(read, "simulated failure")


def _as_params(order: ExitOrder) -> dict[str, str]:
    return {
        "symbol": order.leg.symbol,
        "side": order.side.value,
        "type": "MARKET",
        "quantity": f"{order.quantity:f}",
        "reduceOnly": "true",
        "newClientOrderId": order.client_order_id,
    }


class Oracle:
    """Which positions are beyond a limit, by arithmetic of its own and by the fills it was told of."""

    def __init__(self, venue: Any, line: SimLine) -> None:
        self._venue = venue
        self._line = line
        self._amounts: dict[Leg, Decimal] = {}
        self._opened_ms: dict[Leg, int] = {}
        venue.observe(self._note)

    def _note(self, event: Any) -> None:
        if not isinstance(event, OrderEvent) or event.trade is None:
            return
        leg, before = event.order.leg, self._amounts.get(event.order.leg, Decimal(0))
        after = before + event.trade.side.sign * event.trade.quantity
        if before * after <= 0:
            self._opened_ms[leg] = event.at_ms
        self._amounts[leg] = after

    def breached(self, now_ms: int) -> dict[tuple[str, int], str]:
        """The position's symbol and opening time, and the limit it is beyond."""
        account = self._line.account
        self._venue.let_pass(account, now_ms)
        return dict(self._beyond(now_ms)) if account.positions else {}

    def _beyond(self, now_ms: int) -> Iterator[tuple[tuple[str, int], str]]:
        for value in self._line.values()[0]:
            held, opened_ms = value.held, self._opened_ms[value.leg]
            equity = held.isolated_wallet + value.pnl
            if value.pnl * 100 <= -3 * abs(held.amount) * held.entry:
                yield (value.leg.symbol, opened_ms), "MAX_LOSS_BREACH"
            elif now_ms - opened_ms >= 72 * HOUR_MS:
                yield (value.leg.symbol, opened_ms), "MAX_DURATION_BREACH"
            elif value.isolated and value.maintenance * 100 >= 85 * equity:
                yield (value.leg.symbol, opened_ms), "MAX_MARGIN_BREACH"
