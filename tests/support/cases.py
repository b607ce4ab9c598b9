"""Builders of plans, evidence, positions and rules, shared by all tests that need no exchange.

Everything is fresh and permits an open of 1 unit at 100 USDT, so a test states only what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from quantum_trader.domain.case import Case, Terms
from quantum_trader.domain.decision import Decision
from quantum_trader.domain.evidence import Evidence, Fact, Reading
from quantum_trader.domain.exposure import ClaimedExposure
from quantum_trader.domain.facts import BscHealth, Latches, PlanHistory, Policy, RateCounts, Regime
from quantum_trader.domain.plan import Action, Plan, PlanSide
from quantum_trader.domain.sizing import SizingPolicy
from quantum_trader.domain.trading import (
    Account,
    Leg,
    Position,
    Positions,
    PositionSide,
    QuantityLimits,
    SymbolRules,
)
from quantum_trader.domain.verdict import Ruling, Verdict
from quantum_trader.gates import GateTables
from quantum_trader.pipeline.decide import Chain, decide

NOW_MS = 1_795_000_000_000
SYMBOL = "SOLUSDT"
OTHERS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT", "DOTUSDT", "LTCUSDT", "UNIUSDT")
MARK = Decimal(100)


def number(value: Any) -> Decimal:
    """Return ``value`` as Decimal, by its text."""
    return Decimal(str(value))


def plan(**changes: Any) -> Plan:
    """Return a plan to buy 1 unit; ``quantity`` may be given as text or int."""
    values: dict[str, Any] = {
        "plan_id": "plan-1",
        "decision": "EXECUTE",
        "symbol": SYMBOL,
        "side": PlanSide.BUY,
        "quantity": 1,
        "reduce_only": False,
        "stream_id": f"{NOW_MS - 100}-0",
        "issued_at_ms": NOW_MS - 100,
        "content_hash": "hash-1",
    } | changes
    values["side"] = PlanSide(values["side"])
    values["quantity"] = number(values["quantity"])
    return Plan(**values)


def exit_plan(**changes: Any) -> Plan:
    """Return a reduce-only plan to sell 1 unit."""
    return plan(**{"side": "SELL", "reduce_only": True} | changes)


def close_plan(action: Action = Action.FULL_CLOSE_PROPOSED, **changes: Any) -> Plan:
    """Return a plan that closes by ``action`` and names neither side nor quantity."""
    return plan(**{"side": "CLOSE", "reduce_only": True, "action": action, "quantity": 0} | changes)


def leg(symbol: str = SYMBOL, side: str = "BOTH") -> Leg:
    """Return a leg by the text of its side."""
    return Leg(symbol, PositionSide(side))


def position(amount: Any, symbol: str = SYMBOL, *, side: str = "BOTH", mark: Any = MARK) -> Position:
    """Return a live position of signed ``amount``, entered at its mark price."""
    return Position(leg(symbol, side), number(amount), number(mark), number(mark), Decimal(0), NOW_MS)


def positions(*held: Position, hedge_mode: bool = False) -> Positions:
    """Return the account's positions."""
    return Positions({one.leg: one for one in held}, hedge_mode=hedge_mode)


def rules(
    *,
    step: Any = "0.001",
    minimum: Any = "0.001",
    maximum: Any = 1000,
    notional_min: Any = 5,
    status: str = "TRADING",
    symbol: str = SYMBOL,
) -> SymbolRules:
    """Return a symbol's trading rules."""
    limits = QuantityLimits(number(minimum), number(maximum), number(step))
    return SymbolRules(symbol, status, limits, number(notional_min))


def account(
    *, available: Any = 10_000, margin_balance: Any = 10_000, initial_margin: Any = 0, maintenance: Any = 0
) -> Account:
    """Return balances in USDT."""
    return Account(
        available_balance=number(available),
        margin_balance=number(margin_balance),
        wallet_balance=number(margin_balance),
        initial_margin=number(initial_margin),
        maintenance_margin=number(maintenance),
    )


def exposure(
    plan_id: str = "other",
    symbol: str = "BTCUSDT",
    *,
    side: str = "BOTH",
    notional: Any = 100,
    base: Any = 0,
    margin: Any = 10,
    settled_epoch: int | None = None,
) -> ClaimedExposure:
    """Return what another open has claimed, in USDT."""
    return ClaimedExposure(
        plan_id, leg(symbol, side), number(notional), number(base), number(margin), settled_epoch
    )


def facts_of_a_good_day() -> dict[str, Any]:
    """Return the value of every fact, such that an open of 1 unit passes the whole chain."""
    return {
        "kill": "",
        "latches": Latches(),
        "leader": True,
        "bsc": BscHealth(required=True, state="OK", authority="CONTROLLER"),
        "clock_offset_ms": 3,
        "keys_accepted": True,
        "plan_history": PlanHistory(),
        "rates": RateCounts(),
        "positions": positions(),
        "hedge_mode": False,
        "account": account(),
        "leverage": 10,
        "leverages": dict.fromkeys((SYMBOL, *OTHERS), 10),
        "rules": rules(),
        "mark_price": MARK,
        "claims": (),
        "claimed_margin_usdt": Decimal(0),
        "ledger": {},
        "last_open_ms": None,
        "policy": Policy(universe=frozenset({SYMBOL, *OTHERS}), version="1"),
        "regime": Regime(trend=Decimal("0.02"), atr_pct=Decimal("0.02"), candles=100),
        "correlations": {},
        "holdings": {},
        "exits_in_flight": frozenset(),
        "rotation": None,
    }


def evidence(**changes: Any) -> Evidence:
    """Return evidence with all facts read just now; ``changes`` replace values by fact name.

    Positions bring a ledger that agrees and the hedge mode with them, unless those are given too.
    """
    values = facts_of_a_good_day()
    held = changes.get("positions")
    if held is not None:
        values["ledger"] = {one.leg: one.amount for one in held.values()}
        values["hedge_mode"] = held.hedge_mode
    values |= changes
    return Evidence(NOW_MS, {name: Reading(value, NOW_MS, "test") for name, value in values.items()})


def without(known: Evidence, *missing: Fact[Any]) -> Evidence:
    """Return ``known`` without some facts."""
    names = {fact.name for fact in missing}
    return Evidence(known.now_ms, {name: one for name, one in known.readings.items() if name not in names})


def aged(known: Evidence, fact: Fact[Any], age_ms: int) -> Evidence:
    """Return ``known`` with one fact read ``age_ms`` ago."""
    old = known.readings[fact.name]
    return known.with_readings(**{fact.name: Reading(old.value, known.now_ms - age_ms, old.source)})


def terms(**changes: Any) -> Terms:
    """Return the shared terms of the default config, with ``SOLUSDT`` and the others allowed."""
    values: dict[str, Any] = {
        "allowed_symbols": frozenset({SYMBOL, *OTHERS}),
        "sizing": SizingPolicy(notional_usdt_max=Decimal(200)),
    }
    return Terms(**(values | changes))


def tables(**changes: Mapping[str, Any]) -> GateTables:
    """Return the gates' tables with single keys changed, as config.toml would."""
    return GateTables.model_validate(dict(changes))


def chain(gates: GateTables | None = None, **changes: Any) -> Chain:
    """Return the whole chain over ``gates``; ``changes`` go to the terms."""
    gates = gates or GateTables()
    cap = gates.fund_caps.max_notional_per_trade_usdt
    sizing = SizingPolicy(gates.exchange_sizing.allow_upsize, cap)
    shared = {"sizing": sizing, "leverage_max": gates.margin_guard.leverage_max} | changes
    return Chain(gates.chain(), terms(**shared), "config-1")


def judged(one: Plan, known: Evidence, gates: GateTables | None = None, **changes: Any) -> Decision:
    """Return the whole chain's decision of ``one``."""
    return decide(one, known, chain(gates, **changes))


def case(one: Plan, known: Evidence, **changes: Any) -> Case:
    """Return the case that gates look at."""
    return Case(one, known, terms(**changes))


def objections(decision: Decision) -> list[tuple[str, str]]:
    """Return (gate, code) of every verdict that is neither a pass nor a skip, in chain order."""
    return [
        (verdict.gate, verdict.code)
        for verdict in decision.verdicts
        if verdict.ruling not in (Ruling.PASS, Ruling.SKIP)
    ]


def verdict_of(decision: Decision, gate: str) -> Verdict:
    """Return the last verdict of ``gate``."""
    found = decision.verdict_of(gate)
    assert found is not None, f"{gate} gave no verdict"
    return found


def assert_denied_alone(decision: Decision, gate: str, code: str) -> None:
    """Assert that ``gate`` alone objects, with ``code``, and that the plan is blocked for it (INC-51)."""
    assert objections(decision) == [(gate, code)]
    assert (decision.allowed, decision.gate, decision.reason) == (False, gate, code)
    assert decision.quantity is None


def assert_allowed(decision: Decision, quantity: Any = None) -> None:
    """Assert that nothing objects, and what would be sent."""
    assert objections(decision) == []
    assert decision.allowed
    if quantity is not None:
        assert decision.quantity == number(quantity)


def assert_error_blocks_open(decision: Decision, gate: str, fact: Fact[Any]) -> None:
    """Assert that ``gate`` could not judge for want of ``fact`` and that this blocks."""
    assert not decision.allowed
    spoke = [verdict for verdict in decision.verdicts if verdict.gate == gate]
    assert any(
        verdict.code == "evidence_missing" and verdict.evidence["fact"] == fact.name for verdict in spoke
    ), spoke
