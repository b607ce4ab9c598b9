"""Sends what can only reduce. Nothing that this object holds leads to the entry port."""

from __future__ import annotations

from quantum_trader.domain.order import ExitOrder, Outcome, Rejected
from quantum_trader.exchange.codes import Refusal, refusal_of
from quantum_trader.exchange.endpoints import (
    CANCEL_CONDITIONAL_ORDERS,
    CANCEL_OPEN_ORDERS,
    NEW_ORDER,
    Endpoint,
)
from quantum_trader.exchange.errors import error_of
from quantum_trader.exchange.order_params import exit_params
from quantum_trader.exchange.outcomes import outcome_of_sending
from quantum_trader.exchange.position_mode import PositionMode
from quantum_trader.exchange.reads import timing_params
from quantum_trader.exchange.rest import Transport
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.exchange.weight import Priority, throttle_of


class RestExitPort:
    """``ExitPort`` over a transport. Draws on the reserve; held back only by a ban or a spent limit."""

    def __init__(
        self,
        transport: Transport,
        server_clock: ServerClock,
        position_mode: PositionMode,
        *,
        recv_window_ms: int,
    ) -> None:
        self._transport = transport
        self._server_clock = server_clock
        self._position_mode = position_mode
        self._recv_window_ms = recv_window_ms

    async def reduce_position(self, order: ExitOrder) -> Outcome:
        """Send the reducing MARKET order with its stored timestamp, once, and say what became of it.

        Raises ``TypeError`` for anything but an ``ExitOrder``.
        """
        if not isinstance(order, ExitOrder):
            raise TypeError(f"only an ExitOrder reduces a position, not {type(order).__name__}")
        params = exit_params(order, self._recv_window_ms)
        sending = self._transport.send(NEW_ORDER, params, priority=Priority.EXIT)
        outcome = await outcome_of_sending(sending, order)
        if isinstance(outcome, Rejected) and refusal_of(outcome.code) is Refusal.POSITION_MODE:
            self._position_mode.doubt()
        return outcome

    async def cancel_open_orders(self, symbol: str) -> None:
        """Cancel every resting plain order of ``symbol``, once; raises ``ExchangeError`` if not confirmed."""
        await self._cancel(CANCEL_OPEN_ORDERS, symbol)

    async def cancel_conditional_orders(self, symbol: str) -> None:
        """Cancel every conditional order of ``symbol``, once; raises ``ExchangeError`` if not confirmed.

        They live in a store of their own, behind endpoints of their own (BINANCE.md 0, INC-89).
        """
        await self._cancel(CANCEL_CONDITIONAL_ORDERS, symbol)

    async def _cancel(self, endpoint: Endpoint, symbol: str) -> None:
        timing = timing_params(self._recv_window_ms, self._server_clock.signing_time_ms())
        reply = await self._transport.send(endpoint, (("symbol", symbol), *timing), priority=Priority.EXIT)
        if not reply.is_success:
            throttle = throttle_of(reply, self._server_clock.signing_time_ms())
            raise error_of(str(endpoint), reply, throttle)
