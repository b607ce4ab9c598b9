"""`why`: nothing trades, a symbol, a plan; while the engine runs and when it is dead (SPEC 13, INC-95)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.commands import run
from support.house import House, house, until

from quantum_trader.stores.archive import archived_since
from quantum_trader.stores.codec import decode


@pytest.fixture
def asked(running: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    point_at(running, tmp_path, monkeypatch)
    return running


def point_at(running: House, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_STATE_DIR", str(state_dir))
    monkeypatch.setenv("QT_MODE", "testnet")
    monkeypatch.setenv("QT_EXCHANGE__REST_URL", running.url)


async def answer(*words: str) -> dict[str, Any]:
    """Ask until the engine has answered; on a loaded machine its status may be late once."""

    async def answered() -> dict[str, Any] | None:
        told = await run("why", *words, "--json")
        assert told.exit_code == 0, told.output
        story: dict[str, Any] = decode(told.stdout)
        is_there = story["engine"] == "ready" if not words else story["now"] is not None
        return story if is_there else None

    found: dict[str, Any] = await until(answered, 90, "an answer")
    return found


async def archived(state_dir: Path, count: int) -> None:
    """The archive is written beside the loop, a moment later."""

    async def enough() -> bool:
        return len(archived_since(state_dir, 0, 1000)) >= count

    await until(enough, 20, f"{count} archived decisions")


async def test_a_free_symbol_is_said_to_be_free_and_asking_changes_nothing(asked: House) -> None:
    before = {name async for name in asked.redis.scan_iter("quantum:exec:*")}
    await answer("XRPUSDT")
    told = await run("why", "XRPUSDT")
    assert told.exit_code == 0, told.output
    assert "Nothing stops BUY" in told.output
    assert "✓ fund_caps" in told.output
    assert {name async for name in asked.redis.scan_iter("quantum:exec:*")} == before
    assert await asked.results() == []


async def test_the_answer_comes_from_the_real_gates_on_present_evidence(asked: House) -> None:
    await asked.redis.set("quantum:kill", "opens")
    now = (await answer("XRPUSDT"))["now"]
    assert (now["allowed"], now["gate"], now["reason"]) == (False, "kill_switch", "kill_switch_active")
    await asked.redis.delete("quantum:kill")
    assert (await answer("XRPUSDT"))["now"]["allowed"] is True
    await asked.open("XRPUSDT")
    assert (await answer("XRPUSDT"))["now"]["reason"] == "position_exists_add_denied"
    assert (await answer("ADAUSDT", "--qty", "100000"))["now"]["reason"] == "notional_per_trade_exceeded"


async def test_a_cooldown_is_shown_with_the_time_it_still_holds(asked: House) -> None:
    await asked.redis.set("quantum:safety:cooldown_symbol:XRPUSDT", "1", ex=250)
    told = await run("why", "XRPUSDT")
    assert "cooldown_symbol" in told.output
    assert "It ends by itself in 2" in told.output
    refused = await asked.open("XRPUSDT", plan_id="cooled")
    assert refused["reason"] == "cooldown_symbol"
    assert "It ends by itself in 2" in (await run("why", "cooled")).output


async def test_inc_95_without_a_name_it_answers_why_nothing_is_trading(asked: House, tmp_path: Path) -> None:
    for number in range(3):
        await asked.open("XRPUSDT", qty=400, plan_id=f"too-large-{number}")
    assert (await asked.open("ADAUSDT", qty=100))["decision"] == "FILLED"
    await archived(tmp_path, 4)
    story = await answer()
    assert story["engine"] == "ready"
    for minutes in ("5", "15", "60"):  # the last minute may be over before the answer
        found = story["reasons"][minutes]
        assert (found["plans"], found["executed"]) == (4, 1)
        assert found["top"] == [["notional_per_trade_exceeded", 3]]
    told = (await run("why")).output
    assert "Nothing stops the engine as a whole." in told
    assert "1 of 4 executed; notional_per_trade_exceeded 3×" in told
    assert "too-large-2" in told
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("quantum:kill", "1", "quantum-trader resume"),
        ("quantum:safety:disarmed", '{"reason": "drill"}', "quantum-trader arm"),
        ("quantum:safety:dry_run", '{"reason": "drill"}', "dry_run"),
        ("quantum:safety:cooldown_global", "1", "all symbols cool down"),
        ("quantum:safety:safe_mode", "1", "safe mode"),
    ],
)
async def test_inc_95_what_stops_everything_is_the_first_line(
    asked: House, key: str, value: str, says: str
) -> None:
    await asked.redis.set(key, value, ex=600)

    async def told() -> bool:
        return says in (await run("why")).output.splitlines()[0]

    await until(told, 90, says)


async def test_a_dead_engine_still_says_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(tmp_path) as running:
        point_at(running, tmp_path, monkeypatch)
        assert (await running.open("XRPUSDT", plan_id="last-words"))["decision"] == "FILLED"
    told = await run("why")
    assert told.exit_code == 0, told.output
    assert "no engine works" in told.output
    assert "last-words" in told.output
    by_symbol = await run("why", "XRPUSDT")
    assert "No engine answers" in by_symbol.output
    assert "last-words" in by_symbol.output
    assert "FILLED: filled" in (await run("why", "last-words")).output


async def test_without_redis_the_dead_letters_cannot_be_had_and_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_STATE_DIR", str(tmp_path))
    told = await run("why", "--dead")
    assert told.exit_code == 3
    assert "start it with `quantum-trader run`" in told.stderr


async def test_dead_letters_can_be_looked_at(asked: House) -> None:
    await asked.redis.xadd("quantum:stream:apply.plan", {"colour": "red"})

    async def shown() -> bool:
        return "colour" in (await run("why", "--dead")).output

    await until(shown, 90, "the dead letter")


async def test_a_question_that_makes_no_sense_is_passed_over(asked: House) -> None:
    await asked.redis.rpush(
        "quantum:engine:questions", "{", '{"id": "1"}', '{"id": "2", "symbol": "X", "qty": "?"}'
    )
    assert (await answer("XRPUSDT"))["now"]["allowed"] is True


async def test_nobody_knows_a_symbol_that_the_venue_does_not_list(asked: House) -> None:
    told = await run("why", "NOSUCHUSDT")
    assert told.exit_code == 1
    assert "nothing is known" in told.output
