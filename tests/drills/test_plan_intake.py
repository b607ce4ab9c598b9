"""Plans over HTTP, over real sockets: taken once, refused clearly, and the engine goes on unaffected."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.house import House, house, until

from quantum_trader.stores.keys import GROUP

TOKEN = "drill-token-0123456789"
ALERT_TOKEN = "drill-alert-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PLAN = {"symbol": "XRPUSDT", "side": "BUY", "qty": "20", "reduceOnly": False}


@dataclass
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


class Sender:
    """A program that knows where the engine's HTTP is."""

    def __init__(self, running: House, session: aiohttp.ClientSession) -> None:
        self.running, self.session = running, session
        self.url = running.app.web.url

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        """Send ``body`` (JSON unless it is bytes) and return the answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
        async with self.session.post(self.url + path, data=data, headers=headers) as answer:
            return Answer(answer.status, await answer.json(), answer.headers)

    async def plan(self, **changes: Any) -> Answer:
        fields = {name: one for name, one in (PLAN | changes).items() if one is not None}
        return await self.post("/api/plans", fields, **BEARER)

    async def alert(self, content_type: str = "text/plain", **changes: Any) -> Answer:
        now = datetime.fromtimestamp(self.running.app._clock.now_ms() / 1000, UTC)
        fields = {
            "token": ALERT_TOKEN,
            "ticker": "BINANCE:XRPUSDT.P",
            "action": "buy",
            "contracts": "20",
            "market_position": "long",
            "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        }
        return await self.post("/api/plans/tradingview", fields | changes, **{"Content-Type": content_type})

    async def get(self, path: str) -> Answer:
        async with self.session.get(self.url + path) as answer:
            return Answer(answer.status, await answer.json(), answer.headers)

    async def plans(self) -> int:
        """How many plans stand on the stream."""
        return int(await self.running.redis.xlen(self.running.keys.plans))


def listening(**http: Any) -> dict[str, Any]:
    return {"http": {"token": TOKEN, "alert_token": ALERT_TOKEN, **http}}


@pytest.fixture
async def sender(tmp_path: Path) -> AsyncIterator[Sender]:
    async with house(tmp_path, **listening()) as running, aiohttp.ClientSession() as session:
        yield Sender(running, session)


# -- taken


async def test_a_plan_over_http_is_answered_at_once_and_its_result_can_be_waited_for(sender: Sender) -> None:
    taken = await sender.plan(plan_id="over-http-1")
    assert (taken.status, taken.body["plan_id"]) == (202, "over-http-1")
    result = await sender.get("/api/plans/over-http-1?wait_s=20")
    assert (result.status, result.body["decision"], result.body["filled_qty"]) == (200, "FILLED", "20")
    assert result.body["source"] == "http"
    assert (await sender.get("/api/plans/never-heard-of")).status == 404
    assert (await sender.get("/api/plans/x?wait_s=soon")).status == 400


async def test_a_plan_without_an_id_gets_one(sender: Sender) -> None:
    taken = await sender.plan()
    assert taken.status == 202
    assert (await sender.running.result(taken.body["plan_id"]))["decision"] == "FILLED"


async def test_a_replayed_request_trades_once(sender: Sender) -> None:
    wire = sender.running.watch()
    answers = [await sender.plan(plan_id="twice") for _ in range(3)]
    assert [answer.status for answer in answers] == [202, 202, 202]
    assert (await sender.running.result("twice"))["decision"] == "FILLED"

    async def shown() -> bool:
        return len(await sender.running.events("DUPLICATE_PLAN")) == 2

    await until(shown, 20, "the duplicates")
    assert len(wire.orders) == 1
    assert len(await sender.running.results()) == 1


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=utf-8", "application/json"])
async def test_an_alert_with_its_token_in_the_body_becomes_a_plan(sender: Sender, content_type: str) -> None:
    taken = await sender.alert(content_type)
    assert taken.status == 202, taken.body
    result = await sender.running.result(taken.body["plan_id"])
    assert (result["decision"], result["source"], result["symbol"]) == ("FILLED", "tradingview", "XRPUSDT")
    assert ALERT_TOKEN not in json.dumps(result)
    closed = await sender.alert(action="sell", market_position="flat")
    assert (await sender.running.result(closed.body["plan_id"]))["effect"] == "CLOSE"


async def test_inc_60_a_partial_exit_of_what_is_not_held_here_opens_nothing(sender: Sender) -> None:
    taken = await sender.alert(action="sell", contracts="5", market_position="long")
    result = await sender.running.result(taken.body["plan_id"])
    assert (result["decision"], result["reason"], result["reduceOnly"]) == ("BLOCKED", "no_position", "true")


async def test_an_alert_as_people_write_them_closes_without_a_time(sender: Sender) -> None:
    opened = await sender.alert(exchange="BINANCE", interval="15", comment="entry")
    result = await sender.running.result(opened.body["plan_id"])
    assert (result["decision"], json.loads(result["trace"])["plan"]["interval"]) == ("FILLED", "15")
    strategy = {"order_action": "sell", "order_contracts": 20, "market_position": "flat"}
    body = {"token": ALERT_TOKEN, "ticker": "XRPUSDT.P", "strategy": strategy}
    closed = await sender.post("/api/plans/tradingview", body)
    assert (await sender.running.result(closed.body["plan_id"]))["effect"] == "CLOSE"


async def test_an_alert_body_may_also_come_with_the_bearer_token(sender: Sender) -> None:
    taken = await sender.post(
        "/api/plans",
        {
            "ticker": "XRPUSDT.P",
            "action": "buy",
            "contracts": 20,
            "reduceOnly": False,
            "time": str(sender.running.app._clock.now_ms()),
        },
        **BEARER,
    )
    assert taken.status == 202, taken.body
    assert (await sender.running.result(taken.body["plan_id"]))["decision"] == "FILLED"


# -- refused


@pytest.mark.parametrize(
    ("change", "status", "field", "says"),
    [
        ({"side": "UP"}, 400, "side", "BUY, SELL, CLOSE"),
        ({"qty": "-1"}, 400, "qty", "above 0"),
        ({"qty": None}, 400, "qty", "required"),
        ({"reduceOnly": None}, 400, "reduceOnly", "never assumed"),
        ({"type": "LIMIT"}, 400, "type", "only MARKET"),
        ({"action": "PARTIAL_33"}, 400, "action", "PARTIAL_25"),
        ({"plan_id": "x" * 200}, 400, "plan_id", "128"),
        ({"leverage": "much"}, 400, "leverage", "whole number"),
        ({"qty": {"a": 1}}, 400, "qty", "no list and no object"),
        ({"symbol": "NOSUCHUSDT"}, 422, "symbol", "unknown to this venue"),
        ({"timestamp": "2020-01-01"}, 422, "timestamp", "older than"),
    ],
)
async def test_a_wrong_field_is_named_with_what_is_allowed(
    sender: Sender, change: dict[str, Any], status: int, field: str, says: str
) -> None:
    refused = await sender.plan(**change)
    assert (refused.status, refused.body["field"]) == (status, field)
    assert says in refused.body["error"]
    assert await sender.plans() == 0


async def test_unauthenticated_malformed_and_oversized_requests_reach_no_stream(sender: Sender) -> None:
    json_type = {"Content-Type": "application/json"}
    cases = [
        (await sender.post("/api/plans", PLAN), 401),
        (await sender.post("/api/plans", PLAN, Authorization="Bearer wrong-0123456789abcd"), 401),
        (await sender.post("/api/plans", PLAN, Authorization=f"Bearer {ALERT_TOKEN}"), 401),
        (await sender.post("/api/plans", PLAN, **BEARER, Origin="https://evil.example"), 403),
        (await sender.post("/api/plans", b"symbol=XRPUSDT", **BEARER, **{"Content-Type": "text/plain"}), 415),
        (await sender.post("/api/plans", b"{", **BEARER), 400),
        (await sender.post("/api/plans", b"[]", **BEARER), 400),
        (await sender.post("/api/plans", PLAN | {"note": "x" * 20_000}, **BEARER), 413),
        (await sender.post("/api/plans", b" " * 300_000, **BEARER), 413),
        (await sender.alert(token="wrong-0123456789abcd"), 401),
        (await sender.alert(token=TOKEN), 401),
        (await sender.alert(token=None), 401),
        (await sender.alert(token=["x"]), 400),
        (await sender.alert("application/x-www-form-urlencoded"), 415),
        (await sender.alert(comment="x" * 20_000), 413),
        (await sender.alert(ticker=None), 400),
        (await sender.post("/api/plans/tradingview", PLAN, Origin="https://evil.example", **json_type), 403),
    ]
    for number, (answer, status) in enumerate(cases):
        assert answer.status == status, (number, answer)
        assert answer.body["error"]
    assert await sender.plans() == 0
    assert (await sender.running.open())["decision"] == "FILLED"


async def test_alerts_are_refused_where_none_is_expected(tmp_path: Path) -> None:
    async with house(tmp_path, **listening(alert_token="")) as running, aiohttp.ClientSession() as session:
        refused = await Sender(running, session).alert(token="")
        assert refused.status == 403
        assert "QT_HTTP__ALERT_TOKEN" in refused.body["error"]


async def test_a_flood_is_told_when_to_come_back_and_holds_up_nobody(tmp_path: Path) -> None:
    async with (
        house(tmp_path, **listening(plans_per_min=5)) as running,
        aiohttp.ClientSession() as session,
    ):
        sender = Sender(running, session)
        answers = await asyncio.gather(*(sender.plan(qty="9999999") for _ in range(300)))
        taken = sum(answer.status == 202 for answer in answers)
        assert {answer.status for answer in answers} == {202, 429}
        assert 5 <= taken < 100  # five, unless the machine takes minutes for the flood
        assert all(
            1 <= int(answer.headers["Retry-After"]) <= 60 for answer in answers if answer.status == 429
        )
        closing = {"side": "CLOSE", "qty": "0", "reduceOnly": True, "action": "FULL_CLOSE_PROPOSED"}
        exits = await asyncio.gather(*(sender.plan(**closing) for _ in range(10)))
        assert {answer.status for answer in exits} == {202}
        taken += len(exits)
        wrong = await asyncio.gather(*(sender.alert(token="wrong-0123456789") for _ in range(100)))
        assert {answer.status for answer in wrong} == {401}
        assert (await running.open())["decision"] == "FILLED"
        assert await sender.plans() == taken + 1


async def test_without_redis_the_sender_is_asked_to_send_the_same_id_again_and_it_trades_once(
    sender: Sender,
) -> None:
    """Redis is frozen, not dead: the first request may have arrived, and does once it wakes up."""
    running, wire = sender.running, sender.running.watch()
    server = running.app._server
    assert server is not None
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        refused = await sender.plan(plan_id="in-the-dark")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert refused.status == 503, refused.body
    assert refused.headers["Retry-After"]
    assert refused.body["plan_id"] == "in-the-dark"

    async def taken() -> bool:
        return (await sender.plan(plan_id="in-the-dark")).status == 202

    await until(taken, 30, "Redis to be back")
    await running.result("in-the-dark", timeout_s=30)

    async def acknowledged() -> bool:
        pending: Any = await running.redis.xpending(running.keys.plans, GROUP)
        return int(pending["pending"]) == 0

    await until(acknowledged, 30, "every copy of the plan to be settled")
    assert [result["plan_id"] for result in await running.results()] == ["in-the-dark"]
    assert len(wire.orders) <= 1


async def test_inc_43_a_plan_over_http_that_brings_its_own_verdict_is_judged_like_any_other(
    tmp_path: Path,
) -> None:
    capped = {"gates": {"fund_caps": {"max_notional_per_trade_usdt": 5}}}
    async with house(tmp_path, **listening(), **capped) as running, aiohttp.ClientSession() as session:
        forged = {"allow": True, "verdict": "pass", "permit": "p32", "would_execute": True, "gate": ""}
        taken = await Sender(running, session).plan(plan_id="forged", **forged)
        assert taken.status == 202
        result = await running.result("forged")
        assert (result["decision"], result["gate"]) == ("BLOCKED", "fund_caps")
