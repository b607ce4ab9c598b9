"""One request after it was authenticated, and the entry of a routing table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from quantum_trader.exchange.simulator.limits import RateLimits
from quantum_trader.exchange.simulator.model import Account
from quantum_trader.exchange.simulator.parameters import Params, required
from quantum_trader.exchange.simulator.symbols import SymbolSpec
from quantum_trader.exchange.simulator.venue import Venue


class Security(Enum):
    """What a request must carry (BINANCE.md 2)."""

    NONE = "NONE"
    KEY = "KEY"
    SIGNED = "SIGNED"


@dataclass(frozen=True, slots=True)
class Distortion:
    """How faults bend the execution of one request; see faults.py. Durations in ms."""

    hide_order_ms: int = 0
    stale_ms: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A request that may be answered. ``params`` are query and body merged."""

    venue: Venue
    limits: RateLimits
    params: Params
    now_ms: int
    caller: Account | None = None
    distortion: Distortion = field(default_factory=Distortion)

    @property
    def account(self) -> Account:
        """The account of the API key; routes that need one are never reached without."""
        assert self.caller is not None  # noqa: S101 -- guaranteed by the route's security
        return self.caller

    def spec(self, name: str = "symbol") -> SymbolSpec:
        """The symbol named by a mandatory parameter; -1102, -1121."""
        return self.venue.spec(required(self.params, name))


Weight = int | Callable[[Params], int]
Required = tuple[str, ...] | Callable[[Params], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Route:
    """How one method and path is answered; ``order_cost`` is what it takes of the order budgets.

    The cost is (in ten seconds, in a minute), as BINANCE.md 8.2 names it.
    """

    security: Security
    handler: Callable[[Call], Any]
    weight: Weight = 1
    required: Required = ()
    order_cost: tuple[int, int] | None = None

    def weight_of(self, params: Params) -> int:
        """The request's weight (BINANCE.md 8)."""
        return self.weight if isinstance(self.weight, int) else self.weight(params)

    def required_of(self, params: Params) -> tuple[str, ...]:
        """The parameters without which the request is not even authenticated (BINANCE.md 7, step 2)."""
        return self.required if isinstance(self.required, tuple) else self.required(params)
