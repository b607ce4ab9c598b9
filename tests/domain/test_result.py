"""The result: flat, with a reason, and executed only where something was filled."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cases import NOW_MS

from quantum_trader.domain.result import Ended, Result, plain

FIELDS = [
    "plan_id",
    "symbol",
    "side",
    "action",
    "effect",
    "decision",
    "executed",
    "reason",
    "gate",
    "error",
    "reduceOnly",
    "qty",
    "filled_qty",
    "avg_price",
    "order_id",
    "client_order_id",
    "order_status",
    "would_execute",
    "mode",
    "source",
    "timestamp",
    "trace",
]


def test_inc_92_a_result_without_a_reason_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="without a reason"):
        Result("plan-1", Ended.BLOCKED, "", NOW_MS, "PAPER")


def test_the_fields_are_those_of_the_specification_in_its_order_and_all_text() -> None:
    fields = Result("plan-1", Ended.BLOCKED, "expired", NOW_MS, "PAPER").as_fields("{}")
    assert list(fields) == FIELDS
    assert all(isinstance(value, str) for value in fields.values())
    assert (fields["decision"], fields["timestamp"], fields["trace"]) == ("BLOCKED", str(NOW_MS), "{}")


@pytest.mark.parametrize(("filled", "executed"), [("0", "false"), ("0.001", "true")])
def test_inc_11_executed_is_true_only_where_something_was_filled(filled: str, executed: str) -> None:
    result = Result("p", Ended.FILLED, "filled", NOW_MS, "PAPER", filled_quantity=Decimal(filled))
    assert result.as_fields("{}")["executed"] == executed


@pytest.mark.parametrize(("reduce_only", "text"), [(None, ""), (True, "true"), (False, "false")])
def test_what_is_not_known_is_empty_and_not_false(reduce_only: bool | None, text: str) -> None:
    result = Result("p", Ended.BLOCKED, "x", NOW_MS, "PAPER", reduce_only=reduce_only)
    assert result.as_fields("{}")["reduceOnly"] == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1E+3", "1000"),
        ("1E-8", "0.00000001"),
        ("1.500", "1.5"),
        ("100", "100"),
        ("0.000", "0"),
        ("-2.50", "-2.5"),
    ],
)
def test_numbers_are_written_plainly(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


def test_no_number_is_no_text() -> None:
    assert plain(None) == ""


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=12))
def test_a_plain_number_reads_back_as_itself(number: Decimal) -> None:
    text = plain(number)
    assert Decimal(text) == number
    assert "E" not in text
