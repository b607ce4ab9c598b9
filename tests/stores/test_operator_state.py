"""Operator keys are read so that whatever cannot be read stops opens, and reading never raises."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError
from support.cases import NOW_MS

from quantum_trader.stores.cooldown_watch import Asked
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.operator_state import OperatorKeys, OperatorState, parse_policy

NOBODY_COOLS = OperatorKeys(Keys(), Asked(), one_by_one=True)
WRONG_TYPE = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")


def parsed(*answers: Any, each: tuple[str, ...] = (), required: bool = True) -> OperatorState:
    """Read the answers about kill, safe mode, global cooldown, disarm and BSC, then of each symbol."""
    return OperatorKeys(Keys(), Asked(each), one_by_one=True).parse(
        ({}, *answers[:5], None, *answers[5:]), bsc_required=required, now_ms=NOW_MS
    )


def test_absent_keys_stop_nothing_but_what_needs_a_watchdog() -> None:
    state = parsed(None, None, None, None, None)
    assert (state.kill, state.latches.disarmed, state.read_at_ms) == ("", "", NOW_MS)
    assert not state.latches.safe_mode
    assert not state.latches.cooldown_global
    assert (state.bsc.required, state.bsc.state) == (True, "")


@pytest.mark.parametrize(
    ("value", "kill"), [(b"1", "1"), (b"0", "0"), (b"opens", "opens"), (b"\xff", "unreadable")]
)
def test_inc_40_the_kill_switch_is_compared_as_text(value: bytes, kill: str) -> None:
    assert parsed(value, None, None, None, None).kill == kill


def test_a_kill_switch_or_a_disarm_that_is_set_to_nothing_is_still_set() -> None:
    state = parsed(b"", None, None, b"", None)
    assert state.kill == "unreadable"
    assert state.latches.disarmed == "unreadable"


def test_a_latch_holds_whatever_its_value() -> None:
    state = parsed(None, b"", b"0", None, None, 1, 0, each=("SOLUSDT", "BTCUSDT"))
    assert state.latches.safe_mode
    assert state.latches.cooldown_global
    assert state.latches.cooldown_symbols == {"SOLUSDT"}
    assert state.symbols_read == {"SOLUSDT", "BTCUSDT"}


def test_a_stop_that_is_no_string_is_set_and_unreadable() -> None:
    state = parsed(*[WRONG_TYPE] * 5)
    assert (state.kill, state.latches.disarmed, state.bsc.state) == ("unreadable",) * 3
    assert state.latches.safe_mode
    assert state.latches.cooldown_global


@pytest.mark.parametrize("health", [b"", b"{", b"[]", b"7", b'"OK"', b"{}", b'{"state":"OK"}', b"\xff"])
def test_a_health_that_cannot_be_read_is_no_sight(health: bytes) -> None:
    assert parsed(None, None, None, None, health).bsc.state == "unreadable"


def test_a_health_that_can_be_read_is_taken_as_it_is() -> None:
    bsc = parsed(None, None, None, None, b'{"state":"DEGRADED","authority":"CONTROLLER"}').bsc
    assert (bsc.state, bsc.authority) == ("DEGRADED", "CONTROLLER")


def test_stops_that_are_read_together_say_the_same() -> None:
    together = OperatorKeys(Keys(), Asked(("SOLUSDT", "BTCUSDT"), ("XRPUSDT",)))
    stops = [b"1", None, b"0", b"why", b"{", b"1"]
    answers: list[Any] = [{}, stops, 5, 1, 0, 0]
    assert not together.finds_more(answers)
    read = together.parse(answers, bsc_required=True, now_ms=NOW_MS)
    each = OperatorKeys(Keys(), Asked(("SOLUSDT", "BTCUSDT", "XRPUSDT")), one_by_one=True)
    assert read == each.parse([{}, *stops, 1, 0, 0], bsc_required=True, now_ms=NOW_MS)
    assert (read.kill, read.latches.safe_mode, read.latches.cooldown_symbols) == ("1", False, {"SOLUSDT"})


@pytest.mark.parametrize(
    ("existing", "together", "more"), [(1, 0, False), (2, 0, True), (0, 0, False), (1, 1, True)]
)
def test_what_is_counted_and_not_seen_is_asked_for_again(existing: int, together: int, *, more: bool) -> None:
    keys = OperatorKeys(Keys(), Asked((), ("XRPUSDT",)))
    assert keys.finds_more([{}, [b"1", *[None] * 5], existing, together]) is more


def policy(**fields: bytes) -> dict[bytes, bytes]:
    return {b"universe_symbols": b'["BTCUSDT"]'} | {name.encode(): value for name, value in fields.items()}


def test_a_good_policy_has_its_symbols_and_its_version() -> None:
    read = parse_policy(policy(policy_version=b"7"), NOW_MS)
    assert (read.universe, read.version, read.problem) == ({"BTCUSDT"}, "7", "")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"policy_version": b"7"},
        *(
            policy(universe_symbols=text)
            for text in (b"", b"BTCUSDT", b"{}", b"[1]", b"[null]", b"\xff", b"7")
        ),
        *(
            policy(valid_until_epoch=text)
            for text in (
                b"soon",
                b"NaN",
                b"sNaN",
                b"-inf",
                b"1e999999999",
                b"-1",
                b"0",
                b"1794999999",
                b"1795000000",
            )
        ),
    ],
)
def test_a_policy_that_cannot_be_used_says_why(fields: dict[bytes, bytes]) -> None:
    assert parse_policy(fields, NOW_MS).problem


@pytest.mark.parametrize("until", [b"", b"1795000000.001", b"1795000001"])
def test_a_policy_is_valid_before_its_end_and_without_one(until: bytes) -> None:
    assert parse_policy(policy(valid_until_epoch=until), NOW_MS).problem == ""


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=20), st.just(WRONG_TYPE)), min_size=6, max_size=6),
    st.dictionaries(
        st.sampled_from([b"universe_symbols", b"valid_until_epoch", b"policy_version"]),
        st.one_of(st.binary(max_size=12), st.decimals().map(lambda one: str(one).encode())),
    ),
)
@settings(max_examples=200, deadline=None)
def test_reading_never_raises(values: list[Any], raw: dict[bytes, bytes]) -> None:
    state = NOBODY_COOLS.parse((raw, *values), bsc_required=True, now_ms=NOW_MS)
    assert state.kill or values[0] is None
