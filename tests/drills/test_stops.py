"""Every stop stops, from the next plan on, and only what it is meant to (SPEC 2, 5)."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.house import House, house, trace_of, until, unwatch

from quantum_trader.stores.codec import decode
from quantum_trader.stores.operator import StopStore


async def test_inc_40_the_kill_switch_set_with_a_plain_client_stops_the_next_plan(running: House) -> None:
    wire = running.watch()
    await running.redis.set("quantum:kill", "1")
    result = await running.open()
    assert (result["decision"], result["gate"], result["reason"]) == (
        "BLOCKED",
        "kill_switch",
        "kill_switch_active",
    )
    assert wire.orders == []
    await running.redis.delete("quantum:kill")
    assert (await running.open())["decision"] == "FILLED"


async def test_the_kill_switch_at_1_halts_exits_too_and_at_opens_lets_them_pass(running: House) -> None:
    await running.open()
    await running.redis.set("quantum:kill", "1")
    assert (await running.close())["reason"] == "kill_switch_active"
    await running.redis.set("quantum:kill", "opens")
    assert (await running.open("ADAUSDT", qty=100))["reason"] == "kill_switch_active"
    assert (await running.close())["decision"] == "FILLED"


@pytest.mark.parametrize("value", ["on", "true", "2", b"\xff"])
async def test_an_unknown_kill_value_stops_opens_and_lets_exits_pass(running: House, value: object) -> None:
    await running.open()
    await running.redis.set("quantum:kill", value)
    assert (await running.open("ADAUSDT", qty=100))["reason"] == "kill_switch_active"
    assert (await running.close())["decision"] == "FILLED"


LATCHES = [
    ("quantum:safety:safe_mode", "rate_limit", "safe_mode"),
    ("quantum:safety:cooldown_global", "rate_limit", "cooldown_global"),
    ("quantum:safety:cooldown_symbol:XRPUSDT", "rate_limit", "cooldown_symbol"),
    ("quantum:safety:disarmed", "kill_switch", "disarmed"),
]


@pytest.mark.parametrize(("key", "gate", "reason"), LATCHES)
async def test_inc_42_each_latch_stops_an_order_and_its_deletion_frees_the_next(
    running: House, key: str, gate: str, reason: str
) -> None:
    await running.open("ADAUSDT", qty=100)
    await running.redis.set(key, "1")
    result = await running.open("XRPUSDT")
    assert (result["decision"], result["gate"], result["reason"]) == ("BLOCKED", gate, reason)
    assert (await running.close("ADAUSDT"))["decision"] == "FILLED"
    await running.redis.delete(key)
    assert (await running.open("XRPUSDT"))["decision"] == "FILLED"


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "new symbol"])
async def test_where_nothing_is_claimed_a_symbols_cooldown_stops_all_the_same(
    running: House, watched: bool
) -> None:
    await running.redis.set("quantum:safety:dry_run", "1")
    assert (await running.open())["decision"] == "DRY_RUN"
    if not watched:
        await unwatch(running)
    await running.redis.set("quantum:safety:cooldown_symbol:XRPUSDT", "1")
    result = await running.open()
    assert (result["decision"], result["gate"], result["reason"]) == (
        "BLOCKED",
        "rate_limit",
        "cooldown_symbol",
    )
    assert result["would_execute"] == "false"


async def test_a_cooldown_that_the_claim_finds_is_told_as_a_denial_everywhere(running: House) -> None:
    await unwatch(running)
    await running.redis.set("quantum:safety:cooldown_symbol:XRPUSDT", "1")
    result = await running.open()
    assert (result["gate"], result["reason"]) == ("rate_limit", "cooldown_symbol")
    assert result["would_execute"] == "false"
    denied = [verdict for verdict in trace_of(result)["verdicts"] if verdict["ruling"] == "deny"]
    assert [(verdict["code"], verdict["evidence"]) for verdict in denied] == [
        ("cooldown_symbol", {"found_by": "claim"})
    ]
    permit = decode(await running.redis.get(running.keys.permit_p32(result["plan_id"])))
    assert (permit["allow"], permit["reason"]) == (False, "cooldown_symbol")
    assert "XRPUSDT" in running.app._joined.rooms.cooldowns.asked().each  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["testnet", "dry_run"])
@pytest.mark.parametrize(
    ("key", "gate", "reason"), [("quantum:kill", "kill_switch", "kill_switch_active"), *LATCHES]
)
async def test_a_stop_of_the_wrong_type_stops_opens_in_every_mode_and_no_exit(
    running: House, key: str, gate: str, reason: str, mode: str
) -> None:
    await running.open("ADAUSDT", qty=100)
    if mode == "dry_run":
        await running.redis.set("quantum:safety:dry_run", "1")
    await running.redis.hset(key, "value", "1")
    result = await running.open("XRPUSDT")
    assert (result["decision"], result["gate"], result["reason"]) == ("BLOCKED", gate, reason)
    assert (await running.close("ADAUSDT"))["decision"] == ("FILLED" if mode == "testnet" else "DRY_RUN")


async def test_the_claim_sees_a_kill_that_came_after_the_evidence(running: House) -> None:
    """The switch is read again inside the atomic claim (SPEC 5.1)."""
    claims = running.app._joined.consumer._runner._steps.claims  # type: ignore[union-attr]
    take = claims._take

    async def kill_first(*args: object) -> object:
        await running.redis.set("quantum:kill", "1")
        return await take(*args)  # type: ignore[arg-type]

    claims._take = kill_first  # type: ignore[method-assign]
    result = await running.open()
    assert (result["decision"], result["gate"], result["reason"]) == (
        "BLOCKED",
        "kill_switch",
        "kill_switch_active",
    )


async def test_opens_need_a_universe_and_exits_do_not(running: House) -> None:
    await running.open()
    await running.redis.delete(running.keys.policy)
    assert (await running.open("ADAUSDT", qty=100))["reason"] == "active_slots_no_policy"
    await running.redis.hset(running.keys.policy, mapping={"universe_symbols": '["BTCUSDT"]'})
    assert (await running.open("ADAUSDT", qty=100))["reason"] == "active_slots_not_in_universe"
    await running.redis.hset(running.keys.policy, "valid_until_epoch", "1000")
    assert (await running.open("BTCUSDT", qty="0.002"))["reason"] == "active_slots_no_policy"
    assert (await running.close())["decision"] == "FILLED"


async def kills(running: House) -> list[tuple[str, str]]:
    return [(event["kill"], event["reason"]) for event in await running.events("KILL_SWITCH_CHANGED")]


async def test_a_kill_by_a_plain_client_is_published_once_and_one_by_a_command_not_again(
    running: House,
) -> None:
    stops = StopStore(running.app.joined.database, running.keys)  # type: ignore[union-attr]

    async def told(*changes: tuple[str, str]) -> None:
        async def published() -> bool:
            return len(await kills(running)) >= len(changes)

        await until(published, 20, "the event")
        assert await kills(running) == list(changes)

    await running.redis.set(running.keys.kill, "1")
    await told(("1", ""))
    await stops.kill("", "over", running.app._clock.now_ms())
    await running.redis.set(running.keys.kill, "opens")
    await told(("1", ""), ("0", "over"), ("opens", ""))
    await running.redis.delete(running.keys.kill)
    await told(("1", ""), ("0", "over"), ("opens", ""), ("0", ""))


async def test_the_newest_event_decides_whether_a_kill_is_published(running: House) -> None:
    stops = StopStore(running.app.joined.database, running.keys)  # type: ignore[union-attr]
    assert not await stops.tell_kill(1)
    await stops.kill("1", "drill", 2)
    await running.redis.xadd(running.keys.governor_events, {"event": "ARMED", "kill": "0"})
    assert not await stops.tell_kill(3)
    assert await kills(running) == [("1", "drill")]


async def test_inc_14_margin_failures_set_the_cooldowns_and_safe_mode_at_the_fifth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cooldowns = ("quantum:safety:cooldown_global", "quantum:safety:cooldown_symbol:BTCUSDT")
    async with house(tmp_path, settings={"balance_usdt": 100}) as poor:
        for number in range(5):
            await poor.redis.delete(*cooldowns)
            assert not await poor.redis.exists("quantum:safety:safe_mode")
            result = await poor.open("BTCUSDT", qty="0.002", leverage="1", plan_id=f"poor-{number}")
            assert (result["gate"], result["reason"]) == ("margin_guard", "insufficient_margin")
            assert all([await poor.redis.ttl(latch) > 200 for latch in cooldowns])
        assert await poor.redis.ttl("quantum:safety:safe_mode") > 800
        assert len(await poor.events("SAFE_MODE_ON")) == 1
        assert (await poor.open("XRPUSDT"))["reason"] == "safe_mode"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "safe_mode_triggered" in line]
    assert "poor-4" in line
