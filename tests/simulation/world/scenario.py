"""What a seed stands for: limits, market, and which things go wrong how often.

Each seed enables a random part of the faults (swarm testing): a world where everything fails all
the time never gets far enough to fail in interesting ways.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from quantum_trader.config import Config

SYMBOLS = ("XRPUSDT", "ADAUSDT", "DOGEUSDT", "SOLUSDT", "LTCUSDT", "LINKUSDT", "DOTUSDT", "TRXUSDT")
REGIMES = ("trend_strong", "base", "chop")

EVENTS = (
    "crash",
    "pause",
    "second_engine",
    "redis_restart",
    "redis_failover",
    "exchange_down",
    "kill_opens",
    "kill_all",
    "kill_garbage",
    "latch",
    "disarm",
    "foreign_order",
    "leverage_by_hand",
    "clock_skew",
    "policy",
    "price_shock",
)


@dataclass(frozen=True)
class Scenario:
    """Everything about one seed that is drawn before it begins; durations in s, chances in [0, 1]."""

    seed: int
    plans: int
    faults: bool
    gates: dict[str, Any]
    auto_disarm: dict[str, Any]
    regimes: dict[str, str]
    balance_usdt: Decimal
    depth_usdt: Decimal | None
    clamps_reduce_only: bool
    hedge_mode: bool
    not_placed_lag_s: int
    gap_s: float
    redis_latency_s: float
    exchange_latency_s: float
    redis_fault_share: float = 0.0
    order_fault_share: float = 0.0
    read_fault_share: float = 0.0
    late_fill_share: float = 0.0
    stale_reads: bool = False
    event_gap_s: float = 0.0
    events: tuple[str, ...] = ()
    exit_share: float = 0.4
    again_share: float = 0.03
    malformed_share: float = 0.03
    bursts: bool = False
    notes: dict[str, Any] = field(default_factory=dict)

    def config(self, state_dir: Path) -> Config:
        """Return the engine's configuration."""
        return Config(
            mode="testnet",  # type: ignore[arg-type]
            symbols=SYMBOLS,
            state_dir=state_dir,
            redis={"url": "redis://simulated"},  # type: ignore[arg-type]
            exchange={"rest_url": "http://simulated", "not_placed_lag_s": self.not_placed_lag_s},  # type: ignore[arg-type]
            gates=self.gates,  # type: ignore[arg-type]
            auto_disarm=self.auto_disarm,  # type: ignore[arg-type]
            bsc={"enabled": False},  # type: ignore[arg-type]
        )


def draw(seed: int, plans: int, *, faults: bool = True) -> Scenario:
    """Return the scenario of ``seed``."""
    rng = random.Random(f"{seed}:scenario")
    usual = Scenario(
        seed=seed,
        plans=plans,
        faults=faults,
        gates=_gates(rng),
        auto_disarm={"burst_denials": rng.choice((10, 100)), "window_s": 60},
        regimes={symbol: rng.choice(REGIMES) for symbol in SYMBOLS},
        balance_usdt=Decimal(rng.choice((100, 200, 1_000, 10_000))),
        depth_usdt=rng.choice((None, None, Decimal(150), Decimal(600))),
        clamps_reduce_only=rng.random() < 0.7,
        hedge_mode=rng.random() < 0.15,
        not_placed_lag_s=rng.choice((1, 3, 10)),
        gap_s=rng.choice((0.03, 0.1, 0.3)),
        redis_latency_s=rng.choice((0.0005, 0.002)),
        exchange_latency_s=rng.choice((0.005, 0.03)),
        exit_share=rng.choice((0.3, 0.45)),
        bursts=rng.random() < 0.4,
    )
    return _with_faults(usual, rng) if faults else usual


def _gates(rng: random.Random) -> dict[str, Any]:
    return {
        "rate_limit": {
            "per_symbol_s": rng.choice((0, 0, 1, 5)),
            "global_per_min": rng.choice((20, 60, 300, 300)),
            "per_symbol_5min_max": rng.choice((4, 30, 300)),
            "per_symbol_hour_max": rng.choice((12, 300, 300)),
            "global_cooldown_s": rng.choice((0, 0, 1, 5)),
            "exits_per_min": rng.choice((60, 600)),
        },
        "margin_guard": {
            "symbol_cooldown_s": rng.choice((0, 2, 10)),
            "global_cooldown_s": rng.choice((0, 0, 1, 5)),
            "safe_mode_s": rng.choice((0, 2, 10)),
            "usage_max": rng.choice(("0.65", "0.3")),
        },
        "fund_caps": {
            "max_open_positions": rng.choice((2, 3, 5, 10)),
            "max_total_notional_usdt": rng.choice((300, 800, 2000)),
            "symbol_cooldown_s": rng.choice((0, 0, 1, 10)),
        },
        "active_slots": {
            "base": rng.choice((2, 3, 4)),
            "trend_strong": rng.choice((3, 5, 6)),
            "chop": rng.choice((2, 3)),
            "rotation_timeout_s": rng.choice((5, 30)),
        },
        "position_sanity": {"cooldown_s": rng.choice((0, 0, 1, 15)), "allow_add": rng.random() < 0.2},
        "exchange_sizing": {"allow_upsize": rng.random() < 0.2},
    }


def _with_faults(usual: Scenario, rng: random.Random) -> Scenario:
    enabled = tuple(event for event in EVENTS if rng.random() < 0.3)
    changes: dict[str, Any] = {
        "redis_fault_share": rng.choice((0, 0, 0.003, 0.02)),
        "order_fault_share": rng.choice((0, 0.05, 0.3)),
        "read_fault_share": rng.choice((0, 0.01, 0.1)),
        "late_fill_share": rng.choice((0, 0.1, 0.5)),
        "stale_reads": rng.random() < 0.3,
        "event_gap_s": rng.choice((1.5, 4.0, 12.0)),
        "events": enabled,
    }
    return Scenario(**{**usual.__dict__, **changes})
