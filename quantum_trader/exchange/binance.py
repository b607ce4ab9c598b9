"""Joins the parts that speak REST to Binance USDⓈ-M Futures."""

from __future__ import annotations

from dataclasses import dataclass, field

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.account import BinanceAccount
from quantum_trader.exchange.entry_port import RestEntryPort
from quantum_trader.exchange.exit_port import RestExitPort
from quantum_trader.exchange.market import BinanceMarket
from quantum_trader.exchange.position_mode import PositionMode
from quantum_trader.exchange.reads import Reader
from quantum_trader.exchange.rest import RestTransport
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.watch import WatchLine, watch_line
from quantum_trader.exchange.weight import Priority, WeightBudget


@dataclass(frozen=True, slots=True)
class Exchange:
    """Everything that may be asked of the exchange, cut by duty.

    ``reserved_account`` makes the same reads as ``account`` on the budget kept for exits: for the
    watchdog and for whoever is about to reduce. Hand each part only to those who need it.
    """

    market: BinanceMarket
    account: BinanceAccount
    reserved_account: BinanceAccount
    entry: RestEntryPort
    exits: RestExitPort
    clock: ServerClock
    weight: WeightBudget
    _transport: RestTransport = field(repr=False)

    def watch_line(self, clock: Clock, recv_window_ms: int) -> WatchLine:
        """Return the watchdog's own reads and exits; only the transport is shared with the rest."""
        return watch_line(self._transport, clock, recv_window_ms)

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()


def connect(settings: ExchangeSettings, clock: Clock) -> Exchange:
    """Return the exchange of ``settings``; sends nothing yet. Call it inside the running event loop.

    Raises ``ValueError`` when the API secret cannot be used (signing.py).
    """

    async def ask_server_time_ms() -> int:
        return await time_source.server_time_ms()

    server_clock = ServerClock(clock, ask_server_time_ms)
    weight = WeightBudget(clock, settings.reserve_share, server_clock.signing_time_ms)
    transport = RestTransport(settings, weight)

    def reader(priority: Priority) -> Reader:
        window_ms = settings.recv_window_ms
        return Reader(transport, server_clock, clock, recv_window_ms=window_ms, priority=priority)

    position_mode = PositionMode(reader(Priority.EXIT))
    time_source = BinanceMarket(reader(Priority.EXIT), weight)
    window_ms = settings.recv_window_ms
    return Exchange(
        market=BinanceMarket(reader(Priority.READ), weight),
        account=BinanceAccount(reader(Priority.READ), position_mode, server_clock),
        reserved_account=BinanceAccount(reader(Priority.EXIT), position_mode, server_clock),
        entry=RestEntryPort(transport, server_clock, position_mode, recv_window_ms=window_ms),
        exits=RestExitPort(transport, server_clock, position_mode, recv_window_ms=window_ms),
        clock=server_clock,
        weight=weight,
        _transport=transport,
    )
