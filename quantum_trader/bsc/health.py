"""How well BSC sees: OK, DEGRADED, BLIND; and what it may do: CONTROLLER or OBSERVER (SPEC 10)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from quantum_trader.bsc import limits


class State(StrEnum):
    """Whether the last polls saw the account."""

    OK = "OK"
    DEGRADED = "DEGRADED"
    BLIND = "BLIND"


class Authority(StrEnum):
    """CONTROLLER closes; OBSERVER only reports."""

    CONTROLLER = "CONTROLLER"
    OBSERVER = "OBSERVER"


def state_of(failures_in_a_row: int) -> State:
    """Return what so many failed polls in a row amount to."""
    if failures_in_a_row == 0:
        return State.OK
    return State.BLIND if failures_in_a_row >= limits.BLIND_AFTER_POLLS else State.DEGRADED


@dataclass(frozen=True, slots=True)
class Health:
    """What ``quantum:bsc:health`` says; times in ms, ``last_good_poll_ms`` None before the first."""

    state: State
    authority: Authority
    days_left: float
    last_good_poll_ms: int | None
    cycle: int

    def as_fields(self) -> dict[str, object]:
        """Return the fields of the JSON."""
        return {
            "state": self.state.value,
            "authority": self.authority.value,
            "days_left": self.days_left,
            "last_good_poll_ms": self.last_good_poll_ms,
            "cycle": self.cycle,
        }
