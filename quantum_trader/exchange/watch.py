"""The watchdog's own way to the exchange: its reads and its exits over a transport, nothing else.

Inside an engine the transport, and with it the weight budget, is shared, so that a ban that one
meets holds the other back; clock, position mode and readers are the watchdog's own. Nothing here
leads to the entry port (an import contract in pyproject.toml sees to it).
"""

from __future__ import annotations

from dataclasses import dataclass

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.endpoints import SERVER_TIME
from quantum_trader.exchange.exit_port import RestExitPort
from quantum_trader.exchange.fields import Row
from quantum_trader.exchange.margin_reads import MarginReads
from quantum_trader.exchange.position_mode import PositionMode
from quantum_trader.exchange.reads import Reader
from quantum_trader.exchange.rest import RestTransport
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.weight import Priority, WeightBudget


@dataclass(frozen=True, slots=True)
class WatchLine:
    """What BSC may do at the exchange: read on the reserved budget, and reduce."""

    reads: MarginReads
    exits: RestExitPort
    clock: ServerClock


def watch_line(transport: RestTransport, clock: Clock, recv_window_ms: int) -> WatchLine:
    """Return a watchdog's line over ``transport``; sends nothing yet."""
    server_clock = ServerClock(clock, lambda: _server_time_ms(reader))
    reader = Reader(transport, server_clock, clock, recv_window_ms=recv_window_ms, priority=Priority.EXIT)
    exits = RestExitPort(transport, server_clock, PositionMode(reader), recv_window_ms=recv_window_ms)
    return WatchLine(MarginReads(reader, server_clock), exits, server_clock)


def watch_transport(settings: ExchangeSettings, clock: Clock) -> RestTransport:
    """Return a transport of the watchdog's own, for when it runs alone; close it at the end.

    Call it inside the running event loop. Raises ``ValueError`` when the secret cannot be used.
    """
    return RestTransport(settings, WeightBudget(clock, settings.reserve_share, clock.now_ms))


async def _server_time_ms(reader: Reader) -> int:
    return Row(str(SERVER_TIME), await reader.read_once(SERVER_TIME)).integer("serverTime")
