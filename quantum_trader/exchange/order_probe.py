"""Asks whether the key may order, by an order that is checked like any other and never placed."""

from __future__ import annotations

from quantum_trader.domain.order import OpenOrder
from quantum_trader.exchange.endpoints import TEST_ORDER
from quantum_trader.exchange.errors import error_of
from quantum_trader.exchange.order_params import open_params
from quantum_trader.exchange.rest import RestTransport
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.exchange.weight import Priority, throttle_of


class OrderProbe:
    """Knows the one endpoint that places nothing."""

    def __init__(self, transport: RestTransport, server_clock: ServerClock, *, recv_window_ms: int) -> None:
        self._transport = transport
        self._server_clock = server_clock
        self._recv_window_ms = recv_window_ms

    async def check(self, order: OpenOrder) -> None:
        """Have ``order`` checked, once; raises ``ExchangeError`` where it would not be taken."""
        params = open_params(order, self._recv_window_ms)
        reply = await self._transport.send(TEST_ORDER, params, priority=Priority.READ)
        if not reply.is_success:
            raise error_of(str(TEST_ORDER), reply, throttle_of(reply, self._server_clock.signing_time_ms()))
