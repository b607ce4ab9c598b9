"""Joins the parts that speak to Binance USDⓈ-M Futures: REST, WebSocket API, streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.account import BinanceAccount
from quantum_trader.exchange.entry_port import RestEntryPort
from quantum_trader.exchange.exit_port import RestExitPort
from quantum_trader.exchange.market import BinanceMarket
from quantum_trader.exchange.order_probe import OrderProbe
from quantum_trader.exchange.position_mode import PositionMode
from quantum_trader.exchange.reads import Reader
from quantum_trader.exchange.rest import RestTransport
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.streams.listen_key import ListenKey
from quantum_trader.exchange.streams.market_events import MarketEvent
from quantum_trader.exchange.streams.market_stream import MarketStream
from quantum_trader.exchange.streams.user_events import UserEvent
from quantum_trader.exchange.streams.user_stream import UserStream
from quantum_trader.exchange.watch import WatchLine, watch_line
from quantum_trader.exchange.weight import Priority, WeightBudget
from quantum_trader.exchange.ws_api import WsApi
from quantum_trader.exchange.ws_orders import OrdersOverWs


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
    probe: OrderProbe
    clock: ServerClock
    weight: WeightBudget
    ws_api: WsApi | None
    _transport: RestTransport = field(repr=False)
    _listen_key: ListenKey = field(repr=False)
    _stream_url: str
    _local_clock: Clock = field(repr=False)

    def watch_line(self, clock: Clock, recv_window_ms: int) -> WatchLine:
        """Return the watchdog's own reads and exits; only the transport is shared with the rest."""
        return watch_line(self._transport, clock, recv_window_ms)

    def user_stream(
        self,
        on_event: Callable[[UserEvent], None],
        *,
        on_live: Callable[[], None],
        on_dead: Callable[[], None],
    ) -> UserStream | None:
        """Return the account's stream, not begun yet; None where no address is known."""
        if not self._stream_url:
            return None
        return UserStream(
            self._stream_url,
            self._listen_key,
            self._local_clock,
            on_event=on_event,
            on_live=on_live,
            on_dead=on_dead,
        )

    def market_stream(
        self,
        on_event: Callable[[MarketEvent], None],
        *,
        interval: str,
        candle_symbols: Callable[[], Iterable[str]],
    ) -> MarketStream | None:
        """Return the stream of mark prices and candles, not begun yet; None likewise."""
        if not self._stream_url:
            return None
        return MarketStream(
            self._stream_url,
            self._local_clock,
            interval=interval,
            candle_symbols=candle_symbols,
            on_event=on_event,
        )

    def start(self) -> None:
        """Begin to keep connections for orders."""
        self._transport.expect_orders()
        if self.ws_api is not None:
            self.ws_api.start()

    async def close(self) -> None:
        """Close every connection."""
        if self.ws_api is not None:
            await self.ws_api.stop()
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

    ws_api = WsApi(settings, weight, server_clock, clock) if settings.orders_over_ws else None
    orders = transport if ws_api is None else OrdersOverWs(ws_api, transport)
    position_mode = PositionMode(reader(Priority.EXIT))
    time_source = BinanceMarket(reader(Priority.EXIT), weight)
    window_ms = settings.recv_window_ms
    return Exchange(
        market=BinanceMarket(reader(Priority.READ), weight),
        account=BinanceAccount(reader(Priority.READ), position_mode, server_clock),
        reserved_account=BinanceAccount(reader(Priority.EXIT), position_mode, server_clock),
        entry=RestEntryPort(orders, server_clock, position_mode, recv_window_ms=window_ms),
        exits=RestExitPort(orders, server_clock, position_mode, recv_window_ms=window_ms),
        probe=OrderProbe(transport, server_clock, recv_window_ms=window_ms),
        clock=server_clock,
        weight=weight,
        ws_api=ws_api,
        _transport=transport,
        _listen_key=ListenKey(reader(Priority.EXIT), clock),
        _stream_url=settings.stream_url.rstrip("/"),
        _local_clock=clock,
    )
