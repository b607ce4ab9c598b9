"""What a plan would do to the live position: one-way, hedge, and with no position read at all."""

from decimal import Decimal

import pytest
from support.cases import close_plan, exit_plan, leg, plan, position, positions

from quantum_trader.domain.intention import Effect, classify, classify_blind
from quantum_trader.domain.plan import Action, Plan
from quantum_trader.domain.trading import PositionSide, Side

LONG_LEG, SHORT_LEG = position(2, side="LONG"), position(-2, side="SHORT")


@pytest.mark.parametrize(
    ("held", "side", "quantity", "effect"),
    [
        (0, "BUY", 1, Effect.OPEN),
        (0, "SELL", 1, Effect.OPEN),
        (2, "BUY", 1, Effect.ADD),
        (-2, "SELL", 1, Effect.ADD),
        (2, "SELL", 1, Effect.REDUCE),
        (-2, "BUY", 1, Effect.REDUCE),
        (2, "SELL", 2, Effect.CLOSE),
        (-2, "BUY", 2, Effect.CLOSE),
        (2, "SELL", "2.001", Effect.FLIP),
        (-2, "BUY", "2.001", Effect.FLIP),
    ],
)
@pytest.mark.parametrize("reduce_only", [False, True])
def test_inc_23_the_effect_follows_from_the_position_and_an_exit_from_the_effect(
    held: int, side: str, quantity: object, effect: Effect, reduce_only: bool
) -> None:
    intention = classify(
        plan(side=side, quantity=quantity, reduce_only=reduce_only), positions(position(held))
    )
    if not reduce_only:
        assert intention.effect is effect
        assert intention.is_exit is (effect in (Effect.REDUCE, Effect.CLOSE))
        assert intention.problem == ("would_flip" if effect is Effect.FLIP else None)
        return
    assert intention.is_exit
    expected = {Effect.OPEN: "no_position", Effect.ADD: "side_mismatch"}.get(effect)
    assert intention.problem == expected
    if expected is None:
        assert intention.effect is (Effect.REDUCE if effect is Effect.REDUCE else Effect.CLOSE)
        assert intention.quantity is not None
        assert intention.quantity <= 2


@pytest.mark.parametrize(("amount", "side"), [(3, Side.SELL), (-3, Side.BUY)])
def test_inc_64_close_means_the_opposite_of_the_live_side(amount: int, side: Side) -> None:
    intention = classify(close_plan(), positions(position(amount)))
    assert (intention.side, intention.effect, intention.quantity) == (side, Effect.CLOSE, 3)
    assert intention.position_amount == amount


@pytest.mark.parametrize(
    ("action", "quantity"),
    [(Action.PARTIAL_25, "0.75"), (Action.PARTIAL_50, "1.5"), (Action.PARTIAL_75, "2.25")],
)
def test_a_part_is_a_share_of_the_live_position(action: Action, quantity: str) -> None:
    intention = classify(close_plan(action), positions(position(-3)))
    assert (intention.effect, intention.quantity) == (Effect.REDUCE, Decimal(quantity))
    assert intention.notes == ()


@pytest.mark.parametrize(("asked", "closed"), [("0.1", "0.1"), ("5", "0.75")])
def test_inc_26_of_quantity_and_action_the_smaller_counts_and_the_trace_says_so(
    asked: str, closed: str
) -> None:
    intention = classify(close_plan(Action.PARTIAL_25, quantity=asked), positions(position(3)))
    assert (intention.quantity, intention.notes) == (Decimal(closed), ("qty_action_mismatch",))


def test_quantity_and_action_that_agree_are_not_worth_a_note() -> None:
    intention = classify(close_plan(Action.PARTIAL_25, quantity="0.75"), positions(position(3)))
    assert (intention.quantity, intention.notes) == (Decimal("0.75"), ())


def test_an_opening_action_does_not_make_an_exit_an_open() -> None:
    assert classify(exit_plan(action=Action.OPEN), positions(position(3))).is_exit


def test_another_symbols_position_is_not_this_ones() -> None:
    assert classify(plan(), positions(position(-5, "BTCUSDT"))).effect is Effect.OPEN


# -- hedge mode

HEDGED = positions(LONG_LEG, SHORT_LEG, hedge_mode=True)


@pytest.mark.parametrize(
    ("side", "reduce_only", "position_side", "named"),
    [
        ("BUY", False, "LONG", None),
        ("SELL", False, "SHORT", None),
        ("SELL", True, "LONG", None),
        ("BUY", True, "SHORT", None),
        ("SELL", False, "LONG", "LONG"),
        ("BUY", False, "SHORT", "SHORT"),
        ("SELL", True, "LONG", "BOTH"),
    ],
)
def test_inc_32_a_hedge_leg_follows_from_side_and_intent_where_it_is_not_named(
    side: str, reduce_only: bool, position_side: str, named: str | None
) -> None:
    one = plan(side=side, reduce_only=reduce_only, position_side=named and PositionSide(named))
    intention = classify(one, HEDGED)
    assert intention.leg == leg(side=position_side)
    assert intention.is_exit is (reduce_only or named in ("LONG", "SHORT"))
    assert intention.effect is (Effect.REDUCE if intention.is_exit else Effect.ADD)


def test_close_with_both_legs_live_must_say_which() -> None:
    assert classify(close_plan(), HEDGED).problem == "position_side_required"
    named = classify(close_plan(position_side=PositionSide.SHORT), HEDGED)
    assert (named.leg, named.side, named.effect) == (leg(side="SHORT"), Side.BUY, Effect.CLOSE)


@pytest.mark.parametrize(("held", "side"), [(LONG_LEG, Side.SELL), (SHORT_LEG, Side.BUY)])
def test_close_with_one_leg_live_means_that_leg(held: object, side: Side) -> None:
    intention = classify(close_plan(), positions(held, hedge_mode=True))  # type: ignore[arg-type]
    assert (intention.side, intention.quantity) == (side, 2)


def test_close_with_no_leg_live_finds_nothing() -> None:
    assert classify(close_plan(), positions(hedge_mode=True)).problem == "no_position"


def test_a_hedge_leg_is_opened_beside_the_other_and_never_flips_it() -> None:
    intention = classify(plan(side="SELL", quantity=9), positions(LONG_LEG, hedge_mode=True))
    assert (intention.leg, intention.effect) == (leg(side="SHORT"), Effect.OPEN)


def test_reducing_a_flat_hedge_leg_finds_nothing() -> None:
    one = plan(side="SELL", position_side=PositionSide.LONG)
    assert classify(one, positions(SHORT_LEG, hedge_mode=True)).problem == "no_position"


# -- no position read


@pytest.mark.parametrize(
    ("one", "is_exit", "side", "quantity"),
    [
        (plan(), False, Side.BUY, 1),
        (exit_plan(), True, Side.SELL, 1),
        (exit_plan(side="CLOSE"), True, None, 1),
        (plan(side="CLOSE"), True, None, 1),
        (plan(side="SELL", position_side=PositionSide.LONG), True, Side.SELL, 1),
        (close_plan(), True, None, None),
        (close_plan(side="SELL", quantity=1), True, Side.SELL, 1),
        (close_plan(Action.PARTIAL_75, side="SELL", quantity=1), True, Side.SELL, None),
    ],
)
def test_blind_only_the_plans_own_words_count(
    one: Plan, is_exit: bool, side: Side | None, quantity: int | None
) -> None:
    assert one.says_exit is is_exit
    for hedge_mode in (False, True):
        intention = classify_blind(one, hedge_mode=hedge_mode)
        assert (intention.is_exit, intention.side, intention.quantity) == (is_exit, side, quantity)
        assert intention.effect is None
        assert intention.position_amount is None


@pytest.mark.parametrize(("side", "position_side"), [("SELL", "LONG"), ("BUY", "SHORT")])
def test_blind_an_exit_in_hedge_mode_names_the_leg_it_can_reduce(side: str, position_side: str) -> None:
    assert classify_blind(exit_plan(side=side), hedge_mode=True).leg == leg(side=position_side)


@pytest.mark.parametrize(("side", "position_side"), [("BUY", "LONG"), ("SELL", "SHORT")])
@pytest.mark.parametrize(
    ("amount", "problem"), [(0, "no_position"), (3, "side_mismatch"), (None, "side_mismatch")]
)
def test_an_exit_that_would_enlarge_the_leg_it_names_is_refused_by_the_position_or_without_one(
    side: str, position_side: str, amount: int | None, problem: str
) -> None:
    one = exit_plan(side=side, position_side=PositionSide(position_side))
    held = position((amount or 1) if position_side == "LONG" else -(amount or 1), side=position_side)
    live = positions(*([held] if amount else []), hedge_mode=True)
    intention = classify_blind(one, hedge_mode=True) if amount is None else classify(one, live)
    assert (intention.is_exit, intention.problem) == (True, problem)
