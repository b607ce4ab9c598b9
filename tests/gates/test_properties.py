"""What holds for every plan on every evidence, looked for by random search."""

from decimal import Decimal
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.cases import (
    MARK,
    NOW_MS,
    OTHERS,
    SYMBOL,
    account,
    evidence,
    exposure,
    judged,
    leg,
    plan,
    position,
    positions,
    rules,
    tables,
    without,
)
from support.values import replace

from quantum_trader.domain.evidence import Evidence, Fact
from quantum_trader.domain.facts import BscHealth, Latches, PlanHistory, Policy, RateCounts, Regime
from quantum_trader.domain.plan import Action, Plan, PlanSide
from quantum_trader.domain.trading import PositionSide, QuantityLimits
from quantum_trader.domain.verdict import Verdict
from quantum_trader.gates import GateTables

MODEST = settings(max_examples=1000, deadline=None)
ENTRY_GATES = {"intake", "kill_score", "rate_limit", "margin_guard", "fund_caps", "active_slots"}
MIRROR = {"BUY": "SELL", "SELL": "BUY", "CLOSE": "CLOSE"}
MIRROR_LEG = {None: None, "BOTH": "BOTH", "LONG": "SHORT", "SHORT": "LONG"}

amounts = st.decimals("-5", "5", places=4)
quantities = st.decimals("0.0001", "5", places=4)
times_ms = st.lists(st.integers(NOW_MS - 4_000_000, NOW_MS), max_size=4).map(lambda ms: tuple(sorted(ms)))
money = st.decimals("0", "3000", places=2)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Return any plan that intake could have let through."""
    action = draw(st.none() | st.sampled_from(Action))
    closes = action is not None and action.close_fraction is not None
    return plan(
        side=draw(st.sampled_from(PlanSide)),
        quantity=draw(quantities | st.just(Decimal(0)) if closes else quantities),
        reduce_only=closes or draw(st.booleans()),
        action=action,
        position_side=draw(st.none() | st.sampled_from(PositionSide)),
        leverage=draw(st.none() | st.integers(1, 20)),
        kill_score=draw(st.none() | st.decimals("0", "1", places=2)),
        malformed=draw(st.sampled_from([(), (), ("price",)])),
    )


@st.composite
def some_evidence(draw: st.DrawFn) -> Evidence:
    """Return evidence of any market, account and stops; some of it missing."""
    hedge_mode = draw(st.booleans())
    mark = draw(st.decimals("1", "500", places=2))
    amount = draw(amounts | st.just(Decimal(0)))
    if hedge_mode:
        own = [
            position(abs(amount), side="LONG", mark=mark),
            position(-abs(draw(amounts)), side="SHORT", mark=mark),
        ]
    else:
        own = [position(amount, mark=mark)]
    others = [position(draw(amounts), symbol) for symbol in OTHERS[: draw(st.integers(0, 4))]]
    claims = tuple(
        exposure(f"c{i}", symbol, notional=draw(money), margin=draw(money))
        for i, symbol in enumerate(OTHERS[4 : 4 + draw(st.integers(0, 2))])
    )
    known = evidence(
        positions=positions(*own, *others, hedge_mode=hedge_mode),
        claims=claims,
        mark_price=mark,
        kill=draw(st.sampled_from(["", "", "0", "opens"])),
        latches=Latches(safe_mode=draw(st.booleans()), disarmed=draw(st.sampled_from(["", "{}"]))),
        bsc=BscHealth(required=True, state=draw(st.sampled_from(["OK", "BLIND"])), authority="CONTROLLER"),
        rates=RateCounts(draw(times_ms), draw(times_ms)),
        account=account(available=draw(money), margin_balance=draw(money), initial_margin=draw(money)),
        claimed_margin_usdt=draw(money),
        last_open_ms=draw(st.none() | st.integers(NOW_MS - 100_000, NOW_MS)),
        policy=draw(st.sampled_from([Policy(frozenset({SYMBOL})), Policy(problem="missing")])),
        regime=Regime(draw(st.decimals("0", "0.1", places=3)), draw(st.decimals("0", "0.1", places=3)), 100),
        ledger=draw(st.sampled_from([{}, {one.leg: one.amount for one in own}])),
        rules=rules(
            step=draw(st.sampled_from(["0.0001", "0.001", "0.1", "3"])),
            minimum=draw(st.sampled_from(["0.001", "1"])),
            maximum=draw(st.sampled_from(["2", "1000"])),
            notional_min=draw(st.sampled_from(["5", "100"])),
        ),
    )
    missing = draw(st.sets(st.sampled_from(sorted(known.readings)), max_size=2))
    return without(known, *(Fact(name) for name in missing))


@given(plans(), some_evidence())
@MODEST
def test_replaying_a_decision_gives_an_equal_one(one: Plan, known: Evidence) -> None:
    assert judged(one, known) == judged(one, known)


@given(plans(), some_evidence())
@MODEST
def test_inc_21_no_entry_gate_ever_denies_an_exit(one: Plan, known: Evidence) -> None:
    decision = judged(one, known)
    if decision.is_exit:
        assert decision.gate not in ENTRY_GATES
        by_entry_gates = [verdict for verdict in decision.verdicts if verdict.gate in ENTRY_GATES]
        assert not any(verdict.blocks(is_exit=True) for verdict in by_entry_gates)


@given(plans(), some_evidence())
@MODEST
def test_no_gate_has_a_bug_of_its_own(one: Plan, known: Evidence) -> None:
    assert [verdict for verdict in judged(one, known).verdicts if verdict.code == "gate_error"] == []


@given(plans(), some_evidence())
@MODEST
def test_an_allowed_exit_never_exceeds_the_position_and_never_enlarges_it(one: Plan, known: Evidence) -> None:
    decision = judged(one, known)
    held = decision.intention.position_amount
    if not (decision.allowed and decision.is_exit) or held is None:
        return
    assert decision.quantity is not None
    assert decision.intention.side is not None
    after = held + decision.intention.side.sign * decision.quantity
    assert abs(after) < abs(held)
    assert after * held >= 0


@given(plans(), some_evidence(), st.sampled_from(["fund_caps", "margin_guard", "rate_limit", "active_slots"]))
@MODEST
def test_raising_a_limit_never_turns_a_pass_into_a_denial(one: Plan, known: Evidence, gate: str) -> None:
    raised: dict[str, dict[str, Any]] = {
        "fund_caps": {
            "max_open_positions": 11,
            "max_notional_per_trade_usdt": 500,
            "max_total_notional_usdt": 3000,
            "symbol_cooldown_s": 30,
        },
        "margin_guard": {"buffer": 1, "usage_max": 1, "leverage_max": 20},
        "rate_limit": {
            "per_symbol_s": 0,
            "global_per_min": 6,
            "per_symbol_5min_max": 3,
            "per_symbol_hour_max": 4,
        },
        "active_slots": {"base": 5, "trend_strong": 7, "chop": 4},
    }
    before, after = judged(one, known), judged(one, known, tables(**{gate: raised[gate]}))
    for earlier, later in zip(before.verdicts, after.verdicts, strict=True):
        if not earlier.blocks(is_exit=before.is_exit):
            assert not later.blocks(is_exit=after.is_exit), (earlier, later)


@given(plans(), st.lists(amounts, min_size=0, max_size=3), st.booleans(), st.sampled_from(["0", "1", "200"]))
@MODEST
def test_inc_64_mirrored_positions_and_plans_get_mirrored_verdicts(
    one: Plan, held: list[Decimal], hedge_mode: bool, ledger_off: str
) -> None:
    def world(sign: int) -> Evidence:
        if hedge_mode:
            sides = ("LONG", "SHORT") if sign > 0 else ("SHORT", "LONG")
            own = [
                position(abs(amount) * (1 if side == "LONG" else -1), side=side)
                for amount, side in zip(held, sides, strict=False)
            ]
        else:
            own = [position(sign * amount) for amount in held[:1]]
        ledger = {here.leg: here.amount + sign * Decimal(ledger_off) for here in own}
        return evidence(positions=positions(*own, hedge_mode=hedge_mode), ledger=ledger)

    mirrored = replace(
        one,
        side=PlanSide(MIRROR[one.side]),
        position_side=None if one.position_side is None else PositionSide(str(MIRROR_LEG[one.position_side])),
    )

    def outline(verdicts: tuple[Verdict, ...]) -> list[tuple[str, str, str]]:
        return [(verdict.gate, verdict.ruling, verdict.code) for verdict in verdicts]

    here, there = judged(one, world(1)), judged(mirrored, world(-1))
    both_legs_flat_close = hedge_mode and one.side is PlanSide.CLOSE and not held
    assume(not both_legs_flat_close)
    assert outline(here.verdicts) == outline(there.verdicts)
    assert (here.gate, here.reason, here.quantity) == (there.gate, there.reason, there.quantity)
    assert here.intention.effect == there.intention.effect
    if here.intention.side is not None:
        assert there.intention.side is here.intention.side.opposite
    if not hedge_mode and here.intention.position_amount is not None:
        assert there.intention.position_amount == -here.intention.position_amount


@given(
    quantities,
    st.booleans(),
    st.sampled_from(["0.0001", "0.001", "0.1", "3"]),
    st.sampled_from(["5", "100"]),
)
@MODEST
def test_inc_85_a_sized_open_is_a_whole_number_of_steps_and_grows_only_where_that_is_allowed(
    asked: Decimal, upsize: bool, step: str, notional_min: str
) -> None:
    gates = tables(exchange_sizing={"allow_upsize": upsize}, fund_caps={"max_notional_per_trade_usdt": 2000})
    known = evidence(rules=rules(step=step, minimum=step, notional_min=notional_min))
    decision = judged(plan(quantity=asked), known, gates)
    if decision.allowed:
        assert decision.quantity is not None
        assert decision.quantity % Decimal(step) == 0
        assert decision.quantity * MARK >= Decimal(notional_min)
        assert upsize or decision.quantity <= asked


@given(st.decimals("0", "1000000000", places=8), st.decimals("0.00000001", "1000", places=8))
@MODEST
def test_rounding_is_to_the_nearest_step_on_its_side(quantity: Decimal, step: Decimal) -> None:
    limits = QuantityLimits(Decimal(0), Decimal(0), step)
    down, up = limits.round_down(quantity), limits.round_up(quantity)
    assert down <= quantity <= up
    assert down % step == up % step == 0
    assert quantity - down < step
    assert up - quantity < step


@given(some_evidence())
@MODEST
def test_inc_60_an_open_in_the_other_direction_never_goes_through_a_position(known: Evidence) -> None:
    for side in ("BUY", "SELL"):
        decision = judged(plan(side=side, quantity=5), known, GateTables())
        if decision.allowed and not decision.is_exit:
            assert decision.intention.position_amount == 0
            assert decision.intention.leg.symbol == leg().symbol


def test_history_of_a_plan_matters_to_opens_and_exits_alike() -> None:
    known = evidence(plan_history=PlanHistory(state="terminal"), positions=positions(position(1)))
    for one in (plan(side="BUY"), plan(side="SELL", reduce_only=True)):
        assert judged(one, known).gate == "idempotency"
