"""From a signal to a plan: what is read, what is refused by name, what a position makes of it."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cases import position, positions

from quantum_trader.domain.plan import Plan, stream_ms
from quantum_trader.domain.trading import Positions
from quantum_trader.pipeline.intake import Refused, read_entry
from quantum_trader.producers.intents import BridgeTerms, Intent, NoSignal, Skip, plan_of, read_intent

STREAM_ID = "1795000000000-3"
NOW_MS = stream_ms(STREAM_ID)
TERMS = BridgeTerms(open_age_ms_max=60_000, exit_age_ms_max=300_000, sell_opens_short=False)
FLAT = positions()
LONG = positions(position(2))
SHORT = positions(position(-2))
BOTH_LEGS = positions(position(2, side="LONG"), position(-3, side="SHORT"), hedge_mode=True)


def fields(**changes: Any) -> dict[str, str]:
    usual = {"symbol": "SOLUSDT", "side": "BUY", "confidence": "0.7", "qty": "1.5"}
    return {name: str(value) for name, value in (usual | changes).items() if value is not None}


def raw(given: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in given.items()}


def intent(**changes: Any) -> Intent:
    return read_intent(STREAM_ID, raw(fields(**changes)))


def outcome(held: Positions, now_ms: int = NOW_MS, **changes: Any) -> dict[str, str] | Skip:
    return plan_of(intent(**changes), held, now_ms, TERMS)


def planned(held: Positions, **changes: Any) -> Plan:
    """Return the plan as the chain's own intake reads it."""
    plan = outcome(held, **changes)
    assert isinstance(plan, dict), plan
    entry = read_entry(STREAM_ID, raw(plan))
    assert isinstance(entry, Plan), entry
    return entry


# -- reading


@pytest.mark.parametrize("wrapper", ["payload", "data"])
def test_a_signal_may_be_wrapped_in_json_with_numbers_of_any_form(wrapper: str) -> None:
    text = '{"symbol": "SOLUSDT", "side": "BUY", "confidence": 0.70, "qty": 1.50, "nested": {"a": [1]}}'
    assert read_intent(STREAM_ID, {wrapper.encode(): text.encode()}) == intent(confidence="0.70", qty="1.50")


def test_every_digit_of_a_wrapped_number_is_kept() -> None:
    text = '{"symbol": "SOLUSDT", "side": "SELL", "confidence": 1, "qty": 0.34999999999999999999}'
    found = read_intent(STREAM_ID, {b"payload": text.encode()})
    assert found.quantity == Decimal("0.34999999999999999999")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"symbol": None}, "invalid_symbol"),
        ({"symbol": "sol usdt"}, "invalid_symbol"),
        ({"side": None}, "invalid_side: BUY or SELL"),
        ({"side": "CLOSE"}, "invalid_side"),
        ({"payload": "{"}, "invalid_payload: a JSON object"),
        ({"payload": "[1]"}, "invalid_payload"),
        ({"data": "[" * 60_000}, "invalid_data"),
        ({"payload": '{"symbol": "\\ud800"}'}, "invalid_payload"),
        ({"payload": "x" * 70_000}, "invalid_payload: at most 65536 characters"),
        ({"source": "x" * 5000}, "invalid_source: at most 4096"),
    ],
)
def test_what_is_no_signal_is_refused_by_the_name_of_the_field(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(NoSignal) as refused:
        intent(**wrong)
    assert str(refused.value).startswith(named)


LACKING = [
    ({"confidence": None}, "invalid_confidence"),
    ({"confidence": "1.01"}, "invalid_confidence: a number from 0 to 1"),
    ({"confidence": "NaN"}, "invalid_confidence"),
    ({"qty": None}, "invalid_qty"),
    ({"qty": "0"}, "invalid_qty"),
    ({"qty": "-1"}, "invalid_qty"),
    ({"qty": "1e3"}, "invalid_qty"),
    ({"qty": "inf"}, "invalid_qty"),
    ({"qty": None, "position_size_usd": "100"}, "invalid_price"),
    ({"qty": None, "position_size_usd": "100", "price": "0"}, "invalid_price"),
    (
        {"qty": None, "position_size_usd": "0.00000001", "price": "9999999999"},
        "invalid_position_size_usd",
    ),
]


@pytest.mark.parametrize(("lacking", "named"), LACKING)
def test_what_lacks_a_size_or_a_confidence_opens_nothing(lacking: dict[str, Any], named: str) -> None:
    with pytest.raises(NoSignal) as refused:
        outcome(FLAT, **lacking)
    assert str(refused.value).startswith(named)


@pytest.mark.parametrize(("lacking", "named"), LACKING)
@pytest.mark.parametrize(("held", "side"), [(LONG, "SELL"), (SHORT, "BUY")])
def test_what_lacks_a_size_or_a_confidence_still_closes(
    held: Positions, side: str, lacking: dict[str, Any], named: str
) -> None:
    plan = planned(held, side=side, **lacking)
    assert (plan.side, plan.action, plan.quantity, plan.reduce_only) == (side, "FULL_CLOSE_PROPOSED", 0, True)
    assert plan.carried["intent_lacks"].startswith(named)


def test_a_signal_without_a_size_has_an_id_of_its_own() -> None:
    digest = hashlib.sha256(f"{STREAM_ID}:SOLUSDT:SELL:".encode()).hexdigest()
    assert intent(side="SELL", qty=None).plan_id == digest[:16]


@given(st.dictionaries(st.binary(max_size=20), st.binary(max_size=60), max_size=8))
def test_whatever_an_entry_holds_it_is_a_signal_or_refused(content: dict[bytes, bytes]) -> None:
    found: Intent | NoSignal
    try:
        found = read_intent(STREAM_ID, content)
    except NoSignal as refused:
        found = refused
    assert isinstance(found, Intent) or str(found).startswith("invalid_")


def test_a_size_in_dollars_is_notional_and_not_multiplied_by_leverage() -> None:
    found = intent(qty=None, position_size_usd="150", price="100", leverage="10")
    assert found.quantity == Decimal("1.5")
    third = intent(qty=None, position_size_usd="100", price="3")
    assert third.quantity == Decimal("33.333333333333")


def test_the_largest_notional_over_the_smallest_price_is_still_a_number() -> None:
    found = intent(qty=None, position_size_usd="9" * 20, price="0." + "0" * 19 + "1")
    assert found.quantity == Decimal("9" * 20 + "0" * 20)
    read = read_entry(STREAM_ID, raw(plan_of(found, FLAT, NOW_MS, TERMS)))  # type: ignore[arg-type]
    assert isinstance(read, Refused)
    assert read.reason == "invalid_qty"


# -- identity


def test_the_plan_id_is_16_hex_digits_of_stream_id_symbol_side_and_quantity() -> None:
    digest = hashlib.sha256(f"{STREAM_ID}:SOLUSDT:BUY:1.5".encode()).hexdigest()
    assert intent(qty="1.50").plan_id == digest[:16]


def test_inc_05_two_signals_of_one_moment_and_symbol_are_two_plans_and_a_redelivered_one_is_the_same() -> (
    None
):
    assert intent().plan_id == intent(confidence="0.9", source="other").plan_id
    different = {
        intent().plan_id,
        intent(qty="2").plan_id,
        intent(side="SELL").plan_id,
        intent(symbol="XRPUSDT").plan_id,
        read_intent("1795000000000-4", raw(fields())).plan_id,
    }
    assert len(different) == 5


# -- against the live position


def test_a_buy_on_a_flat_symbol_opens() -> None:
    plan = planned(FLAT, leverage="3")
    assert (plan.side, plan.quantity, plan.reduce_only, plan.leverage) == ("BUY", Decimal("1.5"), False, 3)
    assert (plan.confidence, plan.source) == (Decimal("0.7"), "intent_bridge")


def test_a_sell_on_a_flat_symbol_is_skipped_unless_shorts_are_allowed() -> None:
    assert outcome(FLAT, side="SELL") == Skip("flat_sell")
    shorts = BridgeTerms(60_000, 300_000, sell_opens_short=True)
    plan = plan_of(intent(side="SELL"), FLAT, NOW_MS, shorts)
    assert isinstance(plan, dict)
    assert (plan["side"], plan["reduceOnly"]) == ("SELL", "false")


@pytest.mark.parametrize(("held", "side"), [(LONG, "SELL"), (SHORT, "BUY")])
def test_a_signal_against_a_position_becomes_a_close_of_it(held: Positions, side: str) -> None:
    plan = planned(held, side=side, qty="900")
    assert (plan.side, plan.action, plan.quantity, plan.reduce_only) == (side, "FULL_CLOSE_PROPOSED", 0, True)


@pytest.mark.parametrize(("held", "side"), [(LONG, "BUY"), (SHORT, "SELL")])
def test_a_signal_with_the_position_is_skipped(held: Positions, side: str) -> None:
    assert outcome(held, side=side) == Skip("position_exists")


@pytest.mark.parametrize(("side", "leg"), [("SELL", "LONG"), ("BUY", "SHORT")])
def test_in_hedge_mode_the_leg_that_the_signal_is_against_is_closed(side: str, leg: str) -> None:
    plan = planned(BOTH_LEGS, side=side)
    assert (plan.side, plan.position_side, plan.reduce_only) == (side, leg, True)


# -- time


def test_inc_65_the_plan_is_dated_with_the_older_of_the_signals_own_time_and_its_arrival() -> None:
    assert planned(FLAT, timestamp=NOW_MS - 5000).issued_at_ms == NOW_MS - 5000
    assert planned(FLAT, timestamp=NOW_MS + 90_000).issued_at_ms == NOW_MS
    assert planned(FLAT).issued_at_ms == NOW_MS
    read_later = plan_of(intent(), FLAT, NOW_MS + 40_000, TERMS)
    assert isinstance(read_later, dict)
    assert read_later["timestamp"] == str(NOW_MS)


@pytest.mark.parametrize(("held", "side", "age_ms_max"), [(FLAT, "BUY", 60_000), (LONG, "SELL", 300_000)])
def test_inc_65_a_stale_signal_becomes_no_plan(held: Positions, side: str, age_ms_max: int) -> None:
    assert isinstance(outcome(held, NOW_MS + age_ms_max, side=side), dict)
    assert outcome(held, NOW_MS + age_ms_max + 1, side=side) == Skip("stale")
    assert outcome(held, side=side, timestamp=NOW_MS - age_ms_max - 1) == Skip("stale")


def test_a_malformed_timestamp_stops_an_open_and_not_a_close() -> None:
    assert outcome(FLAT, timestamp="yesterday") == Skip("invalid_timestamp")
    assert planned(LONG, side="SELL", timestamp="yesterday").issued_at_ms == NOW_MS


# -- what a signal cannot say


def test_inc_43_forged_verdicts_and_plan_fields_do_not_reach_the_plan() -> None:
    forged = {
        "plan_id": "mine",
        "decision": "EXECUTED",
        "reduceOnly": "true",
        "action": "PARTIAL_25",
        "allow": "true",
        "permit": json.dumps({"allow": True, "safe_qty": 99}),
        "verdicts": "[]",
        "would_execute": "true",
        "rotation_trigger": "true",
        "new_plan_id": "x",
        "positionSide": "SHORT",
    }
    assert outcome(FLAT, **forged) == outcome(FLAT)
    assert outcome(LONG, side="SELL", **forged) == outcome(LONG, side="SELL")
    wrapped = {"payload": json.dumps(fields(**forged))}
    assert plan_of(read_intent(STREAM_ID, raw(wrapped)), FLAT, NOW_MS, TERMS) == outcome(FLAT)
