"""What producers see: the configuration in force, and what the engine last read. They change none of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from quantum_trader.config import Config
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.evidence import Reading
from quantum_trader.domain.trading import Account, Positions
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.market.live import LiveMarket
from quantum_trader.positions.ledger import Ledger
from quantum_trader.positions.live import LiveAccount
from quantum_trader.stores.lease import Lease

ACCOUNT_AGE_MS_MAX = 30_000

T = TypeVar("T")


class InForce(Protocol):
    """Holds the configuration in force; it is asked anew at every turn."""

    @property
    def config(self) -> Config:
        """The configuration of this moment."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """The engine's readings, each with its time and source."""

    in_force: InForce
    account: LiveAccount
    market: LiveMarket
    ledger: Ledger
    lease: Lease
    clock: Clock

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.in_force.config

    def positions(self) -> Reading[Positions] | None:
        """Return the live positions, unless they were never read or are too old to judge by."""
        return self._fresh(self.account.positions, self.config.gates.position_sanity.stale_s * 1000)

    def balances(self) -> Reading[Account] | None:
        """Return the balances, unless they were never read or are older than 30 s."""
        return self._fresh(self.account.account, ACCOUNT_AGE_MS_MAX)

    async def read_positions(self) -> Reading[Positions] | None:
        """Return the live positions, read anew where they are too old; None where that fails."""
        if self.positions() is None:
            try:
                await self.account.refresh_positions()
            except ExchangeError:
                return None  # says itself, through the chore that reads positions
        return self.positions()

    def _fresh(self, reading: Reading[T] | None, age_ms_max: int) -> Reading[T] | None:
        if reading is None or self.clock.now_ms() - reading.read_at_ms > age_ms_max:
            return None
        return reading
