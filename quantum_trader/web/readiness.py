"""Whether work gets done: not "the process is up" but every fact that a plan needs (INC-83).

Each check says what is wrong and the cure. Checks read memory alone; what a dead Redis or exchange
leaves behind is a reading that grows old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from quantum_trader.bsc.health import Authority, State
from quantum_trader.domain.evidence import Reading
from quantum_trader.joining import Joined
from quantum_trader.web.view import EngineView

STATUS_AGE_MS_MAX = 5_000
OPERATOR_AGE_MS_MAX = 5_000
POSITIONS_AGE_MS_MAX = 15_000
ACCOUNT_AGE_MS_MAX = 30_000
MARKS_AGE_MS_MAX = 15_000
LOOP_LAG_S_MAX = 2.0
STALL_MS = 60_000

DOCTOR = "run `quantum-trader doctor`"


@dataclass(frozen=True, slots=True)
class Check:
    """One fact that plans need; ``problem`` "" when it holds."""

    name: str
    problem: str
    cure: str = ""

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return not self.problem

    def as_fields(self) -> dict[str, Any]:
        """Return the check as /readyz shows it."""
        told = {} if self.ok else {"problem": self.problem, "cure": self.cure}
        return {"check": self.name, "ok": self.ok, **told}


def checks(view: EngineView) -> list[Check]:
    """Return every check, in the order in which an operator would look."""
    joined = view.joined
    if joined is None:
        waiting = "the engine has no account, no lease or no first reading yet"
        return [Check("started", waiting, f"wait some seconds, then {DOCTOR}")]
    return [Check("started", ""), *(check(view, joined) for check in CHECKS)]


def first_problem(found: Iterable[Check]) -> Check | None:
    """Return the first check that fails."""
    return next((check for check in found if not check.ok), None)


def _redis(view: EngineView, joined: Joined) -> Check:
    operator, now_ms = joined.consumer.operator, view.clock.now_ms()
    cure = "see that Redis runs and answers, and that redis.url is right"
    if not joined.consumer.connected or operator is None:
        return Check("redis", "the plan stream cannot be read", cure)
    age_ms = now_ms - operator.read_at_ms
    late = f"the operator's keys were read {age_ms} ms ago" if age_ms > OPERATOR_AGE_MS_MAX else ""
    return Check("redis", late, cure)


def _lease(_: EngineView, joined: Joined) -> Check:
    held = joined.lease.is_held
    return Check("lease", "" if held else "this engine does not hold the lease", "stop the other engine")


def _keys(_: EngineView, joined: Joined) -> Check:
    refused = "" if joined.rooms.keys.is_complete else "the exchange refuses the API key"
    return Check("api_key", refused, f"{DOCTOR}: permissions, IP allowlist, mode")


def _clock(_: EngineView, joined: Joined) -> Check:
    measured = joined.rooms.server_clock.is_measured
    return Check("clock_offset", "" if measured else "not measured", "see that the exchange can be reached")


def _positions(view: EngineView, joined: Joined) -> Check:
    return _fresh(view, "positions", joined.rooms.account.positions, POSITIONS_AGE_MS_MAX)


def _account(view: EngineView, joined: Joined) -> Check:
    return _fresh(view, "account", joined.rooms.account.account, ACCOUNT_AGE_MS_MAX)


def _marks(view: EngineView, joined: Joined) -> Check:
    return _fresh(view, "mark_prices", joined.rooms.market.newest_marks, MARKS_AGE_MS_MAX)


def _rules(_: EngineView, joined: Joined) -> Check:
    known = joined.rooms.market.rules is not None
    return Check("trading_rules", "" if known else "never read", "see that the exchange can be reached")


def _fresh(view: EngineView, name: str, reading: Reading[Any] | None, age_ms_max: int) -> Check:
    cure = f"see that the exchange can be reached; {DOCTOR}"
    if reading is None:
        return Check(name, "never read", cure)
    age_ms = reading.age_ms(view.clock.now_ms())
    return Check(name, f"read {age_ms // 1000} s ago" if age_ms > age_ms_max else "", cure)


def _bsc(_: EngineView, joined: Joined) -> Check:
    operator = joined.consumer.operator
    if operator is None or not operator.bsc.required:
        return Check("bsc", "")
    health = operator.bsc
    if health.state in ("", State.BLIND.value):
        told = "BSC is blind" if health.state else "BSC does not report"
        return Check("bsc", told, "see `quantum-trader bsc status`; start `quantum-trader bsc run`")
    demoted = health.authority == Authority.OBSERVER.value
    return Check("bsc", "BSC is demoted" if demoted else "", "run `quantum-trader bsc extend`")


def _plans_move(view: EngineView, joined: Joined) -> Check:
    """Plans wait and none has ended for a minute: nothing gets done, whatever else looks well."""
    waiting, last_ms = view.waiting, view.feed.last_plan_ms or view.attached_ms
    since_ms = view.clock.now_ms() - max(last_ms, view.waiting_since_ms or 0)
    stalled = waiting > 0 and view.waiting_since_ms is not None and since_ms > STALL_MS
    told = f"{waiting} plans wait and none has ended for {since_ms // 1000} s" if stalled else ""
    del joined
    return Check("plans_move", told, "read the engine's last log lines, then restart it")


def _status(view: EngineView, _: Joined) -> Check:
    latest = view.status
    age_ms = view.clock.now_ms() - latest["timestamp"] if latest else None
    late = age_ms is None or age_ms > STATUS_AGE_MS_MAX
    return Check("upkeep", "its chores are late" if late else "", "see that Redis answers; read the log")


def _loop(view: EngineView, _: Joined) -> Check:
    lag_s = view.loop_lag.longest_s
    late = f"it was blocked for {lag_s:.1f} s" if lag_s > LOOP_LAG_S_MAX else ""
    return Check("event_loop", late, "the machine is overloaded, or a call blocks: look at its load")


CHECKS: tuple[Callable[[EngineView, Joined], Check], ...] = (
    _redis,
    _lease,
    _keys,
    _clock,
    _positions,
    _account,
    _marks,
    _rules,
    _bsc,
    _status,
    _plans_move,
    _loop,
)
