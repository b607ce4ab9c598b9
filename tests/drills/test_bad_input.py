"""Anyone may write to the stream: nothing is lost silently, nothing wrong trades (SPEC 3, 15)."""

from __future__ import annotations

from typing import Any

import pytest
from support.house import House, trace_of, until

GOOD = {"symbol": "XRPUSDT", "side": "BUY", "qty": "20", "reduceOnly": "false"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"qty": "1e3"}, "invalid_qty"),
        ({"qty": "-5"}, "invalid_qty"),
        ({"qty": "0"}, "invalid_qty"),
        ({"qty": "NaN"}, "invalid_qty"),
        ({"side": "LONG"}, "invalid_side"),
        ({"symbol": "xrp/usdt"}, "invalid_symbol"),
        ({"symbol": "NOTLISTED"}, "invalid_symbol"),
        ({"type": "LIMIT"}, "invalid_type"),
        ({"action": "PARTIAL_10"}, "invalid_action"),
        ({"reduceOnly": "maybe"}, "invalid_reduceOnly"),
        ({"leverage": "50"}, "invalid_leverage"),
        ({"leverage": "2.5"}, "invalid_leverage"),
        ({"confidence": "high"}, "invalid_confidence"),
        ({"venue": "kraken"}, "invalid_venue"),
        ({"timestamp": "yesterday"}, "invalid_timestamp"),
    ],
)
async def test_a_plan_with_a_wrong_field_is_refused_by_that_field(
    running: House, change: dict[str, str], reason: str
) -> None:
    wire = running.watch()
    result = await running.result(await running.submit(**{**GOOD, **change}))
    assert (result["decision"], result["gate"], result["reason"]) == ("BLOCKED", "intake", reason)
    assert wire.orders == []


async def test_inc_60_a_plan_without_reduce_only_is_refused_never_assumed_false(running: House) -> None:
    result = await running.result(await running.submit(symbol="XRPUSDT", side="SELL", qty=20))
    assert (result["decision"], result["reason"]) == ("BLOCKED", "invalid_reduceOnly")


async def test_what_has_no_readable_plan_id_goes_to_the_dead_letters_acknowledged(running: House) -> None:
    garbage: list[dict[Any, Any]] = [
        {"hello": "world"},
        {"plan_id": ""},
        {b"plan_id": b"\xff\xfe"},
        {"plan_id": "x" * 200},
    ]
    for entry in garbage:
        await running.redis.xadd(running.keys.plans, entry)

    async def buried() -> bool:
        return await running.redis.xlen(running.keys.dead_letters) == len(garbage)

    await until(buried, 20, "four dead letters")
    letters = await running.redis.xrange(running.keys.dead_letters)
    assert all(fields[b"reason"] and fields[b"stream_id"] for _, fields in letters)
    assert letters[0][1][b"hello"] == b"world"
    assert (await running.redis.xpending(running.keys.plans, "quantum-trader"))["pending"] == 0
    assert (await running.open())["decision"] == "FILLED"


async def test_another_decision_than_execute_is_skipped(running: House) -> None:
    result = await running.result(await running.submit(**GOOD | {"decision": "HOLD"}))
    assert (result["decision"], result["reason"]) == ("SKIPPED", "decision_HOLD")


async def test_inc_60_an_old_plan_expires_by_its_own_timestamp(running: House) -> None:
    old_s = running.app._clock.now_ms() // 1000 - 3600
    result = await running.result(await running.submit(**GOOD, timestamp=old_s))
    assert (result["decision"], result["reason"], result["executed"]) == ("EXPIRED", "expired", "false")


async def test_a_malformed_optional_field_is_ignored_on_an_exit_and_reported(running: House) -> None:
    await running.open()
    result = await running.close(confidence="high", leverage="many")
    assert result["decision"] == "FILLED"
    assert set(trace_of(result)["malformed"]) == {"confidence", "leverage"}


async def test_unknown_fields_travel_through_to_the_trace(running: House) -> None:
    result = await running.open(strategy="mean-revert", note="ü")
    assert trace_of(result)["plan"]["strategy"] == "mean-revert"
    assert trace_of(result)["plan"]["note"] == "ü"


async def test_inc_43_a_forged_permit_changes_nothing(running: House) -> None:
    for name in (running.keys.permit_p32("forged"), running.keys.permit_p33("forged")):
        await running.redis.set(name, '{"allow": true}')
    await running.redis.set(running.keys.kill, "opens")
    result = await running.result(await running.submit(**GOOD, plan_id="forged"))
    assert (result["decision"], result["gate"]) == ("BLOCKED", "kill_switch")
    assert b'"allow": true' not in await running.redis.get(running.keys.permit_p32("forged"))


async def test_a_refused_field_is_answered_with_what_it_may_say(running: House) -> None:
    result = await running.open(positionSide="UP")
    assert (result["gate"], result["reason"]) == ("intake", "invalid_positionSide")
    assert all(word in result["error"] for word in ("UP", "LONG", "SHORT", "BOTH"))


async def test_a_dead_letter_of_thousands_of_fields_is_cut_and_ends_nothing(running: House) -> None:
    await running.redis.xadd(running.keys.plans, {f"f{number}": "x" for number in range(6000)})

    async def buried() -> bool:
        return await running.redis.xlen(running.keys.dead_letters) == 1

    await until(buried, 20, "the dead letter")
    ((_, letter),) = await running.redis.xrange(running.keys.dead_letters)
    assert letter[b"fields_left_out"] == b"5000"
    assert letter[b"f999"] == b"x"
    assert b"f1000" not in letter
    assert (await running.redis.xpending(running.keys.plans, "quantum-trader"))["pending"] == 0
