"""Reading stream entries: the rules of SPEC 3, field by field, and bytes that anyone may write."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_trader.domain.plan import Action, Plan, PlanSide
from quantum_trader.domain.result import Ended
from quantum_trader.domain.trading import PositionSide
from quantum_trader.pipeline.intake import DeadLetter, Refused, read_entry

STREAM_MS = 1_795_000_000_000
STREAM_ID = f"{STREAM_MS}-3"
OPEN = {
    "plan_id": "plan-1",
    "decision": "EXECUTE",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "qty": "0.5",
    "reduceOnly": "false",
}
EXIT = OPEN | {"side": "SELL", "reduceOnly": "true"}
CLOSE = OPEN | {"side": "CLOSE", "qty": "0", "action": "FULL_CLOSE_PROPOSED", "reduceOnly": "true"}


def raw(fields: dict[str, Any]) -> dict[bytes, bytes]:
    """Return the entry as Redis hands it over; None leaves a field out."""
    return {
        name.encode(): value if isinstance(value, bytes) else str(value).encode()
        for name, value in fields.items()
        if value is not None
    }


def read(base: dict[str, str], **changes: Any) -> Plan | Refused | DeadLetter:
    return read_entry(STREAM_ID, raw(base | changes))


def accepted(base: dict[str, str], **changes: Any) -> Plan:
    plan = read(base, **changes)
    assert isinstance(plan, Plan), plan
    return plan


def assert_refused(base: dict[str, str], field: str, **changes: Any) -> Refused:
    refused = read(base, **changes)
    assert isinstance(refused, Refused), refused
    assert (refused.decision, refused.reason) == (Ended.BLOCKED, f"invalid_{field}")
    assert refused.plan_id == "plan-1"
    assert refused.detail
    return refused


def test_a_complete_open_is_read_field_by_field() -> None:
    plan = accepted(
        OPEN, leverage="7", source="s", confidence="0.9", kill_score="0.1", positionSide="LONG", note="x"
    )
    assert (plan.plan_id, plan.decision, plan.symbol) == ("plan-1", "EXECUTE", "BTCUSDT")
    assert (plan.side, plan.quantity, plan.reduce_only) == (PlanSide.BUY, Decimal("0.5"), False)
    assert (plan.leverage, plan.source, plan.position_side) == (7, "s", PositionSide.LONG)
    assert (plan.confidence, plan.kill_score) == (Decimal("0.9"), Decimal("0.1"))
    assert (plan.stream_id, plan.stream_ms, plan.issued_at_ms) == (STREAM_ID, STREAM_MS, STREAM_MS)
    assert plan.carried is not None
    assert plan.carried["note"] == "x"
    assert plan.malformed == ()


# -- plan_id and decision


@pytest.mark.parametrize("plan_id", [None, "", "a\nb", "a\x00", "x" * 129, b"\xff\xfe", "x" * 5000])
def test_what_has_no_readable_plan_id_is_a_dead_letter_with_a_reason(plan_id: Any) -> None:
    letter = read(OPEN, plan_id=plan_id)
    assert isinstance(letter, DeadLetter)
    assert letter.reason == ("plan_id_unreadable" if plan_id else "plan_id_missing")


@pytest.mark.parametrize("plan_id", ["x", "x" * 128, "日本 計画", "rot_12:34"])
def test_any_printable_plan_id_up_to_128_characters_is_an_identity(plan_id: str) -> None:
    assert accepted(OPEN, plan_id=plan_id).plan_id == plan_id


@pytest.mark.parametrize(
    ("decision", "reason"),
    [("HOLD", "decision_HOLD"), ("execute", "decision_execute"), ("a b\n" + "c" * 200, None)],
)
def test_any_decision_but_execute_is_skipped_by_name(decision: str, reason: str | None) -> None:
    skipped = read(OPEN, decision=decision)
    assert isinstance(skipped, Refused)
    assert skipped.decision is Ended.SKIPPED
    assert skipped.reason == (reason or "decision_a_b_" + "c" * 60)


# -- required fields


@pytest.mark.parametrize("field", ["decision", "symbol", "side", "qty", "reduceOnly"])
@pytest.mark.parametrize("value", [None, "", b"\xff"])
def test_a_required_field_that_is_absent_empty_or_no_text_is_refused_by_name(field: str, value: Any) -> None:
    assert_refused(OPEN, field, **{field: value})


@pytest.mark.parametrize("symbol", ["B", "BTC USDT", "BTC/USDT", "x" * 41, "BTC\nUSDT", "../x"])
def test_what_cannot_be_a_symbol_is_refused(symbol: str) -> None:
    assert_refused(OPEN, "symbol", symbol=symbol)


@pytest.mark.parametrize("side", ["buy", "LONG", "CLOSE ", "BUY;SELL"])
def test_an_unknown_side_is_refused_and_the_allowed_ones_are_named(side: str) -> None:
    assert "BUY, SELL, CLOSE" in assert_refused(OPEN, "side", side=side).detail


@pytest.mark.parametrize("kind", ["LIMIT", "market", "STOP_MARKET"])
def test_no_type_but_market_is_accepted(kind: str) -> None:
    assert_refused(OPEN, "type", type=kind)
    assert_refused(EXIT, "type", type=kind)


@pytest.mark.parametrize("kind", [None, "", "MARKET"])
def test_market_is_the_default_type(kind: str | None) -> None:
    assert isinstance(read(OPEN, type=kind), Plan)


# -- quantity


@pytest.mark.parametrize(
    "qty",
    [
        *("-1", "-0.1", "abc", "1e3", "1E-3", "NaN", "nan", "Infinity", "-inf", "+1", " 1", "1 ", "1,5"),
        *("1_000", "0x10", ".5", "5.", "1.2.3", "١", "１", "²", "1" * 21, "0." + "1" * 21, "1\n"),
    ],
)
@pytest.mark.parametrize("base", [OPEN, EXIT, CLOSE])
def test_a_quantity_that_is_no_plain_decimal_is_refused(base: dict[str, str], qty: str) -> None:
    assert_refused(base, "qty", qty=qty)


@pytest.mark.parametrize("qty", ["0", "0.000", "-0"])
def test_inc_45_a_quantity_of_nothing_is_refused_unless_an_action_closes(qty: str) -> None:
    assert_refused(OPEN, "qty", qty=qty)
    assert_refused(EXIT, "qty", qty=qty)
    assert_refused(OPEN, "qty", qty=qty, action="OPEN")
    assert accepted(CLOSE, qty=qty).quantity == 0


def test_a_quantity_keeps_every_digit() -> None:
    text = "12345678901234567890.12345678901234567890"
    assert accepted(OPEN, qty=text).quantity == Decimal(text)


# -- reduceOnly and action


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("TRUE", True),
        ("1", True),
        ("Yes", True),
        ("false", False),
        ("0", False),
        ("nO", False),
    ],
)
def test_reduce_only_is_a_word_in_any_case(text: str, value: bool) -> None:
    assert accepted(OPEN, reduceOnly=text).reduce_only is value


@pytest.mark.parametrize("text", ["maybe", "2", "t", " true", "on", "null"])
def test_an_unknown_word_for_reduce_only_is_refused(text: str) -> None:
    assert_refused(OPEN, "reduceOnly", reduceOnly=text)


@pytest.mark.parametrize("action", [None, "", "OPEN", "ENTRY_PROPOSED"])
@pytest.mark.parametrize("side", ["BUY", "SELL", "CLOSE"])
def test_inc_60_an_absent_reduce_only_is_refused_and_never_assumed_false(
    side: str, action: str | None
) -> None:
    assert_refused(OPEN, "reduceOnly", side=side, action=action, reduceOnly=None)


@pytest.mark.parametrize("action", ["FULL_CLOSE_PROPOSED", "PARTIAL_75", "PARTIAL_50", "PARTIAL_25"])
@pytest.mark.parametrize("text", [None, "", "true", "false", "maybe"])
def test_a_close_action_reduces_whatever_the_field_says(action: str, text: str | None) -> None:
    plan = accepted(CLOSE, action=action, reduceOnly=text)
    assert plan.reduce_only
    contradicts = text in ("false", "maybe")
    assert plan.notes == (("reduce_only_implied_by_action",) if contradicts else ())


@pytest.mark.parametrize("action", ["CLOSE", "PARTIAL_99", "partial_25", "FULL_CLOSE"])
@pytest.mark.parametrize("base", [OPEN, EXIT, CLOSE])
def test_inc_26_an_unknown_action_is_refused_and_the_allowed_ones_are_named(
    base: dict[str, str], action: str
) -> None:
    assert "PARTIAL_25" in assert_refused(base, "action", action=action).detail


def test_an_empty_action_is_an_absent_one() -> None:
    assert accepted(EXIT, action="").action is None


@pytest.mark.parametrize("action", list(Action))
def test_every_action_is_read(action: Action) -> None:
    assert accepted(EXIT, action=action.value).action is action


# -- optional fields


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("leverage", one) for one in ("0", "-3", "2.5", "x", "1e1", "NaN")),
        *(("timestamp", one) for one in ("yesterday", "-5", "2026-13-01", "1e9", "NaN")),
        *((field, one) for field in ("confidence", "kill_score", "price") for one in ("NaN", "1e2", "x")),
        ("venue", "kraken"),
        ("positionSide", "UP"),
        ("positionSide", b"\xff"),
        ("source", b"\xff\xfe"),
        ("note", b"\xff\xfe"),
        ("note", "x" * 4097),
    ],
)
@pytest.mark.parametrize("base", [OPEN, EXIT, CLOSE])
def test_a_malformed_optional_field_is_reported_and_the_plan_is_still_read(
    base: dict[str, str], field: str, value: Any
) -> None:
    plan = accepted(base, **{field: value})
    assert plan.malformed == (field,)
    assert plan.position_side is None
    assert plan.leverage is None


@pytest.mark.parametrize("field", ["leverage", "timestamp", "confidence", "kill_score", "price", "venue"])
def test_an_empty_optional_field_is_an_absent_one(field: str) -> None:
    assert accepted(OPEN, **{field: ""}).malformed == ()


@pytest.mark.parametrize("venue", ["binance", "BINANCE", "Binance-USDM", "binance_futures"])
def test_this_engines_venue_may_be_written_in_several_ways(venue: str) -> None:
    assert accepted(OPEN, venue=venue).malformed == ()


@pytest.mark.parametrize(
    ("text", "issued_ms"),
    [
        ("1794999990", 1_794_999_990_000),
        ("1794999990.5", 1_794_999_990_500),
        ("1794999990000", 1_794_999_990_000),
        ("2026-11-18T07:46:30Z", 1_794_987_990_000),
        ("2026-11-18T07:46:30", 1_794_987_990_000),
        ("2026-11-18T07:46:30+01:00", 1_794_984_390_000),
        ("0", 0),
        ("1795000001000", STREAM_MS),
        ("99999999999999999999", STREAM_MS),
    ],
)
def test_inc_65_the_age_counts_from_the_older_of_timestamp_and_stream_id(text: str, issued_ms: int) -> None:
    plan = accepted(OPEN, timestamp=text)
    assert (plan.issued_at_ms, plan.malformed) == (issued_ms, ())


@pytest.mark.parametrize(
    ("side", "position_side"), [("BUY", "LONG"), ("SELL", "SHORT"), ("SELL", "LONG"), ("BUY", "SHORT")]
)
def test_an_open_may_name_any_position_side(side: str, position_side: str) -> None:
    assert accepted(OPEN, side=side, positionSide=position_side).position_side == position_side


@pytest.mark.parametrize(("side", "position_side"), [("BUY", "LONG"), ("SELL", "SHORT")])
def test_a_reduce_only_plan_that_could_not_reduce_the_side_it_names_is_judged_by_the_position(
    side: str, position_side: str
) -> None:
    plan = accepted(OPEN, side=side, positionSide=position_side, reduceOnly="true")
    assert (plan.position_side, plan.malformed) == (position_side, ())


# -- size


def test_an_open_with_too_many_fields_is_refused_and_an_exit_goes_on_without_them() -> None:
    many = {f"extra{i}": "x" for i in range(100_000)}
    for base in (OPEN, EXIT):
        plan = accepted(base | many)
        assert plan.malformed == ("fields",)
        assert plan.carried is not None
        assert len(plan.carried) <= 80
        assert set(base) <= set(plan.carried)


def test_what_is_carried_is_bounded_in_name_and_value() -> None:
    for entry in (read(EXIT, **{"n" * 100_000: "v" * 100_000}), read(EXIT, qty="x" * 100_000)):
        carried = entry.carried if isinstance(entry, Plan) else entry.fields
        assert carried is not None
        assert all(len(name) <= 128 and len(value) <= 4096 for name, value in carried.items())


def test_inc_05_the_content_hash_follows_every_byte_and_not_the_order_of_fields() -> None:
    one = accepted(OPEN).content_hash
    assert read_entry("1-1", dict(reversed(raw(OPEN).items()))).content_hash == one
    assert accepted(OPEN, qty="0.50").content_hash != one
    assert accepted(OPEN, note="").content_hash != one
    assert accepted(OPEN, a="bc").content_hash != accepted(OPEN, ab="c").content_hash


def test_inc_23_a_plan_read_back_from_what_it_carries_is_the_same_plan() -> None:
    for base, changes in (
        (OPEN, {"leverage": "3", "positionSide": "LONG", "timestamp": "1794999990", "confidence": "0.7"}),
        (EXIT, {"source": b"\xff", "n" * 300: "v" * 9000}),
        (CLOSE, {"positionSide": "UP", "venue": "elsewhere"}),
    ):
        plan = accepted(base, **changes)
        assert plan.carried is not None
        again = read_entry(STREAM_ID, raw(dict(plan.carried)))
        assert isinstance(again, Plan)
        for field in (
            "side",
            "quantity",
            "reduce_only",
            "action",
            "leverage",
            "position_side",
            "issued_at_ms",
        ):
            assert getattr(again, field) == getattr(plan, field), field


# -- anything at all

NAMES = st.one_of(
    st.sampled_from(
        [name.encode() for name in (*OPEN, "action", "type", "timestamp", "positionSide", "leverage")]
    ),
    st.binary(max_size=8),
)
VALUES = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=20).map(str.encode),
    st.sampled_from(
        [
            b"EXECUTE",
            b"BUY",
            b"SELL",
            b"CLOSE",
            b"0",
            b"1",
            b"true",
            b"FULL_CLOSE_PROPOSED",
            b"LONG",
            b"BTCUSDT",
        ]
    ),
    st.decimals(allow_nan=True, allow_infinity=True).map(lambda one: str(one).encode()),
    st.datetimes().map(lambda one: one.isoformat().encode()),
)


def check(entry: Plan | Refused | DeadLetter) -> None:
    if isinstance(entry, DeadLetter):
        assert entry.reason
        return
    assert 0 < len(entry.plan_id) <= 128
    assert entry.plan_id.isprintable()
    if isinstance(entry, Refused):
        assert entry.reason
        return
    assert entry.carried is not None
    stated = "reduceOnly" in entry.carried or entry.close_fraction is not None
    assert stated
    assert entry.quantity > 0 or entry.close_fraction is not None
    assert entry.issued_at_ms <= STREAM_MS


@given(st.dictionaries(NAMES, VALUES, max_size=12))
@settings(max_examples=300, deadline=None)
def test_reading_never_raises_whatever_bytes_an_entry_holds(entry: dict[bytes, bytes]) -> None:
    check(read_entry(STREAM_ID, entry))


@given(
    st.sampled_from([OPEN, EXIT, CLOSE]),
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.sets(st.sampled_from(sorted(OPEN)), max_size=1),
)
@settings(max_examples=400, deadline=None)
def test_inc_60_whatever_is_accepted_says_whether_it_only_reduces(
    base: dict[str, str], spoilt: dict[bytes, bytes], dropped: set[str]
) -> None:
    entry = raw(base) | spoilt
    check(
        read_entry(STREAM_ID, {name: entry[name] for name in entry if name.decode("latin-1") not in dropped})
    )
