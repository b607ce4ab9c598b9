"""Which requests a rule strikes, and what then comes over a real socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.house import until

from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import EmbeddedExchange, FaultKind, FaultRule, Faults, Request
from quantum_trader.exchange.simulator.calls import Distortion
from quantum_trader.exchange.simulator.fault_schedule import FaultScheduleError, carry_out, read_schedule
from quantum_trader.exchange.simulator.faults import PRESETS, RULES_MAX, FaultRuleError

ORDER = "/fapi/v1/order"
BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}


def struck(faults: Faults, request: Request) -> bool:
    return faults.interfere(request).before is not None


def test_a_rule_strikes_only_what_it_names() -> None:
    faults = Faults()
    faults.add(FaultRule(FaultKind.RESET_BEFORE, method="GET", path="/a", symbol="X", api_key="k", count=9))
    assert not struck(faults, Request("POST", "/a", b"symbol=X", api_key="k"))
    assert not struck(faults, Request("GET", "/b", b"symbol=X", api_key="k"))
    assert not struck(faults, Request("GET", "/a", b"symbol=Y", api_key="k"))
    assert not struck(faults, Request("GET", "/a", b"symbol=X", api_key="other"))
    assert struck(faults, Request("GET", "/a", b"symbol=X", api_key="k"))


def test_a_rule_lets_the_first_ones_through_and_ends_after_its_count() -> None:
    faults = Faults()
    faults.add(FaultRule(FaultKind.RESET_BEFORE, after=2, count=3))
    hits = [struck(faults, Request("GET", "/a")) for _ in range(8)]
    assert hits == [False, False, True, True, True, False, False, False]
    assert faults.rows() == []


def test_there_is_a_bound_on_rules() -> None:
    faults = Faults()
    for _ in range(RULES_MAX):
        faults.add(FaultRule(FaultKind.LATENCY))
    with pytest.raises(FaultRuleError):
        faults.add(FaultRule(FaultKind.LATENCY))


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "explode"},
        {},
        {"kind": "latency", "ms": 60_001},
        {"kind": "latency", "ms": -1},
        {"kind": "status_before", "preset": "999"},
        {"kind": "status_before", "status": 99},
        {"kind": "status_before", "body_format": "xml"},
        {"kind": "latency", "count": 0},
        {"kind": "latency", "unknown": 1},
        {"kind": "latency", "ms": "long"},
    ],
)
def test_an_impossible_rule_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(FaultRuleError):
        FaultRule.from_json(fields)


async def test_a_schedule_puts_rules_in_force_in_their_time(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text('[{"at_s": 60, "kind": "reset_after"}, {"at_s": 5, "kind": "latency"}]')
    faults, clock = Faults(), VirtualClock()
    await carry_out(read_schedule(file), faults, clock)
    assert [row["kind"] for row in faults.rows()] == ["latency", "reset_after"]
    assert clock.slept_s == [5, 55]


class VirtualClock(SystemClock):
    """Sleeping takes no time, but moves the clock."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def monotonic_s(self) -> float:
        return sum(self.slept_s)

    async def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '[{"kind": "latency"}]',
        '[{"at_s": -1, "kind": "latency"}]',
        '[{"at_s": 1, "kind": "x"}]',
        "[1]",
        "7",
        str([{"at_s": 1, "kind": "latency"}] * (RULES_MAX + 1)).replace("'", '"'),
    ],
)
def test_a_schedule_that_makes_no_sense_names_its_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "faults.json"
    file.write_text(text)
    with pytest.raises(FaultScheduleError, match=r"faults\.json"):
        read_schedule(file)


async def test_a_scheduled_fault_strikes_over_the_socket(make_settings: Any, tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text('[{"at_s": 0, "kind": "status_before", "preset": "403_waf"}]')
    exchange = EmbeddedExchange(make_settings(fault_schedule=file), SystemClock())
    url = await exchange.start()
    async with aiohttp.ClientSession() as http, http.get(f"{url}/fapi/v1/time") as reply:
        assert reply.status == 403
    await exchange.stop()


async def positions(client: Any) -> list[Any]:
    _, body, _ = await client.send("GET", "/fapi/v3/positionRisk")
    return body


@pytest.mark.parametrize("preset", PRESETS)
async def test_each_preset_answers_before_execution_as_named(client: Any, preset: str) -> None:
    await client.fault(kind="status_before", path=ORDER, preset=preset)
    status, body, _ = await client.send("POST", ORDER, **BUY)
    assert status == PRESETS[preset][0]
    assert body["code"] == (PRESETS[preset][1] or 0)
    assert await positions(client) == []
    status, _, _ = await client.send("POST", ORDER, **BUY)
    assert status == 200


@pytest.mark.parametrize(("body_format", "expected"), [("text", str), ("html", str), ("json", dict)])
async def test_a_503_comes_as_text_as_html_and_as_json(client: Any, body_format: str, expected: type) -> None:
    await client.fault(kind="status_before", preset="503_unknown", body_format=body_format)
    status, body, _ = await client.send("POST", ORDER, **BUY)
    assert status == 503
    assert isinstance(body, expected)
    assert "Unknown error, please check your request" in str(body)


async def test_a_status_of_ones_own_carries_body_and_retry_after(client: Any) -> None:
    await client.fault(kind="status_before", status=429, body='{"code":-1003,"msg":"x"}', retry_after_s=7)
    status, body, headers = await client.send("GET", "/fapi/v3/account")
    assert (status, body["code"], headers["Retry-After"]) == (429, -1003, "7")


@pytest.mark.parametrize("kind", ["status_after", "timeout_after", "reset_after"])
async def test_what_fails_after_execution_was_executed(client: Any, kind: str) -> None:
    await client.fault(kind=kind, path=ORDER, method="POST", preset="503_unknown", ms=10)
    try:
        status, _, _ = await client.send("POST", ORDER, **BUY)
        assert status == 503
    except aiohttp.ClientConnectionError:
        assert kind != "status_after"
    assert [row["positionAmt"] for row in await positions(client)] == ["0.1"]


@pytest.mark.parametrize("kind", ["timeout_before", "reset_before"])
async def test_what_fails_before_execution_was_not_executed(client: Any, kind: str) -> None:
    await client.fault(kind=kind, path=ORDER, method="POST", ms=10)
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.send("POST", ORDER, **BUY)
    assert await positions(client) == []


async def test_a_timeout_holds_the_reply_until_the_client_gives_up(client: Any) -> None:
    await client.fault(kind="timeout_after", path=ORDER, ms=60_000)
    sending = asyncio.create_task(client.send("POST", ORDER, **BUY))

    async def executed() -> bool:
        return len(await positions(client)) == 1

    await until(executed, 20, "the order's execution")
    answered, _ = await asyncio.wait({sending}, timeout=0.2)
    assert not answered
    await end_tasks([sending])


async def test_latency_delays_the_reply(client: Any) -> None:
    await client.fault(kind="latency", ms=150)
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    status, _, _ = await client.send("GET", "/fapi/v1/time")
    assert status == 200
    assert loop.time() - begun_s >= 0.15


def test_a_hidden_order_is_found_only_later(desk: Any) -> None:
    desk.distortion = Distortion(hide_order_ms=2000)
    desk.market("BUY", "0.1", newClientOrderId="shy")
    asked = {"symbol": "BTCUSDT", "origClientOrderId": "shy"}
    assert desk.code("GET", ORDER, **asked) == -2013
    assert desk.call("GET", "/fapi/v1/allOrders", symbol="BTCUSDT") == []
    assert desk.amounts() != {}
    desk.now_ms += 2000
    assert desk.call("GET", ORDER, **asked)["status"] == "FILLED"


def test_stale_reads_answer_from_the_past(desk: Any) -> None:
    desk.market("BUY", "0.1")
    desk.now_ms += 5000
    desk.market("BUY", "0.1")
    desk.distortion = Distortion(stale_ms=3000)
    assert desk.call("GET", "/fapi/v3/positionRisk")[0]["positionAmt"] == "0.1"
    desk.distortion = Distortion(stale_ms=60_000)
    assert desk.call("GET", "/fapi/v3/positionRisk") == []
    assert desk.call("GET", "/fapi/v3/balance")[0]["balance"] == "10000.00000000"
    desk.distortion = Distortion()
    assert desk.call("GET", "/fapi/v3/positionRisk")[0]["positionAmt"] == "0.2"


async def test_hidden_orders_and_stale_reads_can_be_asked_for_over_the_socket(client: Any) -> None:
    await client.fault(kind="hide_order", path=ORDER, method="POST", ms=60_000)
    await client.fault(kind="stale_positions", path="/fapi/v3/positionRisk", ms=60_000)
    await client.send("POST", ORDER, **BUY, newClientOrderId="shy")
    status, body, _ = await client.send("GET", ORDER, symbol="BTCUSDT", origClientOrderId="shy")
    assert (status, body["code"]) == (400, -2013)
    assert await positions(client) == []
    assert len(await positions(client)) == 1
