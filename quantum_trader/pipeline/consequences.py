"""What verdicts and refusals set off besides blocking: latches and counted failures (SPEC 5).

A gate in shadow or off sets no latch and counts no failure.
"""

from __future__ import annotations

from msgspec import Struct

from quantum_trader.domain.decision import Decision
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Mode, Ruling, Verdict
from quantum_trader.exchange.codes import Refusal as Refused
from quantum_trader.exchange.codes import refusal_of
from quantum_trader.gates import GateTables
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.settlement import Latch, MarginFailure

NEVER_A_MARGIN_FAILURE = frozenset(
    {
        Reason.NOTIONAL_PER_TRADE_EXCEEDED.value,
        Reason.DUPLICATE.value,
        Reason.PLAN_ID_REUSED.value,
    }
)


class Consequences(Struct, frozen=True, gc=False):
    """Latches to set and a margin failure to count, in the same step as the result."""

    latches: tuple[Latch, ...] = ()
    margin_failure: MarginFailure | None = None


NONE = Consequences()
_SET_SOMETHING_OFF = frozenset({Reason.RATE_LIMIT_GLOBAL.value, Reason.INSUFFICIENT_MARGIN.value})


def consequences(
    decision: Decision, denial: str, rejected_code: int, *, gates: GateTables, keys: Keys, now_ms: int
) -> Consequences:
    """Return what follows from ``decision`` and from its ``denial`` (the result's reason)."""
    if decision.is_exit:
        return NONE
    denied = _denied_codes(decision) | {denial}
    if denied.isdisjoint(_SET_SOMETHING_OFF) and rejected_code == 0:
        return NONE
    latches: list[Latch] = []
    failure = None
    rates, margins = gates.rate_limit, gates.margin_guard
    if rates.mode is Mode.ENFORCE and Reason.RATE_LIMIT_GLOBAL.value in denied:
        latches.append(
            _cooldown(keys.cooldown_global, rates.global_cooldown_s, Reason.RATE_LIMIT_GLOBAL, now_ms)
        )
    if margins.mode is Mode.ENFORCE and _is_margin_failure(decision, denied, rejected_code):
        symbol = decision.plan.symbol
        cause = Reason.INSUFFICIENT_MARGIN
        latches.append(
            _cooldown(keys.cooldown_symbol(symbol), margins.symbol_cooldown_s, cause, now_ms, symbol)
        )
        latches.append(_cooldown(keys.cooldown_global, margins.global_cooldown_s, cause, now_ms))
        failure = MarginFailure(
            window_ms=margins.failure_window_s * 1000,
            failures_max=margins.failures_max,
            safe_mode_s=margins.safe_mode_s,
            event={"event": "SAFE_MODE_ON", "ttl_s": str(margins.safe_mode_s), "timestamp": str(now_ms)},
        )
    return Consequences(tuple(latch for latch in latches if latch.ttl_s > 0), failure)


def _denied_codes(decision: Decision) -> set[str]:
    return {verdict.code for verdict in _denials(decision) if verdict.mode is Mode.ENFORCE}


def _denials(decision: Decision) -> list[Verdict]:
    return [verdict for verdict in decision.spoken if verdict.ruling is Ruling.DENY]


def _is_margin_failure(decision: Decision, denied: set[str], rejected_code: int) -> bool:
    """Whether margin was short; not for plans that are too large or come twice, in whatever mode."""
    if refusal_of(rejected_code) is Refused.MARGIN:
        return True
    excluded = {verdict.code for verdict in _denials(decision)} & NEVER_A_MARGIN_FAILURE
    return Reason.INSUFFICIENT_MARGIN.value in denied and not excluded


def _cooldown(key: str, ttl_s: int, cause: Reason, now_ms: int, symbol: str = "") -> Latch:
    event = {
        "event": "COOLDOWN_SET",
        "latch": key,
        "symbol": symbol,
        "reason": cause.value,
        "ttl_s": str(ttl_s),
        "timestamp": str(now_ms),
    }
    return Latch(key, ttl_s, event)
