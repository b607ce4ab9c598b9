"""The embedded exchange as one object that another program starts and stops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.simulator.admin import Admin
from quantum_trader.exchange.simulator.bars import DAY_MS, HOUR_MS, MINUTE_MS
from quantum_trader.exchange.simulator.candles import CandleTape
from quantum_trader.exchange.simulator.fault_schedule import carry_out, read_schedule
from quantum_trader.exchange.simulator.faults import Faults
from quantum_trader.exchange.simulator.gateway import Gateway
from quantum_trader.exchange.simulator.market import Market
from quantum_trader.exchange.simulator.model import Credentials
from quantum_trader.exchange.simulator.server import Server
from quantum_trader.exchange.simulator.settings import SimulatorSettings
from quantum_trader.exchange.simulator.sockets import end
from quantum_trader.exchange.simulator.state import StateFile
from quantum_trader.exchange.simulator.symbols import SYMBOLS, SymbolSpec
from quantum_trader.exchange.simulator.synthetic import SyntheticTape
from quantum_trader.exchange.simulator.venue import Venue


def build_market(settings: SimulatorSettings, start_ms: int) -> Market:
    """The market of ``settings``, beginning at ``start_ms``; ``CandleFileError`` for bad files."""
    specs = listed_symbols(settings)
    if not settings.klines:
        tape = SyntheticTape(settings.seed, specs, start_ms)
        return Market(tape, specs, start_ms=start_ms, speed=settings.speed, spread_bps=settings.spread_bps)
    candles = CandleTape(settings.klines, specs, SyntheticTape(settings.seed, specs, 0))
    return Market(
        candles,
        specs,
        start_ms=start_ms,
        tape_start_ms=_in_phase(candles.start_ms, start_ms),
        speed=settings.speed,
        spread_bps=settings.spread_bps,
    )


def listed_symbols(settings: SimulatorSettings) -> dict[str, SymbolSpec]:
    """The symbols that ``settings`` list; ValueError names one that is unknown."""
    for symbol in settings.symbols:
        if symbol not in SYMBOLS:
            raise ValueError(f"symbol {symbol} is not one of {', '.join(SYMBOLS)}")
    return {symbol: SYMBOLS[symbol] for symbol in settings.symbols or SYMBOLS}


def build_venue(settings: SimulatorSettings, start_ms: int) -> Venue:
    """A venue with the accounts of ``settings``, without sockets; for in-process simulations."""
    venue = Venue(listed_symbols(settings), build_market(settings, start_ms), settings.terms)
    for account in settings.accounts:
        credentials = Credentials(account.api_key, account.api_secret, account.public_key_pem)
        venue.open_account(credentials, account.balance_usdt, start_ms)
    return venue


def _in_phase(tape_ms: int, start_ms: int) -> int:
    """A tape time near ``tape_ms`` at which days (hours, minutes) begin when real ones do."""
    unit = next((unit for unit in (DAY_MS, HOUR_MS) if unit <= tape_ms), MINUTE_MS)
    return tape_ms // unit * unit + start_ms % unit


@dataclass(slots=True)
class _Running:
    server: Server
    state: StateFile | None
    schedule: asyncio.Task[None]


class EmbeddedExchange:
    """An exchange on loopback, inside the calling program's event loop.

    ``venue``, ``faults`` and ``server`` may be reached from the same loop at any time after ``start``.
    """

    def __init__(self, settings: SimulatorSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self.faults = Faults()
        self.venue: Venue
        self.gateway: Gateway
        self.server: Server
        self._running: _Running | None = None

    async def start(self) -> str:
        """Listen, and return the base URL (``http://host:port``).

        Raises OSError where the port is taken, ``CandleFileError``, ``StateFileError``,
        ``FaultScheduleError``, and ValueError for an unknown symbol.
        """
        settings = self._settings
        scheduled = read_schedule(settings.fault_schedule) if settings.fault_schedule is not None else ()
        self.venue = await asyncio.to_thread(build_venue, settings, self._clock.now_ms())
        state = None
        if settings.state_file is not None:
            state = StateFile(settings.state_file, self.venue, self._clock)
            state.read()
        self.gateway = gateway = Gateway(self.venue, settings.limits)
        admin = Admin(gateway, self.faults)
        self.server = server = Server(gateway, self.faults, self._clock, admin, opens_admin=settings.admin)
        port = await server.start(settings.host, settings.port)
        if state is not None:
            state.start()
        schedule = asyncio.create_task(carry_out(scheduled, self.faults, self._clock))
        self._running = _Running(server, state, schedule)
        return f"http://{settings.host}:{port}"

    async def stop(self) -> None:
        """Close the socket and save the state; harmless when not running."""
        if self._running is None:
            return
        running, self._running = self._running, None
        await running.server.stop()
        await end(running.schedule)
        if running.state is not None:
            await running.state.stop()
