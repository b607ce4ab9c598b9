"""Orders: what cannot be built cannot be sent."""

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cases import NOW_MS, leg

from quantum_trader.domain.order import Claimed, ExitOrder, OpenOrder, OrderStatus, client_order_id
from quantum_trader.domain.trading import Side

FORM = re.compile(r"^[\.A-Z\:/a-z0-9_-]{1,36}$")
ORDER = OpenOrder(leg(), Side.BUY, Decimal(1), "qt-x-0", NOW_MS)


@pytest.mark.parametrize("given_values", [(), (ORDER,), (ORDER, "plan-1", 7)])
def test_inc_01_the_proof_of_a_claim_cannot_be_constructed(given_values: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        Claimed(*given_values)


def test_a_granted_claim_says_what_was_claimed_and_takes_nothing_else_on() -> None:
    claimed = Claimed.granted(ORDER, "plan-1", 7)
    assert (claimed.order, claimed.plan_id, claimed.fencing_token) == (ORDER, "plan-1", 7)
    with pytest.raises(AttributeError):
        claimed.order = ORDER  # type: ignore[misc]
    with pytest.raises(AttributeError):
        claimed.other = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("side", "position_side"), [(Side.BUY, "LONG"), (Side.SELL, "SHORT")])
def test_an_exit_that_would_open_a_hedge_leg_cannot_be_built(side: Side, position_side: str) -> None:
    with pytest.raises(ValueError, match="would open"):
        ExitOrder(leg(side=position_side), side, Decimal(1), "qt-x-0", NOW_MS)


@pytest.mark.parametrize("quantity", ["0", "-1", "-0.001"])
def test_inc_27_an_exit_of_nothing_or_less_cannot_be_built(quantity: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        ExitOrder(leg(), Side.SELL, Decimal(quantity), "qt-x-0", NOW_MS)


@pytest.mark.parametrize(
    ("side", "position_side"),
    [(Side.SELL, "BOTH"), (Side.BUY, "BOTH"), (Side.SELL, "LONG"), (Side.BUY, "SHORT")],
)
def test_an_exit_that_reduces_can_be_built_and_not_changed(side: Side, position_side: str) -> None:
    order = ExitOrder(leg(side=position_side), side, Decimal(1), "qt-x-0", NOW_MS)
    with pytest.raises(AttributeError):
        order.quantity = Decimal(2)  # type: ignore[misc]


@given(st.text(min_size=1, max_size=128), st.integers(0, 9999))
def test_a_client_order_id_is_a_pure_function_in_the_exchanges_form(plan_id: str, number: int) -> None:
    name = client_order_id(plan_id, number)
    assert FORM.fullmatch(name)
    assert name == client_order_id(plan_id, number)
    assert name.startswith("qt-")


def test_inc_17_plan_ids_that_begin_alike_have_orders_of_their_own() -> None:
    names = {client_order_id(f"rot_12345678_{number}", order) for number in range(100) for order in range(3)}
    assert len(names) == 300


def test_a_client_order_id_never_changes_between_versions() -> None:
    assert client_order_id("plan-1") == "qt-e26d9cd1dae99fe1f83a87da-0"


def test_only_new_and_partly_filled_orders_can_still_fill() -> None:
    assert {one for one in OrderStatus if not one.is_final} == {OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED}
