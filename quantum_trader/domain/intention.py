"""What a plan would do to the live position (SPEC 1 "effect", SPEC 3).

An exit is known by what it does, never by a label: a plan that says reduceOnly or a close
action, or whose effect is REDUCE or CLOSE.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from quantum_trader.domain.plan import Plan, PlanSide
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.trading import Leg, Positions, PositionSide, Side


class Effect(StrEnum):
    """Effect on the live position."""

    OPEN = "OPEN"
    ADD = "ADD"
    REDUCE = "REDUCE"
    CLOSE = "CLOSE"
    FLIP = "FLIP"


class Intention(Struct, frozen=True, gc=False):
    """A plan laid against the live position.

    ``quantity`` is what the plan asks for in base asset before sizing: for exits at most the
    position. ``side``, ``effect`` and ``position_amount`` are None where the position is unknown
    or makes them meaningless; ``problem`` then says which rule the plan breaks, if any.
    """

    leg: Leg
    is_exit: bool
    side: Side | None = None
    effect: Effect | None = None
    quantity: Decimal | None = None
    position_amount: Decimal | None = None
    problem: Reason | None = None
    notes: tuple[str, ...] = ()

    @property
    def closes_all(self) -> bool:
        """Whether the plan is to leave the leg flat."""
        return self.effect is Effect.CLOSE


def classify(plan: Plan, positions: Positions) -> Intention:
    """Lay ``plan`` against successfully read ``positions``."""
    leg_or_problem = _leg_of(plan, positions)
    if isinstance(leg_or_problem, Reason):
        return Intention(Leg(plan.symbol), is_exit=True, problem=leg_or_problem)
    leg = leg_or_problem
    amount = positions.amount(leg)
    if plan.says_exit:
        return _exit_of(plan, leg, amount)
    side = Side.BUY if plan.side is PlanSide.BUY else Side.SELL
    if amount == 0:
        return Intention(leg, False, side, Effect.OPEN, plan.quantity, amount)
    if (amount > 0) == (side is Side.BUY):
        return Intention(leg, False, side, Effect.ADD, plan.quantity, amount)
    if plan.quantity > abs(amount):
        return Intention(leg, False, side, Effect.FLIP, plan.quantity, amount, Reason.WOULD_FLIP)
    return _exit_of(plan, leg, amount)


def classify_blind(plan: Plan, *, hedge_mode: bool) -> Intention:
    """Say what can be said of ``plan`` while no position read is to be had.

    Only the plan's own words count: it is an exit if it says so. One whose side would enlarge the
    position that it names is refused: in hedge mode nothing else would keep it from opening.
    """
    side = Side(plan.side) if plan.side is not PlanSide.CLOSE else None
    leg = Leg(plan.symbol, _position_side_blind(plan, side)) if hedge_mode else Leg(plan.symbol)
    problem = Reason.SIDE_MISMATCH if plan.says_exit and _enlarges_named(plan) else None
    return Intention(leg, plan.says_exit, side, quantity=plan.blind_quantity, problem=problem)


def _leg_of(plan: Plan, positions: Positions) -> Leg | Reason:
    if not positions.hedge_mode:
        return Leg(plan.symbol)
    if plan.position_side in (PositionSide.LONG, PositionSide.SHORT):
        return Leg(plan.symbol, plan.position_side)
    if plan.side is not PlanSide.CLOSE:
        return Leg(plan.symbol, _position_side_blind(plan, Side(plan.side)))
    live = positions.of_symbol(plan.symbol)
    if len(live) > 1:
        return Reason.POSITION_SIDE_REQUIRED
    return live[0].leg if live else Leg(plan.symbol, PositionSide.LONG)


def _position_side_blind(plan: Plan, side: Side | None) -> PositionSide:
    """Opening BUY and reducing SELL mean LONG; opening SELL and reducing BUY mean SHORT (SPEC 3)."""
    if plan.position_side in (PositionSide.LONG, PositionSide.SHORT):
        return plan.position_side
    is_long = (side is Side.BUY) != plan.reduce_only
    return PositionSide.LONG if is_long else PositionSide.SHORT


def _exit_of(plan: Plan, leg: Leg, amount: Decimal) -> Intention:
    if amount == 0:
        return Intention(leg, True, position_amount=amount, problem=Reason.NO_POSITION)
    side = Side.SELL if amount > 0 else Side.BUY
    if plan.side not in (PlanSide.CLOSE, side.value) or _names_other_side(plan, amount):
        return Intention(leg, True, side, position_amount=amount, problem=Reason.SIDE_MISMATCH)
    asked, notes = _asked_quantity(plan, abs(amount))
    effect = Effect.CLOSE if asked >= abs(amount) else Effect.REDUCE
    return Intention(leg, True, side, effect, min(asked, abs(amount)), amount, notes=notes)


def _names_other_side(plan: Plan, amount: Decimal) -> bool:
    """Whether the plan names LONG and a short is live, or the other way round; in either mode."""
    held = PositionSide.LONG if amount > 0 else PositionSide.SHORT
    return plan.position_side in (PositionSide.LONG, PositionSide.SHORT) and plan.position_side is not held


def _enlarges_named(plan: Plan) -> bool:
    """Whether the plan buys the LONG, or sells the SHORT, that it names."""
    return (plan.position_side, plan.side) in (
        (PositionSide.LONG, PlanSide.BUY),
        (PositionSide.SHORT, PlanSide.SELL),
    )


def _asked_quantity(plan: Plan, held: Decimal) -> tuple[Decimal, tuple[str, ...]]:
    if plan.close_fraction is None:
        return plan.quantity, ()
    by_action = held * plan.close_fraction
    if plan.quantity in (0, by_action):
        return by_action, ()
    return min(by_action, plan.quantity), ("qty_action_mismatch",)
