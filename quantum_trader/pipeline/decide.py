"""Decide: a pure function of (plan, evidence, chain, terms). No I/O, no clock, no suspension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from quantum_trader.domain.case import Case, Terms
from quantum_trader.domain.decision import Decision
from quantum_trader.domain.evidence import Evidence, EvidenceMissing, Reading
from quantum_trader.domain.exposure import ClaimedExposure
from quantum_trader.domain.facts import ACCOUNT, LEVERAGES, POSITIONS
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.trading import ZERO, Leg, Position
from quantum_trader.domain.verdict import Mode, Ruling, Verdict, objection
from quantum_trader.gates import Gate

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chain:
    """The gates in order, the terms they share, and the hash of the config both came from."""

    gates: tuple[Gate, ...]
    terms: Terms
    config_hash: str


def decide(plan: Plan, evidence: Evidence, chain: Chain) -> Decision:
    """Let every gate judge ``plan``; the first denial, in chain order, names the reason."""
    case = Case(plan, evidence, chain.terms)
    verdicts = tuple([_verdict(gate, case) for gate in chain.gates])
    stopped = objection(verdicts, is_exit=case.is_exit)
    if stopped is not None:
        rotation = _rotation(case, chain, verdicts)
        return _decision(case, chain, verdicts, gate=stopped.gate, reason=stopped.code, rotation=rotation)
    exposure = None if case.is_exit else _exposure(case)
    return _decision(case, chain, verdicts, allowed=True, exposure=exposure)


def _rotation(case: Case, chain: Chain, verdicts: tuple[Verdict, ...]) -> Leg | None:
    """Return the weakest position if every gate passes once it is gone; None otherwise (SPEC 6.6).

    Other gates may have denied for what the weakest takes up: they are asked again without it.
    """
    full = next((verdict for verdict in verdicts if verdict.code == Reason.ACTIVE_SLOTS_FULL), None)
    positions = case.evidence.find(POSITIONS)
    if full is None or not full.blocks(is_exit=case.is_exit) or positions is None:
        return None
    leg = next((held for held in positions if held.key == full.evidence.get("weakest")), None)
    if leg is None:
        return None
    freed = Case(case.plan, _without(case.evidence, positions[leg]), chain.terms)
    blocked = any(_verdict(gate, freed).blocks(is_exit=freed.is_exit) for gate in chain.gates)
    return None if blocked else leg


def _without(evidence: Evidence, held: Position) -> Evidence:
    """Return the evidence as it would be with ``held`` closed: its slot, its notional, its margin."""
    readings = {POSITIONS.name: _changed(evidence.reading(POSITIONS), lambda all_: all_.without(held.leg))}
    leverage = (evidence.find(LEVERAGES) or {}).get(held.leg.symbol)
    if leverage is not None and evidence.find(ACCOUNT) is not None:
        margin = held.notional_usdt / leverage
        readings[ACCOUNT.name] = _changed(evidence.reading(ACCOUNT), lambda account: account.freed_of(margin))
    return evidence.with_readings(**readings)


def _changed(reading: Reading[T], change: Callable[[T], T]) -> Reading[Any]:
    return Reading(change(reading.value), reading.read_at_ms, reading.source)


def _verdict(gate: Gate, case: Case) -> Verdict:
    if gate.mode is Mode.OFF:
        return Verdict(gate.name, Ruling.SKIP, Reason.GATE_OFF._value_, gate.mode)
    if case.is_exit and not gate.judges_exits:
        return Verdict(gate.name, Ruling.SKIP, Reason.EXIT_EXEMPT._value_, gate.mode)
    try:
        return gate.judge(case)
    except EvidenceMissing as missing:
        return _error(gate, Reason.EVIDENCE_MISSING, {"fact": missing.fact, "detail": missing.detail})
    except Exception as bug:  # noqa: BLE001  # one broken gate must not take the others' verdicts along
        return _error(gate, Reason.GATE_ERROR, {"exception": f"{type(bug).__name__}: {bug}"})


def _error(gate: Gate, code: Reason, evidence: dict[str, str]) -> Verdict:
    return Verdict(gate.name, Ruling.ERROR, code.value, gate.mode, evidence)


def _decision(
    case: Case,
    chain: Chain,
    verdicts: tuple[Verdict, ...],
    *,
    allowed: bool = False,
    exposure: ClaimedExposure | None = None,
    gate: str = "",
    reason: str = "",
    rotation: Leg | None = None,
) -> Decision:
    return Decision(
        plan=case.plan,
        intention=case.intention,
        verdicts=verdicts,
        decided_at_ms=case.now_ms,
        config_hash=chain.config_hash,
        quantity=case.sizing.quantity if allowed else None,
        exposure=exposure,
        gate=gate,
        reason=reason,
        rotation=rotation,
    )


def _exposure(case: Case) -> ClaimedExposure:
    held = case.evidence.get(POSITIONS).get(case.intention.leg)
    notional = case.notional_usdt
    return ClaimedExposure(
        plan_id=case.plan.plan_id,
        leg=case.intention.leg,
        notional_usdt=notional,
        base_notional_usdt=held.notional_usdt if held is not None else ZERO,
        margin_usdt=_margin(case, notional),
    )


def _margin(case: Case, notional: Decimal) -> Decimal:
    """Return the margin to claim; an unknown leverage (margin_guard not enforced) counts as 1."""
    try:
        return case.initial_margin_usdt
    except EvidenceMissing:
        return notional
