"""A watchdog on the embedded exchange over sockets, with a clock that a test can move."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from quantum_trader.bsc.events import Event
from quantum_trader.bsc.health import Health, State
from quantum_trader.bsc.lifespan import Lifespan
from quantum_trader.bsc.reading import Line
from quantum_trader.bsc.status import StatusFile
from quantum_trader.bsc.telling import Memory, Teller
from quantum_trader.bsc.watch_log import WatchLog
from quantum_trader.bsc.watchdog import Watchdog
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.order import OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.simulator import (
    AccountSettings,
    EmbeddedExchange,
    FaultKind,
    FaultRule,
    SimulatorSettings,
)
from quantum_trader.exchange.watch import WatchLine, watch_line, watch_transport

KEY = "watch-key"
SECRET = "watch-secret"
HOUR_S = 3_600

_numbers = itertools.count(1)


class MovableClock(SystemClock):
    """The machine's clock plus what a test has added; naps are cut short."""

    def __init__(self, nap_s_max: float = 0.02) -> None:
        self.offset_s = 0.0
        self.slept: list[float] = []
        self._nap_s_max = nap_s_max

    def now_ms(self) -> int:
        return super().now_ms() + int(self.offset_s * 1_000)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.offset_s

    async def sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        await super().sleep(min(duration_s, self._nap_s_max))

    def move(self, seconds: float) -> None:
        """Let ``seconds`` pass at once."""
        self.offset_s += seconds


class Heard:
    """A sink that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Event, dict[str, Any]]] = []
        self.healths: list[Health] = []

    def event(self, event: Event, **fields: object) -> None:
        self.told.append((event, fields))

    def health(self, health: Health) -> None:
        self.healths.append(health)

    def of(self, event: Event) -> list[dict[str, Any]]:
        """Fields of every ``event``, oldest first."""
        return [fields for name, fields in self.told if name is event]


class Scene:
    """One exchange, one account, one state folder; watchdogs come and go."""

    def __init__(self, venue: EmbeddedExchange, url: str, clock: MovableClock, folder: Path) -> None:
        self.venue = venue
        self.url = url
        self.clock = clock
        self.folder = folder
        self.heard = Heard()
        self._transports: list[Any] = []

    def line(self, **settings: Any) -> WatchLine:
        """A way to the exchange of its own."""
        wanted = {"recv_window_ms": 5_000, "request_timeout_s": 0.4, **settings}
        transport = watch_transport(ExchangeSettings(self.url, KEY, SECRET, **wanted), self.clock)
        self._transports.append(transport)
        return watch_line(transport, self.clock, wanted["recv_window_ms"])

    async def watchdog(self, *, closes: bool = True, line: Line | None = None) -> Watchdog:
        """A watchdog that has begun, as after a start of the process."""
        memory = Memory(Lifespan(self.folder), WatchLog(self.folder), StatusFile(self.folder))
        teller = Teller(memory, self.heard, self.clock)
        way = line or self.line()
        dog = Watchdog(lambda: way, teller, self.heard, self.clock, closes=closes)
        await teller.begin(closes=closes)
        return dog

    @property
    def account(self) -> Any:
        """The exchange's own record of the account."""
        return self.venue.venue.accounts[KEY]

    def trade(self, symbol: str, side: str, qty: Any, **more: Any) -> Any:
        """Place a MARKET order as the account's owner would."""
        params = {"symbol": symbol, "side": side, "type": "MARKET", "quantity": str(qty), **more}
        params.setdefault("newClientOrderId", f"own-{next(_numbers)}")
        return self.venue.venue.place(self.account, params, self.clock.now_ms())

    def pin(self, symbol: str, price: Any) -> None:
        """Hold last and mark price."""
        self.venue.venue.market.pin(symbol, Decimal(str(price)), self.clock.now_ms())

    def price(self, symbol: str) -> Decimal:
        """The last price now."""
        last: Decimal = self.venue.venue.quote(symbol, self.clock.now_ms()).last
        return last

    def fall(self, symbol: str, share: str) -> None:
        """Pin the price ``share`` (a fraction) below where it is."""
        self.pin(symbol, self.price(symbol) * (1 - Decimal(share)))

    def amount(self, symbol: str, side: PositionSide = PositionSide.BOTH) -> Decimal:
        """The live signed amount on the exchange."""
        amount: Decimal = self.account.amount(Leg(symbol, side))
        return amount

    @property
    def own_orders(self) -> list[Any]:
        """Orders of BSC at the exchange, oldest first."""
        return [order for order in self.account.orders.values() if order.client_order_id.startswith("bsc-")]

    @property
    def fills(self) -> list[Any]:
        """Orders of BSC that filled."""
        return [order for order in self.own_orders if order.status is OrderStatus.FILLED]

    def fault(self, kind: FaultKind, **rule: Any) -> None:
        """Let the exchange go wrong."""
        self.venue.faults.add(FaultRule(kind, **rule))

    def spoil_order(self, kind: FaultKind, **rule: Any) -> None:
        """Let the next order go wrong."""
        self.fault(kind, method="POST", path="/fapi/v1/order", **rule)

    async def poll_until(self, dog: Watchdog, state: State, polls_max: int = 5) -> None:
        """Poll until BSC is in ``state``."""
        for _ in range(polls_max):
            if await dog.poll() is state:
                return
        raise AssertionError(f"not {state} within {polls_max} polls")

    async def close(self) -> None:
        for transport in self._transports:
            await transport.close()


@asynccontextmanager
async def scene(folder: Path, **settings: Any) -> AsyncIterator[Scene]:
    """Run an exchange with one account and nobody watching yet."""
    clock = MovableClock()
    account = AccountSettings(KEY, SECRET, Decimal(settings.pop("balance_usdt", 10_000)))
    venue = EmbeddedExchange(SimulatorSettings(accounts=(account,), admin=True, **settings), clock)
    stage = Scene(venue, await venue.start(), clock, folder)
    try:
        yield stage
    finally:
        await stage.close()
        await venue.stop()
