"""Faults by the clock: a file says which rule comes into force how long after the start (SPEC 14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.simulator.faults import RULES_MAX, FaultRule, Faults


class FaultScheduleError(ValueError):
    """A schedule that cannot be used; the text names the file and the trouble."""


@dataclass(frozen=True, slots=True)
class ScheduledFault:
    """``rule`` comes into force ``at_s`` seconds after the start."""

    at_s: float
    rule: FaultRule


def read_schedule(path: Path) -> tuple[ScheduledFault, ...]:
    """The faults of a JSON file: a list of rules as ``POST /sim/faults`` takes them, each with ``at_s``.

    Returned in the order of their times. Raises ``FaultScheduleError``.
    """
    try:
        rows = orjson.loads(path.read_bytes())
        faults = [_scheduled(row) for row in rows]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FaultScheduleError(f"{path}: {type(error).__name__}: {error}") from error
    if len(faults) > RULES_MAX:
        raise FaultScheduleError(f"{path}: no more than {RULES_MAX} rules, not {len(faults)}")
    return tuple(sorted(faults, key=lambda fault: fault.at_s))


def _scheduled(row: dict[str, Any]) -> ScheduledFault:
    at_s = float(row["at_s"])
    if not 0 <= at_s < float("inf"):
        raise ValueError(f"at_s must be a time after the start, not {at_s}")
    return ScheduledFault(at_s, FaultRule.from_json({k: v for k, v in row.items() if k != "at_s"}))


async def carry_out(schedule: Sequence[ScheduledFault], faults: Faults, clock: Clock) -> None:
    """Put each rule in force when its time has come, counted from now."""
    begun_s = clock.monotonic_s()
    for fault in schedule:
        await clock.sleep(max(0.0, begun_s + fault.at_s - clock.monotonic_s()))
        faults.add(fault.rule)
