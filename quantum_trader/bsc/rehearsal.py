"""Fail open, shown rather than said: reads that fail in every place, over a position that would go.

BSC's own watch runs on a stage where the account holds a position far beyond the loss limit, and
the exchange gives no answer, or half of one. It must close nothing, and go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

from quantum_trader.bsc.exits import Breach, Reading, breaches_of
from quantum_trader.bsc.health import Authority, State
from quantum_trader.bsc.opened import Openings
from quantum_trader.bsc.reading import look, still_stands
from quantum_trader.bsc.watchdog import Watchdog
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.order import AccountTrade, ExitOrder, NotSent, Outcome
from quantum_trader.domain.trading import Leg, QuantityLimits
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.margin_reads import CrossMargin, MarginPosition, PastOrder

READS = ("positions", "cross_margin", "trades")
_LOST = Decimal(-50)


@dataclass
class _Stage:
    """An exchange that fails in ``failing`` and counts the orders it is sent."""

    failing: frozenset[str]
    unrealized_pnl_usdt: Decimal = _LOST
    orders_sent: int = 0
    age_s: float | None = 0.0
    reads: Any = field(init=False)
    exits: Any = field(init=False)
    clock: Any = field(init=False)

    def __post_init__(self) -> None:
        self.reads = self.exits = self.clock = self

    async def positions(self) -> Sequence[MarginPosition]:
        self._answer("positions")
        position = MarginPosition(
            leg=Leg("STAGEUSDT"),
            amount=Decimal(1),
            entry_price=Decimal(100),
            unrealized_pnl_usdt=self.unrealized_pnl_usdt,
            maintenance_usdt=Decimal(1),
            isolated_wallet_usdt=Decimal(0),
            is_isolated=False,
            update_time_ms=0,
        )
        return (position,)

    async def cross_margin(self) -> CrossMargin:
        self._answer("cross_margin")
        return CrossMargin(Decimal(1_000), self.unrealized_pnl_usdt)

    async def trades(self, symbol: str, since_ms: int) -> Sequence[AccountTrade]:
        del symbol, since_ms
        self._answer("trades")
        return ()

    async def orders(self, since_ms: int, until_ms: int) -> Sequence[PastOrder]:
        del since_ms, until_ms
        return ()

    async def market_quantity(self, symbol: str) -> QuantityLimits:
        raise ExchangeError(symbol, "not on this stage")

    async def reduce_position(self, order: ExitOrder) -> Outcome:
        del order
        self.orders_sent += 1
        return NotSent("a stage has no exchange")

    async def cancel_open_orders(self, symbol: str) -> None:
        raise ExchangeError(symbol, "not on this stage")

    def signing_time_ms(self) -> int:
        return 0

    async def measure(self) -> int:
        return 0

    async def resync(self) -> bool:
        return True

    def _answer(self, read: str) -> None:
        if read in self.failing:
            raise ExchangeError(read, "rehearsed failure")


class _Listener:
    """Takes what the watch tells of a poll."""

    authority = Authority.CONTROLLER
    good: bool = False

    async def begin(self, *, closes: bool) -> None:
        del closes

    async def tell(
        self, reading: Reading | None, breaches: Sequence[Breach], problems: Sequence[str]
    ) -> State:
        del breaches
        self.good = reading is not None and not problems
        return State.OK if self.good else State.DEGRADED

    def event(self, *_: object, **__: object) -> None:
        return

    def health(self, _: object) -> None:
        return


async def rehearse(clock: Clock) -> tuple[list[str], list[dict[str, Any]]]:
    """Run every failure; return what went wrong, and the evidence."""
    problems, evidence = [], []
    for failing in (
        frozenset({"positions"}),
        frozenset({"cross_margin"}),
        frozenset({"positions", "cross_margin"}),
    ):
        stage, listener = _Stage(failing), _Listener()
        watchdog = Watchdog(lambda stage=stage: stage, listener, listener, clock, closes=True)  # type: ignore[misc]
        states = [await watchdog.poll() for _ in range(2)]
        name = " and ".join(sorted(failing))
        if stage.orders_sent or listener.good:
            problems.append(f"without {name}: {stage.orders_sent} orders sent, good={listener.good}")
        evidence.append(
            {"failing": name, "polls": [state.value for state in states], "orders": stage.orders_sent}
        )
    stage = _Stage(frozenset({"trades"}), unrealized_pnl_usdt=Decimal(0))
    seen = await look(stage, Openings(stage.trades, partial(still_stands, stage)))
    due = breaches_of(seen.reading)
    if due or not seen.problems:
        problems.append(f"without trades: {len(due)} breaches, problems {list(seen.problems)}")
    evidence.append({"failing": "trades", "breaches": len(due), "problems": list(seen.problems)})
    return problems, evidence
