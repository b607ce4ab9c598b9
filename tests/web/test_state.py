"""Health, readiness, metrics and /api/* of a real engine, as monitors and programs see them."""

import asyncio
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.house import House, engine_config, exchange, until
from support.web import BEARER

from quantum_trader.app import App
from quantum_trader.bsc.health import Authority, Health, State
from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import FaultKind, FaultRule
from quantum_trader.stores.lease import Lease
from quantum_trader.web.live import CLIENTS_MAX, QUEUE_MAX
from quantum_trader.web.loop_lag import EVERY_S

pytestmark = [pytest.mark.drill, pytest.mark.usefixtures("account")]


async def get(running: House, path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(running.app.web.url + path) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith(("{", "[")) else text


async def post(running: House, path: str, body: Any) -> tuple[int, Any]:
    url = running.app.web.url + path
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=BEARER) as answer:
        return answer.status, await answer.json()


async def failing(running: House) -> list[str]:
    """Names of the checks of /readyz that do not hold."""
    _, body = await get(running, "/readyz")
    return [check["check"] for check in body["checks"] if not check["ok"]]


async def metric(running: House, line: str) -> float | None:
    """The value of a sample; None while there is none."""
    _, text = await get(running, "/metrics")
    found = [row for row in text.splitlines() if row.startswith(line + " ")]
    return float(found[0].rpartition(" ")[2]) if found else None


async def test_healthz_says_that_the_loop_answers_and_how_bsc_is(running: House) -> None:
    async def reported() -> bool:
        return bool((await get(running, "/healthz"))[1]["bsc"]["state"] == "OK")

    await until(reported, 20, "BSC's state")
    status, body = await get(running, "/healthz")
    assert status == 200
    assert body["alive"] is True
    assert body["bsc"] == {"state": "OK", "authority": "CONTROLLER"}


async def bsc_shown(url: str) -> tuple[str, str]:
    """BSC's state by /healthz and by /metrics."""
    async with aiohttp.ClientSession() as session:
        async with session.get(url + "/healthz") as answer:
            state = (await answer.json())["bsc"]["state"]
        async with session.get(url + "/metrics") as answer:
            text = await answer.text()
    found = re.findall(r'^quantum_trader_bsc_state\{state="(\w+)"\} 1.0$', text, flags=re.MULTILINE)
    return state, ",".join(found)


async def test_inc_102_a_bsc_that_redis_does_not_hear_shows_how_it_is(running: House) -> None:
    sink = running.app.web.view.bsc_sink
    assert sink is not None

    async def seen() -> bool:
        return await bsc_shown(running.app.web.url) == ("OK", "OK")

    await until(seen, 20, "BSC's state")
    assert sink.last_health is not None
    sink._writer = None
    sink.health(replace(sink.last_health, state=State.BLIND))
    assert await bsc_shown(running.app.web.url) == ("BLIND", "BLIND")


async def test_a_bsc_of_another_process_that_saw_the_account_later_is_shown(running: House) -> None:
    await running.until_watched()
    sink = running.app.web.view.bsc_sink
    assert sink is not None
    sink._writer = None
    sink.health(Health(State.BLIND, Authority.CONTROLLER, 10, 1, 3))
    later = Health(State.DEGRADED, Authority.CONTROLLER, 10, SystemClock().now_ms(), 3)
    await running.redis.set(running.keys.bsc_health, json.dumps(later.as_fields()))

    async def seen() -> bool:
        return await bsc_shown(running.app.web.url) == ("DEGRADED", "DEGRADED")

    await until(seen, 20, "the other BSC's state")


async def test_inc_102_bsc_is_shown_while_the_engine_waits_for_an_exchange(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        venue.faults.add(FaultRule(FaultKind.STATUS_BEFORE, preset="503_unknown", count=10_000))
        app = App(engine_config(tmp_path, url))
        starting = asyncio.create_task(app.start())

        async def shown() -> bool:
            return bool(app.web.url) and await bsc_shown(app.web.url) == ("DEGRADED", "DEGRADED")

        try:
            await until(shown, 30, "BSC's state")
            assert app.joined is None
        finally:
            await end_tasks([starting])
            await app.stop()


async def test_an_engine_that_works_is_ready(running: House) -> None:
    async def ready() -> bool:
        return (await get(running, "/readyz"))[0] == 200

    await until(ready, 20, "readiness")
    assert await metric(running, "quantum_trader_ready") == 1


async def test_inc_83_up_is_not_ready_where_the_exchange_cannot_be_read(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.web.readiness.POSITIONS_AGE_MS_MAX", 8_000)
    assert "positions" not in await failing(running)
    running.fault(FaultKind.STATUS_BEFORE, preset="503_unknown", count=10_000)

    async def noticed() -> bool:
        return "positions" in await failing(running)

    await until(noticed, 30, "/readyz to notice")
    status, body = await get(running, "/readyz")
    assert status == 503
    check = next(check for check in body["checks"] if check["check"] == "positions")
    assert check["problem"]
    assert "doctor" in check["cure"]
    assert (await get(running, "/healthz"))[0] == 200


async def test_inc_83_up_is_not_ready_where_plans_wait_and_none_ends(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.web.readiness.STALL_MS", 200)
    joined = running.app._joined
    assert joined is not None
    joined.consumer.stop()
    assert running.app._consuming is not None
    await asyncio.gather(running.app._consuming, return_exceptions=True)  # or its read delivers the plan
    await running.submit(symbol="XRPUSDT", side="BUY", qty=20, reduceOnly="false")

    async def noticed() -> bool:
        return "plans_move" in await failing(running)

    await until(noticed, 30, "/readyz to notice")


async def test_a_lost_lease_and_a_dead_redis_are_not_ready(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = running.app._joined
    assert joined is not None
    joined.consumer.stop()
    assert running.app._consuming is not None
    await asyncio.gather(running.app._consuming, return_exceptions=True)  # it would say "connected" again
    monkeypatch.setattr(Lease, "is_held", False)
    joined.consumer.connected = False
    assert {"lease", "redis"} <= set(await failing(running))


async def test_inc_91_a_blocking_call_shows_as_lag_of_the_loop(running: House) -> None:
    await asyncio.sleep(0)
    time.sleep(EVERY_S * 3)  # noqa: ASYNC251  # the fault itself

    async def noticed() -> bool:
        return (await metric(running, "quantum_trader_event_loop_lag_seconds") or 0) > EVERY_S

    await until(noticed, 20, "the lag")


async def test_plans_are_counted_by_outcome_gate_and_reason(running: House) -> None:
    await running.open("XRPUSDT", 20)
    await running.open("BTCUSDT", 20, kill_score="0.95")
    await running.result(
        await running.submit(symbol="XRPUSDT", side="BUY", qty="nonsense", reduceOnly="false")
    )
    await running.result(
        await running.submit(symbol="XRPUSDT", side="BUY", qty=1, decision="PONDER", reduceOnly="false")
    )

    def line(outcome: str, gate: str, reason: str) -> str:
        return f'quantum_trader_plans_total{{gate="{gate}",outcome="{outcome}",reason="{reason}"}}'

    async def counted() -> bool:
        return await metric(running, line("SKIPPED", "", "decision_other")) == 1

    await until(counted, 20, "the counts")
    assert await metric(running, line("FILLED", "", "filled")) == 1
    assert await metric(running, line("BLOCKED", "kill_score", "kill_score_critical_open")) == 1
    assert await metric(running, line("BLOCKED", "intake", "invalid_field")) == 1
    assert await metric(running, "quantum_trader_decision_seconds_count") == 2
    assert await metric(running, "quantum_trader_order_seconds_count") == 1


async def test_inc_105_the_age_of_bscs_last_good_poll_is_a_metric(running: House) -> None:
    async def known() -> bool:
        return await metric(running, "quantum_trader_bsc_last_good_poll_age_seconds") is not None

    await until(known, 20, "the age")
    assert await metric(running, 'quantum_trader_bsc_state{state="OK"}') == 1


async def test_inc_94_version_and_config_hash_can_be_asked(running: House) -> None:
    _, state = await get(running, "/api/status")
    assert state["engine"]["config_hash"] == running.app.config.hash
    assert state["engine"]["version"]


async def test_a_position_shows_its_distance_to_bscs_limits(running: House) -> None:
    await running.open("XRPUSDT", 20)
    _, positions = await get(running, "/api/positions")
    assert [row["symbol"] for row in positions] == ["XRPUSDT"]
    limits = {limit["name"]: limit for limit in positions[0]["limits"]}
    assert [limits[name]["limit"] for name in ("loss", "age", "margin")] == ["-3", "72", "0.85"]
    assert all(0 <= limit["used"] < 1 for limit in limits.values())
    assert positions[0]["ledger_difference"] == "0"


async def test_a_latch_shows_how_long_it_still_holds(running: House) -> None:
    await running.redis.set(running.keys.safe_mode, "1", ex=600)

    async def shown() -> dict[str, Any] | None:
        rows = (await get(running, "/api/latches"))[1]
        return next((row for row in rows if row["name"] == "safe_mode" and row["until_ms"]), None)

    row = await until(shown, 20, "the latch with its end")
    assert 0 < row["until_ms"] - SystemClock().now_ms() <= 600_000
    assert "Safe mode" in (await get(running, "/api/status"))[1]["headline"]["sentence"]


async def test_a_decision_can_be_asked_with_its_chain_also_after_it_left_memory(running: House) -> None:
    result = await running.open("XRPUSDT", 20)
    view = running.app.web.view

    async def archived() -> dict[str, Any] | None:
        view.feed._decisions.clear()
        status, found = await get(running, f"/api/decision?plan_id={result['plan_id']}")
        return found if status == 200 else None

    found = await until(archived, 20, "the decision from the archive")
    assert [verdict["gate"] for verdict in found["trace"]["verdicts"]][:2] == ["intake", "kill_switch"]
    assert (await get(running, "/api/decision?plan_id=nobody"))[0] == 404


async def test_kill_and_resume_publish_and_log_who_and_why(running: House, capsys: Any) -> None:
    assert await post(running, "/api/kill", {"reason": "drill", "scope": "all"}) == (200, {"kill": "1"})
    assert (await running.open())["reason"] == "kill_switch_active"
    assert await post(running, "/api/resume", {"reason": "over"}) == (200, {"kill": "0"})
    events = await running.events("KILL_SWITCH_CHANGED")
    assert [(event["kill"], event["reason"]) for event in events] == [("1", "drill"), ("0", "over")]
    lines = [line for line in capsys.readouterr().out.splitlines() if "operator_change" in line]
    assert len(lines) == 2
    assert "127.0.0.1" in lines[0]

    async def told() -> bool:
        names = [event["event"] for event in (await get(running, "/api/event-log"))[1]]
        return names.count("KILL_SWITCH_CHANGED") == 2

    await until(told, 20, "the events")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": " "},
        {"reason": 1},
        {"reason": "x" * 501},
        {"reason": "a\nb"},
        {"reason": "x", "scope": "some"},
        {"reason": "x", "also": "y"},
        ["reason"],
        "reason",
    ],
    ids=str,
)
async def test_a_wish_that_is_not_understood_changes_nothing(running: House, body: Any) -> None:
    status, answer = await post(running, "/api/kill", body)
    assert status == 400
    assert answer["error"]
    assert await running.redis.get(running.keys.kill) is None


@pytest.mark.parametrize("query", ["limit=-1", "limit=x", "limit=²", "limit=99999999999999999999"])
async def test_a_number_that_is_none_is_refused(running: House, query: str) -> None:
    assert (await get(running, f"/api/decisions?{query}"))[0] == 400


async def test_the_bounds_of_live_updates_hold(running: House) -> None:
    live = running.app.web.live
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        url = running.app.web.url + "/api/events"
        answers = [await session.get(url) for _ in range(CLIENTS_MAX)]

        async def all_there() -> bool:
            return live.clients == CLIENTS_MAX

        await until(all_there, 20, "every page to be served")
        async with session.get(url) as refused:
            assert refused.status == 503
        for _ in range(QUEUE_MAX * 2):  # before any client has had its turn
            live._tell(("state", "{}"))
        assert {queue.qsize() for queue in live._queues} <= set(range(QUEUE_MAX + 1))
        for answer in answers:
            answer.close()

    async def all_gone() -> bool:
        return live.clients == 0

    await until(all_gone, 30, "closed pages to be forgotten")
