"""The one place that can open a position."""

from __future__ import annotations

from quantum_trader.domain.order import Claimed, Outcome, Rejected
from quantum_trader.exchange.codes import Refusal, refusal_of
from quantum_trader.exchange.endpoints import NEW_ORDER, SET_LEVERAGE
from quantum_trader.exchange.errors import ReplyUnreadable, error_of
from quantum_trader.exchange.fields import Row, decoded
from quantum_trader.exchange.order_params import open_params
from quantum_trader.exchange.outcomes import outcome_of_sending
from quantum_trader.exchange.position_mode import PositionMode
from quantum_trader.exchange.reads import timing_params
from quantum_trader.exchange.rest import Transport
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.exchange.weight import Priority, throttle_of


class RestEntryPort:
    """``EntryPort`` over a transport. Sends each order once; signing anew after -1021 is the caller's act."""

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

    async def open_position(self, claimed: Claimed) -> Outcome:
        """Send the claimed MARKET order with its stored timestamp, once, and say what became of it.

        Raises ``TypeError`` for anything but a ``Claimed``.
        """
        if not isinstance(claimed, Claimed):
            raise TypeError(f"only a Claimed opens a position, not {type(claimed).__name__}")
        params = open_params(claimed.order, self._recv_window_ms)
        sending = self._transport.send(NEW_ORDER, params, priority=Priority.ENTRY)
        outcome = await outcome_of_sending(sending, claimed.order)
        if isinstance(outcome, Rejected) and refusal_of(outcome.code) is Refusal.POSITION_MODE:
            self._position_mode.doubt()
        return outcome

    async def set_leverage(self, symbol: str, leverage: int) -> None:
        """Set the leverage of ``symbol``, once; raises ``ExchangeError`` when it was not confirmed."""
        timing = timing_params(self._recv_window_ms, self._server_clock.signing_time_ms())
        params = (("symbol", symbol), ("leverage", str(leverage)), *timing)
        reply = await self._transport.send(SET_LEVERAGE, params, priority=Priority.ENTRY)
        endpoint = str(SET_LEVERAGE)
        if not reply.is_success:
            raise error_of(endpoint, reply, throttle_of(reply, self._server_clock.signing_time_ms()))
        row = Row(endpoint, decoded(endpoint, reply.body))
        if (row.text("symbol"), row.integer("leverage")) != (symbol, leverage):
            raise ReplyUnreadable(
                endpoint, "leverage", f"is not the {leverage} of {symbol} that was asked for"
            )
