"""Builds the one result of a plan, its trace and its permit records (SPEC 2, 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from orjson import Fragment

from quantum_trader import __version__
from quantum_trader.domain.decision import Decision
from quantum_trader.domain.intention import Effect
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.result import Ended, Result, plain
from quantum_trader.domain.verdict import Verdict, objection
from quantum_trader.pipeline.fate import Fate
from quantum_trader.pipeline.intake import Refused, readable_quantity, readable_reduce_only
from quantum_trader.stores.claims import Refusal
from quantum_trader.stores.codec import encode

GOVERNOR_GATES = frozenset({"kill_score", "rate_limit", "margin_guard", "fund_caps", "active_slots"})
POSITION_GATE = "position_sanity"
_POSITION_GATES = frozenset({POSITION_GATE})
_PASSED = Reason.PASS.value  # .value takes two calls each time
_SANE = Reason.SANITY_CHECKS_PASSED.value


class Ending(Struct, frozen=True, gc=False):
    """How a plan ended, before it is written: with a decision where gates were asked, a fate where sent."""

    ended: Ended
    reason: str
    gate: str = ""
    error: str = ""
    decision: Decision | None = None
    fate: Fate | None = None
    timings_ms: Mapping[str, int] = {}

    @classmethod
    def of_decision(
        cls, decision: Decision, ended: Ended, reason: str, gate: str = "", error: str = ""
    ) -> Ending:
        """Return the ending of a plan that was judged and not sent."""
        return cls(ended, reason, gate, error, decision)

    @classmethod
    def of_refusal(cls, decision: Decision, refusal: Refusal) -> Ending:
        """Return the ending of a plan whose claim, or whose rotation, was refused."""
        denied = decision.refused(refusal.gate, refusal.reason, refusal.compared)
        return cls.of_decision(denied, Ended.BLOCKED, denied.reason, denied.gate)

    @classmethod
    def of_fate(cls, decision: Decision, fate: Fate, timings_ms: Mapping[str, int]) -> Ending:
        """Return the ending of a plan whose orders are settled."""
        return cls(fate.ended, fate.reason, fate.gate, fate.error, decision, fate, timings_ms)


def result_of(plan: Plan, ending: Ending, *, mode: str, now_ms: int, config_hash: str) -> Result:
    """Return the result of ``plan``."""
    decision, fate = ending.decision, ending.fate
    order = fate.last_order if fate is not None else None
    intention = decision.intention if decision is not None else None
    return Result(
        plan_id=plan.plan_id,
        decision=ending.ended,
        reason=ending.reason,
        timestamp_ms=now_ms,
        mode=mode,
        symbol=plan.symbol,
        side=plan.side,
        action=plan.action or "",
        effect=(intention.effect or "") if intention is not None else "",
        gate=ending.gate,
        error=ending.error,
        reduce_only=intention.is_exit if intention is not None else plan.reduce_only,
        quantity=decision.quantity
        if decision is not None and decision.quantity is not None
        else plan.quantity,
        **_filled(fate),
        order_id=str(order.order_id) if order is not None else "",
        client_order_id=order.client_order_id if order is not None else _attempted(fate),
        order_status=order.status.value if order is not None else "",
        would_execute=decision is not None and decision.allowed,
        source=plan.source,
        trace=_trace(plan, ending, config_hash),
    )


def result_of_refused(refused: Refused, *, mode: str, now_ms: int, config_hash: str) -> Result:
    """Return the result of an entry that ended at intake."""
    fields = refused.fields
    return Result(
        plan_id=refused.plan_id,
        decision=refused.decision,
        reason=refused.reason,
        timestamp_ms=now_ms,
        mode=mode,
        symbol=fields.get("symbol", ""),
        side=fields.get("side", ""),
        action=fields.get("action", ""),
        gate="intake" if refused.decision is Ended.BLOCKED else "",
        error=refused.detail if refused.decision is Ended.BLOCKED else "",
        reduce_only=readable_reduce_only(fields),
        quantity=readable_quantity(fields),
        source=fields.get("source", ""),
        trace={"plan": fields, "detail": refused.detail, "config_hash": config_hash, "version": __version__},
    )


def _filled(fate: Fate | None) -> dict[str, Any]:
    if fate is None:
        return {}
    return {"filled_quantity": fate.filled_quantity, "avg_price": fate.avg_price}


def _attempted(fate: Fate | None) -> str:
    return str(fate.attempts[-1]["client_order_id"]) if fate is not None and fate.attempts else ""


def _trace(plan: Plan, ending: Ending, config_hash: str) -> dict[str, Any]:
    decision, fate = ending.decision, ending.fate
    notes = [*plan.notes, *(decision.intention.notes if decision is not None else ())]
    return {
        "plan": plan.carried or {},
        "notes": notes,
        "malformed": list(plan.malformed),
        "verdicts": Fragment(verdicts_json(decision)) if decision is not None else [],
        "orders": fate.attempts if fate is not None else [],
        "decided_at": decision.decided_at_ms if decision is not None else None,
        "timings_ms": {"stream": plan.stream_ms, **ending.timings_ms},
        "config_hash": decision.config_hash if decision is not None else config_hash,
        "version": __version__,
    }


def verdicts_json(decision: Decision) -> bytes:
    """Return every verdict as it stands in the stored plan, the result's trace and the log; made once."""
    kept: bytes | None = decision.__dict__.get("_verdicts_json")
    if kept is None:
        kept = encode([verdict.as_record() for verdict in decision.verdicts])
        decision.__dict__["_verdicts_json"] = kept
    return kept


def permit_p32(decision: Decision, now_ms: int) -> dict[str, Any]:
    """Return the record of the governor gates' verdict."""
    denial = _objection_of(decision, GOVERNOR_GATES)
    exposure = decision.exposure
    return {
        "allow": denial is None,
        "symbol": decision.plan.symbol,
        "decision": decision.plan.decision,
        "computed_qty": plain(decision.quantity),
        "computed_notional": plain(exposure.notional_usdt) if exposure is not None else "",
        "created_at": now_ms,
        "reason": denial.code if denial is not None else _PASSED,
    }


def permit_p33(decision: Decision, ledger_amt: str, now_ms: int) -> dict[str, Any]:
    """Return the record of the position gate's verdict; ``safe_qty`` is 0 for an open."""
    denial = _objection_of(decision, _POSITION_GATES)
    intention = decision.intention
    permit: dict[str, Any] = {
        "allow": denial is None,
        "symbol": decision.plan.symbol,
        "safe_qty": plain(intention.quantity) if decision.is_exit else "0",
        "is_open": intention.effect in (Effect.OPEN, Effect.ADD),
        "exchange_position_amt": plain(intention.position_amount),
        "ledger_amt": ledger_amt,
        "created_at": now_ms,
        "reason": denial.code if denial is not None else _SANE,
    }
    if denial is not None:
        permit["context"] = denial.evidence
    return permit


def _objection_of(decision: Decision, gates: frozenset[str]) -> Verdict | None:
    if decision.allowed:
        return None
    return objection(
        [verdict for verdict in decision.verdicts if verdict.gate in gates], is_exit=decision.is_exit
    )
