"""Asking, beside the plans, whether a key whose orders were refused may order again (SPEC 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from quantum_trader.domain.order import OpenOrder, client_order_id
from quantum_trader.domain.sizing import SizingPolicy, size_open
from quantum_trader.domain.trading import ZERO, Leg, PositionSide, Side
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.order_probe import OrderProbe
from quantum_trader.pipeline.evidence import Rooms

PROBE_NAME = client_order_id("probe")
SMALLEST = SizingPolicy(allow_upsize=True)


class OrderProbing:
    """Has the smallest legal order checked while orders are refused; it is never placed."""

    def __init__(self, probe: OrderProbe, rooms: Rooms, symbols: Callable[[], Iterable[str]]) -> None:
        self._probe = probe
        self._rooms = rooms
        self._symbols = symbols

    async def ask(self) -> None:
        """Ask once where an order of ours was refused for its key; does nothing otherwise."""
        order = None if self._rooms.keys.orders else self._smallest_order()
        if order is None:
            return
        try:
            await self._probe.check(order)
        except ExchangeError as failed:
            self._rooms.keys.change_failed(failed)
        else:
            self._rooms.keys.probe_passed()

    def _smallest_order(self) -> OpenOrder | None:
        """Return an order that breaks no filter; None while no symbol's rules and mark price are known."""
        rooms = self._rooms
        for symbol in self._symbols():
            rules, mark = rooms.market.rules_of(symbol), rooms.market.mark_of(symbol)
            if rules is not None and rules.is_trading and mark is not None:
                quantity = size_open(ZERO, rules, mark.value, SMALLEST).quantity
                now_ms = rooms.server_clock.signing_time_ms()
                return OpenOrder(self._leg(symbol), Side.BUY, quantity, PROBE_NAME, now_ms)
        return None

    def _leg(self, symbol: str) -> Leg:
        positions = self._rooms.account.positions
        hedge_mode = positions is not None and positions.value.hedge_mode
        return Leg(symbol, PositionSide.LONG if hedge_mode else PositionSide.BOTH)
