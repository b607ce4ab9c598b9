"""`positions`, `latches`, `lag`, `verify`: what an operator looks at, with its exit codes (SPEC 13)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.commands import run
from support.house import House, house, until

from quantum_trader.domain.trading import Leg
from quantum_trader.stores.codec import decode, encode

PROMISES = 14


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    async with house(tmp_path) as running:
        monkeypatch.setenv("QT_STATE_DIR", str(tmp_path))
        monkeypatch.setenv("QT_MODE", "testnet")
        monkeypatch.setenv("QT_EXCHANGE__REST_URL", running.url)
        yield running


async def told(*words: str) -> Any:
    return decode((await run(*words, "--json")).stdout)


# -- positions


async def test_positions_shows_both_views_and_the_distance_to_the_limits(desk: House) -> None:
    await desk.open("XRPUSDT", qty=20)
    (row,) = (await told("positions"))["positions"]
    assert (row["symbol"], row["exchange_amt"], row["ledger_amt"], row["difference"]) == (
        "XRPUSDT",
        "20",
        "20",
        "0",
    )
    assert abs(Decimal(row["pnl_pct"])) < 3
    shown = await run("positions")
    assert shown.exit_code == 0
    assert "BSC closes at" in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80


async def test_a_difference_ends_with_1_and_a_missing_redis_is_no_difference(desk: House) -> None:
    await desk.open("XRPUSDT", qty=20)
    await spoil_ledger(desk)
    found = await run("positions")
    assert found.exit_code == 1
    assert "-15" in found.output
    server = desk.app._server
    assert server is not None
    await server.stop()
    blind = await run("positions")
    assert blind.exit_code == 0
    assert "the ledger is not known" in blind.output


# -- latches


async def test_latches_shows_each_stop_with_its_time_and_its_cure(desk: House) -> None:
    assert (await run("latches")).output.strip() == "no stop is set"
    await desk.redis.set("quantum:kill", "opens")
    await desk.redis.set("quantum:safety:cooldown_symbol:XRPUSDT", "1", ex=200)
    rows = {row["name"]: row for row in await told("latches")}
    assert set(rows) == {"kill", "cooldown_symbol:XRPUSDT"}
    assert rows["kill"]["left_s"] is None
    assert 150 < rows["cooldown_symbol:XRPUSDT"]["left_s"] <= 200
    assert "quantum-trader resume" in rows["kill"]["cure"]


async def test_a_cleared_cooldown_lets_the_next_plan_through_and_is_published(desk: House) -> None:
    await desk.redis.set("quantum:safety:cooldown_symbol:XRPUSDT", "1", ex=200)
    assert (await desk.open("XRPUSDT"))["reason"] == "cooldown_symbol"
    assert (await run("latches", "clear", "cooldown_symbol:XRPUSDT")).exit_code == 2
    cleared = await run("latches", "clear", "cooldown_symbol:xrpusdt", "--reason", "margin added")
    assert cleared.output.strip() == "cleared cooldown_symbol:xrpusdt"
    assert (await desk.open("XRPUSDT"))["decision"] == "FILLED"
    (event,) = await desk.events("LATCH_CLEARED")
    assert event["reason"] == "margin added"


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("kill", 1, "resume"),
        ("disarmed", 1, "arm"),
        ("dry_run", 1, "mode"),
        ("idempotency", 1, "never forgotten"),
        ("exec:processed:plan-1", 1, "never forgotten"),
        ("processed:plan-1", 1, "never forgotten"),
        ("nonsense", 2, "safe_mode"),
    ],
)
async def test_clear_touches_no_idempotency_and_no_stop_of_an_operator(
    desk: House, name: str, code: int, says: str
) -> None:
    await desk.open(plan_id="plan-1")
    await desk.redis.set("quantum:kill", "1")
    await desk.redis.set("quantum:safety:disarmed", "{}")
    before = await desk.redis.keys("quantum:*")
    refused = await run("latches", "clear", name, "--reason", "drill")
    assert refused.exit_code == code
    assert says in refused.output
    kept = set(await desk.redis.keys("quantum:*"))
    assert {key for key in before if b":permit:" not in key and b":bsc:" not in key} <= kept


async def test_inc_52_latches_outlive_a_restart(tmp_path: Path) -> None:
    stops = {"quantum:kill": "opens", "quantum:safety:disarmed": "{}", "quantum:safety:safe_mode": "1"}
    async with house(tmp_path) as running:
        for key, value in stops.items():
            await running.redis.set(key, value)
    async with house(tmp_path) as running:
        for key, value in stops.items():
            assert await running.redis.get(key) == value.encode()
            for other in stops.keys() - {key}:
                await running.redis.delete(other)
            assert (await running.open("ADAUSDT", qty=100))["decision"] == "BLOCKED"
            for again, text in stops.items():
                await running.redis.set(again, text)


# -- lag


async def test_lag_counts_what_waits_and_what_was_buried(desk: House) -> None:
    await desk.open()
    found = await told("lag")
    assert (found["waiting"], found["unsettled"], found["oldest_s"]) == (0, 0, None)
    await desk.redis.xadd("quantum:stream:apply.plan", {"colour": "red"})

    async def buried() -> bool:
        return bool((await told("lag"))["dead_letters"] == 1)

    await until(buried, 90, "the dead letter")


async def test_inc_83_plans_that_nobody_settles_are_seen(desk: House) -> None:
    await desk.app._joined.consumer.drain(0)  # type: ignore[union-attr]
    desk.app._joined.consumer.stop()  # type: ignore[union-attr]
    await asyncio.gather(desk.app._consuming, return_exceptions=True)  # type: ignore[arg-type]
    await desk.redis.xadd("quantum:stream:apply.plan", {"plan_id": "old"}, id="1-1")
    found = await run("lag")
    assert found.exit_code == 1
    verified = {check["name"]: check for check in await told("verify")}
    assert verified["unsettled"]["fine"] is False


# -- verify


async def test_a_good_house_keeps_every_promise(desk: House) -> None:
    await desk.until_watched()
    await desk.open("XRPUSDT", qty=20)
    await desk.close("XRPUSDT")
    verified = await run("verify", "--json")
    checks = {check["name"]: check for check in decode(verified.stdout)}
    assert len(checks) == PROMISES
    broken = [check for check in checks.values() if check["fine"] is not True]
    assert [check["name"] for check in broken] == ["config"], broken  # the drill's engine came from no file
    assert verified.exit_code == 1


@pytest.mark.parametrize(
    ("break_it", "name"),
    [
        ("lease", "lease"),
        ("ledger", "ledger"),
        ("foreign", "foreign orders"),
        ("kill", "kill switch"),
        ("bsc", "bsc"),
        ("twice", "results"),
        ("lost", "results"),
    ],
)
async def test_each_broken_promise_is_found(desk: House, break_it: str, name: str) -> None:
    await desk.open("XRPUSDT", qty=20)
    await BREAKS[break_it](desk)
    checks = {check["name"]: check for check in await told("verify")}
    assert checks[name]["fine"] is False, checks[name]
    assert checks[name]["cure"]


async def _other_holder(desk: House) -> None:
    await desk.app._upkeep.stop()  # type: ignore[union-attr]
    name = desk.keys.lease(desk.app._joined.account)  # type: ignore[union-attr]
    await desk.redis.set(name, "elsewhere-1-ff:9", px=60_000)


async def spoil_ledger(desk: House) -> None:
    """Write a wrong amount after the engine has compared for the last time, or it would put it right."""
    ledger = desk.app._joined.rooms.ledger  # type: ignore[union-attr]

    async def knows_better() -> bool:  # the result stands on the stream a moment before the fill in memory
        return ledger[Leg("XRPUSDT")].position_amt == 20

    await until(knows_better, 20, "the fill in the engine's own ledger")
    await desk.app._joined.streams.stop()  # type: ignore[union-attr]
    await desk.app._upkeep.stop()  # type: ignore[union-attr]
    await desk.redis.hset("quantum:position:ledger:XRPUSDT", "position_amt", "35")


async def _foreign(desk: House) -> None:
    await desk.trade("ADAUSDT", "BUY", Decimal(100), "somebody-else")

    async def seen() -> bool:
        return bool(await desk.events("FOREIGN_ORDER"))

    await until(seen, 30, "the foreign order")


async def _odd_kill(desk: House) -> None:
    await desk.redis.set("quantum:kill", "maybe")


async def _blind_bsc(desk: House) -> None:
    await desk.app._bsc.stop()  # type: ignore[union-attr]  # or its next poll says otherwise
    health = {"state": "BLIND", "authority": "CONTROLLER", "last_good_poll_ms": 1}
    await desk.redis.set("quantum:bsc:health", encode(health), ex=60)


async def _second_result(desk: House) -> None:
    (result,) = await desk.results()
    await desk.redis.xadd(desk.keys.results, result)  # type: ignore[arg-type]


async def _lost_result(desk: House) -> None:
    await desk.app._joined.consumer.drain(5)  # type: ignore[union-attr]
    name = await desk.redis.xadd(desk.keys.plans, {"colour": "red"})
    fields = {"plan_id": "swallowed", "decision": "EXECUTE"}

    async def delivered() -> bool:
        (group,) = await desk.redis.xinfo_groups(desk.keys.plans)
        return bool(group["last-delivered-id"] == name and group["pending"] == 0)

    await until(delivered, 20, "the first entry")
    desk.app._joined.consumer.stop()  # type: ignore[union-attr]
    await asyncio.gather(desk.app._consuming, return_exceptions=True)  # type: ignore[arg-type]
    lost = await desk.redis.xadd(desk.keys.plans, fields)
    await desk.redis.xgroup_setid(desk.keys.plans, "quantum-trader", lost)


BREAKS = {
    "lease": _other_holder,
    "ledger": spoil_ledger,
    "foreign": _foreign,
    "kill": _odd_kill,
    "bsc": _blind_bsc,
    "twice": _second_result,
    "lost": _lost_result,
}


async def test_without_an_engine_each_says_so_with_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_STATE_DIR", str(tmp_path / "nothing"))
    for words in (["verify"], ["latches"], ["lag"], ["mode"]):
        gone = await run(*words)
        assert gone.exit_code == 3, words
        assert "quantum-trader run" in gone.output
