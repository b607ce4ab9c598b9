"""How an embedded exchange is set up."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from quantum_trader.exchange.simulator.execution import TradingTerms
from quantum_trader.exchange.simulator.limits import RateLimits


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """One account: keys, and the USDT it starts with when no saved state knows it.

    With ``public_key_pem`` (Ed25519 or RSA) signatures are checked by it instead of the secret.
    """

    api_key: str
    api_secret: str = field(default="", repr=False)
    balance_usdt: Decimal = Decimal(10_000)
    public_key_pem: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """Everything about an embedded exchange.

    ``port`` 0 takes a free one. ``symbols`` empty means all that are known. ``klines`` are files
    of candles (candles.py); symbols without one get the synthetic market of ``seed``. ``speed``
    is how many market milliseconds pass in a real one; the reported server time stays real.
    ``state_file`` keeps accounts over restarts, ``fault_schedule`` is a file of fault_schedule.py.
    ``admin`` opens ``/sim/…``, which sets prices, faults and the clock: never on by default.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    speed: Decimal = Decimal(1)
    accounts: tuple[AccountSettings, ...] = (AccountSettings("paper", "paper"),)
    symbols: tuple[str, ...] = ()
    klines: tuple[Path, ...] = ()
    state_file: Path | None = None
    fault_schedule: Path | None = None
    admin: bool = False
    spread_bps: Decimal = Decimal(1)
    terms: TradingTerms = field(default_factory=TradingTerms)
    limits: RateLimits = field(default_factory=RateLimits)
