"""One sentence that answers "why is nothing trading?": the first thing that stops opens, or what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quantum_trader.bsc.health import Authority, State
from quantum_trader.config import TradingMode
from quantum_trader.stores.operator_state import OperatorState
from quantum_trader.web.feed import words_of
from quantum_trader.web.readiness import Check, first_problem
from quantum_trader.web.view import EngineView

SPAN_MIN = 15
MINUTE_S = 60
IN_MINUTES_MAX = 120

GOOD, WAITING, STOPPED = "good", "waiting", "stopped"


def headline(view: EngineView, found: Sequence[Check]) -> dict[str, str]:
    """Return the sentence and how grave it is: good, waiting or stopped."""
    operator = view.joined.consumer.operator if view.joined is not None else None
    if operator is not None and operator.kill not in ("", "0"):
        return _told(STOPPED, _killed(view, operator.kill))
    problem = first_problem(found)
    if problem is not None:
        return _told(
            STOPPED, f"Not ready: {problem.name.replace('_', ' ')}: {problem.problem}. {problem.cure}."
        )
    stopped = _stop(view, operator) if operator is not None else ""
    if stopped:
        return _told(STOPPED, stopped)
    return _of_late(view)


def _killed(view: EngineView, kill: str) -> str:
    changed = view.events.last("KILL_SWITCH_CHANGED") or {}
    why = f" ({changed['reason']})" if changed.get("reason") and changed.get("kill") == kill else ""
    what = "nothing trades, exits included" if kill == "1" else "nothing opens, exits go on"
    return f"Halted by the kill switch{why}: {what}. Resume with a reason to go on."


def _stop(view: EngineView, operator: OperatorState) -> str:
    """Return what keeps every open from passing; "" if nothing does."""
    latches = operator.latches
    stops = (
        (
            latches.disarmed,
            f"Disarmed ({latches.disarmed}): nothing opens until an operator arms the engine.",
        ),
        (
            latches.safe_mode,
            f"Safe mode{_left(view, 'safe_mode')}: margin was short too often, nothing opens.",
        ),
        (latches.cooldown_global, f"Global cooldown{_left(view, 'cooldown_global')}: nothing opens."),
        (operator.policy.problem, f"No usable policy ({operator.policy.problem}): nothing opens."),
        (
            operator.bsc.required and operator.bsc.state in ("", State.BLIND.value),
            "BSC is required and does not see the account: nothing opens.",
        ),
        (
            operator.bsc.authority == Authority.OBSERVER.value,
            "BSC is demoted: nothing opens until `quantum-trader bsc extend`.",
        ),
    )
    return next((sentence for is_set, sentence in stops if is_set), "")


def _left(view: EngineView, name: str) -> str:
    operator = view.joined.consumer.operator if view.joined is not None else None
    found = view.latch_times.of(operator.latches) if operator is not None else []
    until_ms = next((latched.until_ms for latched in found if latched.name == name), None)
    return f" for {_duration(until_ms - view.clock.now_ms())} more" if until_ms is not None else ""


def _of_late(view: EngineView) -> dict[str, str]:
    """Nothing stops opens: say what the last plans came to."""
    span, now_ms = view.feed.span(SPAN_MIN), view.clock.now_ms()
    if span.plans == 0:
        since_ms = now_ms - (view.feed.last_plan_ms or view.attached_ms)
        return _told(WAITING, f"Ready; no plan has come for {_duration(since_ms)}. Submit one to trade.")
    if view.config.mode is TradingMode.DRY_RUN:
        return _told(WAITING, f"Dry run: {span.plans} plans were judged in {SPAN_MIN} minutes, none is sent.")
    if span.fills:
        return _told(
            GOOD,
            f"Trading: {_count(span.fills, 'order')} filled from {_count(span.plans, 'plan')} "
            f"in the last {SPAN_MIN} minutes.",
        )
    if not span.refusals:
        return _told(WAITING, f"Ready; {_count(span.plans, 'plan')} asked for nothing in {SPAN_MIN} minutes.")
    (gate, reason), count = span.refusals[0]
    meaning = words_of(reason)["meaning"]
    by = f"{gate}: {reason}" if gate else reason
    return _told(
        WAITING,
        f"Nothing was filled in the last {SPAN_MIN} minutes: {count} of {_count(span.plans, 'plan')} "
        f"ended by {by}. {meaning}",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _duration(span_ms: int) -> str:
    """Coarse on purpose: the sentence is read aloud whenever it changes."""
    seconds = max(0, span_ms) // 1000
    if seconds < MINUTE_S:
        return "less than a minute"
    minutes = seconds // MINUTE_S
    return f"{minutes} min" if minutes < IN_MINUTES_MAX else f"{minutes // MINUTE_S} h"


def _told(tone: str, sentence: str) -> dict[str, Any]:
    return {"tone": tone, "sentence": sentence}
