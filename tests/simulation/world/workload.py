"""Plans as strategies of all kinds would send them: good ones, wrong ones, late ones, the same ones again."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from simulation.world.scenario import SYMBOLS, Scenario

from quantum_trader.domain.trading import Leg, PositionSide
from quantum_trader.exchange.simulator.model import Account
from quantum_trader.exchange.simulator.symbols import SYMBOLS as SPECS

SPOILS: tuple[dict[str, str], ...] = (
    {"qty": "a lot"},
    {"qty": "-1"},
    {"qty": ""},
    {"side": "LONG"},
    {"symbol": "NOPEUSDT"},
    {"symbol": "BTCUSDT"},
    {"reduceOnly": "maybe"},
    {"reduceOnly": ""},
    {"decision": "HOLD"},
    {"decision": ""},
    {"type": "LIMIT"},
    {"action": "PARTIAL_33"},
    {"confidence": "high"},
    {"leverage": "2.5"},
    {"leverage": "25"},
    {"kill_score": "0.93"},
    {"venue": "kraken"},
    {"timestamp": "yesterday"},
    {"timestamp": "1700000000"},
    {"plan_id": ""},
)
ACTIONS = ("FULL_CLOSE_PROPOSED", "PARTIAL_75", "PARTIAL_50", "PARTIAL_25")


class Workload:
    """Makes one plan after another; ``price_of`` tells the market price of a symbol in USDT."""

    def __init__(self, scenario: Scenario, account: Account, price_of: Callable[[str], Decimal]) -> None:
        self._scenario = scenario
        self._rng = random.Random(f"{scenario.seed}:workload")
        self._account = account
        self._price_of = price_of
        self._sent: list[dict[str, str]] = []

    def pause_s(self) -> float:
        """How long until the next plan."""
        gap_s = self._scenario.gap_s
        if self._scenario.bursts and self._rng.random() < 0.6:
            return 0.0
        return self._rng.expovariate(1 / (gap_s * (2.5 if self._scenario.bursts else 1)))

    def next(self) -> dict[str, str]:
        """Return the fields of one entry."""
        rng = self._rng
        if self._sent and rng.random() < self._scenario.again_share:
            return self._again()
        held = [leg for leg, holding in self._account.positions.items() if holding.amount]
        wants_exit = rng.random() < self._scenario.exit_share
        plan = self._exit(held) if wants_exit else self._open({leg.symbol for leg in held})
        plan["plan_id"] = f"p{self._scenario.seed}-{len(self._sent)}"
        plan["decision"] = "EXECUTE"
        if rng.random() < self._scenario.malformed_share:
            plan |= rng.choice(SPOILS)
        self._sent.append(plan)
        return plan

    def _again(self) -> dict[str, str]:
        """The same plan once more, or another one under its id."""
        plan = dict(self._rng.choice(self._sent[-40:]))
        if self._rng.random() < 0.5:
            plan["qty"] = self._quantity(self._rng.choice(SYMBOLS))
        return plan

    def _open(self, taken: set[str]) -> dict[str, str]:
        rng = self._rng
        free = [symbol for symbol in SYMBOLS if symbol not in taken]
        symbol = rng.choice(free if free and rng.random() < 0.8 else SYMBOLS)
        plan = {
            "symbol": symbol,
            "side": rng.choice(("BUY", "SELL")),
            "qty": self._quantity(symbol),
            "reduceOnly": "false",
        }
        if rng.random() < 0.3:
            plan["action"] = rng.choice(("OPEN", "ENTRY_PROPOSED"))
        if rng.random() < 0.5:
            plan["confidence"] = str(round(rng.uniform(0.3, 1), 2))
        if rng.random() < 0.1:
            plan["leverage"] = str(rng.choice((2, 5, 10)))
        return plan

    def _exit(self, held: list[Leg]) -> dict[str, str]:
        rng = self._rng
        if not held or rng.random() < 0.1:
            symbol = rng.choice(SYMBOLS)
            return {"symbol": symbol, "side": "SELL", "qty": self._quantity(symbol), "reduceOnly": "true"}
        leg = rng.choice(sorted(held))
        amount = self._account.amount(leg)
        plan: dict[str, str] = {
            "symbol": leg.symbol,
            "side": "SELL" if amount > 0 else "BUY",
            "reduceOnly": "true",
        }
        if leg.side is not PositionSide.BOTH:
            plan["positionSide"] = leg.side.value
        style = rng.random()
        if style < 0.5:
            plan |= {"action": rng.choice(ACTIONS), "qty": "0", "side": "CLOSE"}
        elif style < 0.6:
            plan |= {"action": "FULL_CLOSE_PROPOSED", "qty": "0"}
        else:
            share = Decimal(rng.choice(("0.2", "0.5", "1", "1", "1.5", "3")))
            plan["qty"] = f"{abs(amount) * share:f}"
        if rng.random() < 0.1:
            plan["kill_score"] = "0.95"
        return plan

    def _quantity(self, symbol: str) -> str:
        rng = self._rng
        notional = Decimal(rng.choice((3, 8, 20, 40, 60, 90, 120, 150, 180, 198, 230)))
        quantity = notional / self._price_of(symbol)
        step = SPECS[symbol].step
        if rng.random() < 0.8:
            quantity = quantity // step * step
        return f"{quantity:.8f}"


def entry_of(plan: dict[str, str]) -> list[bytes]:
    """Return the flat fields of a stream entry."""
    flat: list[Any] = [part for pair in plan.items() for part in pair]
    return [part.encode() for part in flat]
