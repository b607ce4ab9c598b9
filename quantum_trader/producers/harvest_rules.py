"""When a position should go, and how much of it (SPEC 9). Pure: numbers in, numbers out.

R_net says how many times its risk a position has earned after costs; K, between 0 and 1, how little
there is left to hold it for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal

from quantum_trader.config_tables import HarvestTable
from quantum_trader.domain.plan import Action
from quantum_trader.domain.trading import ZERO, Position
from quantum_trader.market.tendencies import Tendencies

ONE = Decimal(1)
BPS = Decimal(10_000)
DAY_MS = 86_400_000
SIGMA_USUAL = Decimal("0.01")
SIGMA_SPIKE_MAX = Decimal(2)
TS_USUAL = Decimal("0.3")
TS_DROP_MAX = Decimal("0.5")
P_TREND_MIN = Decimal("0.3")
P_OTHERS_MIN = Decimal("0.5")
FOUR_PLACES = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the profit ladder."""

    r_net: int
    action: Action


LADDER = (Rung(2, Action.PARTIAL_25), Rung(4, Action.PARTIAL_50), Rung(6, Action.PARTIAL_75))


def r_net_of(held: Position, table: HarvestTable) -> Decimal | None:
    """Return R_net = (uPnL per unit − cost) / (entry × stop_pct); None without an entry price.

    The profit of a unit is reckoned from entry and mark, so it is the same whatever the size.
    """
    if held.entry_price <= 0:
        return None
    profit = held.mark_price - held.entry_price if held.amount > 0 else held.entry_price - held.mark_price
    cost = held.entry_price * table.cost_bps / BPS
    return (profit - cost) / (held.entry_price * table.stop_pct)


def rung_reached(r_net: Decimal | None, done: Collection[int]) -> Rung | None:
    """Return the highest rung that ``r_net`` has reached, if it and all above it are still to be done.

    A price that jumps over rungs takes the highest one only; those below count as done with it.
    """
    if r_net is None:
        return None
    reached = [rung for rung in LADDER if r_net >= rung.r_net]
    if not reached or any(number >= reached[-1].r_net for number in done):
        return None
    return reached[-1]


def kill_score(inputs: Tendencies, age_ms: int, table: HarvestTable) -> Decimal:
    """Return K = sigmoid(1.0·regime_flip + 0.5·sigma_spike + 0.5·ts_drop + 0.3·age)."""
    flipped = inputs.p_trend < P_TREND_MIN and inputs.p_chop + inputs.p_mr > P_OTHERS_MIN
    weighted = (
        table.weight_regime_flip * (ONE if flipped else ZERO)
        + table.weight_sigma_spike * _clip(inputs.sigma / SIGMA_USUAL - 1, SIGMA_SPIKE_MAX)
        + table.weight_ts_drop * _clip(TS_USUAL - inputs.ts, TS_DROP_MAX)
        + table.weight_age * _clip(Decimal(age_ms) / DAY_MS, ONE)
    )
    return ONE / (ONE + (-weighted).exp())


def rounded(number: Decimal | None) -> Decimal | None:
    """Return ``number`` with the four places that are published; None for None."""
    return number.quantize(FOUR_PLACES) if number is not None else None


def _clip(number: Decimal, upper: Decimal) -> Decimal:
    return min(max(number, ZERO), upper)
