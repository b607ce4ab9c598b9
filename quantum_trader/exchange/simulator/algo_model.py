"""A conditional order: what the venue keeps about it until, and after, its trigger (BINANCE.md 8.3)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quantum_trader.domain.trading import Leg, PositionSide, Side

ZERO: Final = Decimal(0)
TRAILING: Final = "TRAILING_STOP_MARKET"
FINAL_STATUSES: Final = frozenset({"FINISHED", "CANCELED", "REJECTED", "EXPIRED"})


@dataclass(slots=True)
class AlgoOrder:
    """One conditional order; ``status`` as ``algoStatus`` in BINANCE.md 6.

    ``quantity`` (base asset) is 0 with ``close_position``, ``price`` 0 for the ``…_MARKET`` types.
    ``callback_rate`` in percent; ``extreme`` is the best price of a trailing order since it was
    activated (0 before). ``actual_order_id`` 0 until the plain order exists.
    """

    algo_id: int
    client_algo_id: str
    symbol: str
    side: Side
    position_side: PositionSide
    type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    trigger_price: Decimal
    working_type: str
    price_match: str
    close_position: bool
    price_protect: bool
    reduce_only: bool
    activate_price: Decimal
    callback_rate: Decimal
    self_trade_prevention: str
    good_till_ms: int
    created_ms: int
    updated_ms: int
    status: str = "NEW"
    triggered_ms: int = 0
    actual_order_id: int = 0
    actual_price: Decimal = ZERO
    actual_quantity: Decimal = ZERO
    reject_reason: str = ""
    extreme: Decimal = ZERO

    @property
    def leg(self) -> Leg:
        """The position that the order is about."""
        return Leg(self.symbol, self.position_side)

    @property
    def is_final(self) -> bool:
        """Whether nothing more can become of it."""
        return self.status in FINAL_STATUSES

    @property
    def is_market(self) -> bool:
        """Whether its plain order is MARKET, as against LIMIT."""
        return self.type.endswith("_MARKET")

    @property
    def plain_type(self) -> str:
        """Type of the order that the trigger makes."""
        return "MARKET" if self.is_market else "LIMIT"

    def is_hit(self, low: Decimal, high: Decimal) -> bool:
        """Whether a price that moved between ``low`` and ``high`` fulfils a fixed trigger."""
        stops = self.type.startswith("STOP")
        rises = stops is (self.side is Side.BUY)  # STOP buys and TAKE_PROFIT sells above
        return high >= self.trigger_price if rises else low <= self.trigger_price

    def trails(self, low: Decimal, high: Decimal, last: Decimal) -> bool:
        """Follow the price with a trailing order; True once it has come back far enough."""
        best = low if self.side is Side.BUY else high
        if not self.extreme:
            reached = (best - self.activate_price) * self.side.sign <= 0
            if not reached:
                return False
            self.extreme = best
        self.extreme = min(self.extreme, best) if self.side is Side.BUY else max(self.extreme, best)
        turn = self.extreme * (1 + self.side.sign * self.callback_rate / 100)
        return (last - turn) * self.side.sign >= 0
