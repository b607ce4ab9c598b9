"""The facts that gates may ask for: one line each, with the type of its value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from msgspec import Struct

from quantum_trader.domain.evidence import Fact
from quantum_trader.domain.exposure import ClaimedExposure
from quantum_trader.domain.trading import Account, Leg, Positions, SymbolRules


class Latches(Struct, frozen=True, gc=False):
    """Stops that outlive a restart (SPEC 2): set ones are true or named."""

    safe_mode: bool = False
    cooldown_global: bool = False
    cooldown_symbols: frozenset[str] = frozenset()
    disarmed: str = ""


class BscHealth(Struct, frozen=True, gc=False):
    """What BSC last wrote of itself; empty strings where nothing is known."""

    required: bool
    state: str = ""
    authority: str = ""
    last_good_poll_ms: int | None = None
    days_left: float | None = None


class PlanHistory(Struct, frozen=True, gc=False):
    """What is known of this plan id from before: its state and an order it already has.

    ``state`` is "" for a plan never seen, else claimed, parked or terminal.
    ``prior_order_ms`` is when the exchange or the archive first knew an order of this plan id.
    """

    state: str = ""
    prior_order_ms: int | None = None


class RateCounts(Struct, frozen=True, gc=False):
    """When opens were claimed, ms since the epoch, ascending: of the symbol and of all."""

    symbol_ms: tuple[int, ...] = ()
    global_ms: tuple[int, ...] = ()


class Policy(Struct, frozen=True, gc=False):
    """``quantum:policy:current`` as read; ``problem`` says why it cannot be used, if so."""

    universe: frozenset[str] = frozenset()
    version: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Regime:
    """Trend and volatility of a symbol from closed 1 h candles (SPEC 6.2)."""

    trend: Decimal
    atr_pct: Decimal
    candles: int


class Holding(Struct, frozen=True, gc=False):
    """What the ledger knows of a live position: since when (ms), with which confidence, whether ours."""

    opened_at_ms: int
    confidence: Decimal | None
    is_ours: bool


@dataclass(frozen=True, slots=True)
class RotationUnderWay:
    """The one rotation of the moment: the slot being freed belongs to ``new_plan_id`` (SPEC 6.7)."""

    new_plan_id: str
    new_symbol: str
    close_symbol: str
    created_at_ms: int = 0


KILL: Fact[str] = Fact("kill")
LATCHES: Fact[Latches] = Fact("latches")
LEADER: Fact[bool] = Fact("leader")
BSC: Fact[BscHealth] = Fact("bsc")
CLOCK_OFFSET_MS: Fact[int] = Fact("clock_offset_ms")
KEYS_ACCEPTED: Fact[bool] = Fact("keys_accepted")
PLAN_HISTORY: Fact[PlanHistory] = Fact("plan_history")
RATES: Fact[RateCounts] = Fact("rates")
POSITIONS: Fact[Positions] = Fact("positions")
HEDGE_MODE: Fact[bool] = Fact("hedge_mode")
ACCOUNT: Fact[Account] = Fact("account")
LEVERAGE: Fact[int] = Fact("leverage")
LEVERAGES: Fact[Mapping[str, int]] = Fact("leverages")
RULES: Fact[SymbolRules | None] = Fact("rules")
MARK_PRICE: Fact[Decimal] = Fact("mark_price")
CLAIMS: Fact[tuple[ClaimedExposure, ...]] = Fact("claims")
CLAIMED_MARGIN_USDT: Fact[Decimal] = Fact("claimed_margin_usdt")
LEDGER: Fact[Mapping[Leg, Decimal]] = Fact("ledger")
LAST_OPEN_MS: Fact[int | None] = Fact("last_open_ms")
POLICY: Fact[Policy] = Fact("policy")
REGIME: Fact[Regime] = Fact("regime")
HOLDINGS: Fact[Mapping[Leg, Holding]] = Fact("holdings")
EXITS_IN_FLIGHT: Fact[frozenset[str]] = Fact("exits_in_flight")
ROTATION: Fact[RotationUnderWay | None] = Fact("rotation")
CORRELATIONS: Fact[Mapping[str, Decimal]] = Fact("correlations")
