"""The Python client against a running engine, over each way; and every program in examples/ as it stands."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio as redis
from support.house import WIDE_GATES, House

from quantum_trader.app import App
from quantum_trader.client import (
    NoResult,
    NotAccepted,
    PlanRequest,
    PlanResult,
    Unreachable,
    connect,
    connect_sync,
)
from quantum_trader.config import Config
from quantum_trader.stores.address import embedded_url, socket_path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
TOKEN = "example-token-0123456789"
ALERT_TOKEN = "example-alert-0123456789"
REDIS_CLI = shutil.which("redis-cli") or shutil.which("valkey-cli")


@pytest.fixture
async def paper(tmp_path: Path) -> AsyncIterator[House]:
    """A paper engine as a newcomer has it, but with wide limits and tokens."""
    http = {"port": 0, "token": TOKEN, "alert_token": ALERT_TOKEN}
    app = App(Config(mode="paper", state_dir=tmp_path, gates=WIDE_GATES, http=http))
    await app.start()
    assert app._paper is not None
    database = redis.Redis.from_url(embedded_url(tmp_path))
    try:
        yield House(app, app._paper, app._exchange_url, database)
    finally:
        await database.aclose()
        await app.stop()


def url_of(paper: House, way: str) -> str:
    return paper.app.web.url if way == "http" else embedded_url(paper.app.config.state_dir)


@pytest.mark.parametrize("way", ["http", "redis"])
async def test_a_plan_is_submitted_and_its_typed_result_comes_back(paper: House, way: str) -> None:
    async with connect(url_of(paper, way), token=TOKEN) as trader:
        bought = await trader.submit(PlanRequest("XRPUSDT", "BUY", "20", confidence="0.9"))
        assert isinstance(bought, PlanResult)
        assert (bought.decision, bought.executed, bought.filled_quantity) == ("FILLED", True, 20)
        assert isinstance(bought.avg_price, Decimal)
        assert bought.trace["plan"]["confidence"] == "0.9"
        again = await trader.submit(PlanRequest("XRPUSDT", "BUY", 20))
        assert (again.decision, again.executed, again.gate) == ("BLOCKED", False, "position_sanity")
        half = await trader.submit(PlanRequest("XRPUSDT", "CLOSE", action="PARTIAL_50"))
        assert half.filled_quantity == 10
        closed = await trader.submit(PlanRequest.close("XRPUSDT"))
        assert closed.filled_quantity == 10
        assert await trader.result(bought.plan_id) == bought


@pytest.mark.parametrize("way", ["http", "redis"])
async def test_a_plan_sent_again_with_its_id_trades_once_and_gives_the_same_result(
    paper: House, way: str
) -> None:
    plan = PlanRequest("XRPUSDT", "BUY", "20", plan_id="mine-1")
    async with connect(url_of(paper, way), token=TOKEN) as trader:
        first = await trader.submit(plan)
        assert await trader.submit(plan) == first
    assert len(await paper.results()) == 1


@pytest.mark.parametrize("way", ["http", "redis"])
async def test_the_client_works_without_asyncio_too(paper: House, way: str) -> None:
    def trade() -> PlanResult:
        with connect_sync(url_of(paper, way), token=TOKEN) as trader:
            return trader.submit(PlanRequest("XRPUSDT", "BUY", "20"))

    assert (await asyncio.to_thread(trade)).decision == "FILLED"


async def test_what_the_client_raises_says_what_to_do(paper: House) -> None:
    async with connect(paper.app.web.url, token="wrong-token-0123456789") as stranger:
        with pytest.raises(NotAccepted, match="the token is wrong") as refused:
            await stranger.send(PlanRequest("XRPUSDT", "BUY", "20"))
        assert refused.value.status == 401
    async with connect(paper.app.web.url, token=TOKEN) as trader:
        with pytest.raises(NotAccepted, match="above 0") as wrong:
            await trader.send(PlanRequest("XRPUSDT", "BUY", "-1"))
        assert (wrong.value.status, wrong.value.field) == (400, "qty")
    for way in ("http", "redis"):
        async with connect(url_of(paper, way), token=TOKEN) as trader:
            with pytest.raises(NoResult, match="within 0 s"):
                await trader.result("never-heard-of", wait_s=0)
    for url in ("http://127.0.0.1:9", f"unix://{paper.app.config.state_dir}/nowhere.sock"):
        async with connect(url) as nobody:
            with pytest.raises(Unreachable):
                await nobody.send(PlanRequest("XRPUSDT", "BUY", "20"))
    with pytest.raises(ValueError, match="must start with"):
        connect("ftp://somewhere")


# -- the programs in examples/


async def run_example(paper: House, *words: str, **environment: str) -> str:
    """Run one as a user would, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *words,
        env={**os.environ, "PYTHONPATH": str(ROOT), "QT_TOKEN": TOKEN, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=paper.app.config.state_dir,
    )
    said, complained = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode == 0, complained.decode()
    return said.decode()


async def filled(paper: House) -> list[str]:
    return [result["side"] for result in await paper.results() if result["decision"] == "FILLED"]


@pytest.mark.parametrize("way", ["http", "redis"])
async def test_the_python_example_buys_and_closes(paper: House, way: str) -> None:
    said = await run_example(
        paper, sys.executable, str(EXAMPLES / "submit_plan.py"), QT_URL=url_of(paper, way)
    )
    assert said.splitlines()[0].startswith("FILLED filled  20 ")
    assert said.splitlines()[1] == "FILLED filled 20"
    assert await filled(paper) == ["BUY", "CLOSE"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_shell_example_buys_with_curl(paper: House) -> None:
    said = await run_example(paper, "sh", str(EXAMPLES / "submit_plan.sh"), QT_URL=paper.app.web.url)
    taken, result = (json.loads(line) for line in said.splitlines())
    assert (result["plan_id"], result["decision"]) == (taken["plan_id"], "FILLED")
    assert await filled(paper) == ["BUY"]


@pytest.mark.skipif(REDIS_CLI is None, reason="redis-cli is not installed")
async def test_the_shell_example_buys_with_redis_cli(paper: House) -> None:
    there = f"{REDIS_CLI} -s {socket_path(paper.app.config.state_dir)}"
    said = await run_example(paper, "sh", str(EXAMPLES / "submit_plan_redis.sh"), QT_REDIS_CLI=there)
    assert "FILLED" in said.split()
    assert await filled(paper) == ["BUY"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
async def test_the_javascript_example_buys_with_node(paper: House) -> None:
    said = await run_example(paper, "node", str(EXAMPLES / "submit_plan.mjs"), QT_URL=paper.app.web.url)
    assert said.startswith("FILLED filled 20 ")
    assert await filled(paper) == ["BUY"]


async def test_the_tradingview_example_with_its_placeholders_filled_in_opens_and_closes(paper: House) -> None:
    now = datetime.fromtimestamp(paper.app._clock.now_ms() / 1000, UTC)
    values = {
        "the value of http.alert_token": ALERT_TOKEN,
        "{{exchange}}": "BINANCE",
        "{{ticker}}": "XRPUSDT.P",
        "{{strategy.order.action}}": "buy",
        "{{strategy.order.contracts}}": "20",
        "{{strategy.market_position}}": "long",
        "{{close}}": "2.1",
        "{{timenow}}": f"{now:%Y-%m-%dT%H:%M:%SZ}",
    }
    opened = await alert(paper, values)
    assert (opened["decision"], opened["effect"]) == ("FILLED", "OPEN")
    values |= {"{{strategy.order.action}}": "sell", "{{strategy.market_position}}": "flat"}
    closed = await alert(paper, values)
    assert (closed["decision"], closed["effect"]) == ("FILLED", "CLOSE")


async def alert(paper: House, values: dict[str, str]) -> dict[str, str]:
    """Send the example as TradingView would, and return its plan's result."""
    body = (EXAMPLES / "tradingview_alert.json").read_text(encoding="utf-8")
    for placeholder, value in values.items():
        body = body.replace(placeholder, value)
    assert "{{" not in body
    url, headers = f"{paper.app.web.url}/api/plans/tradingview", {"Content-Type": "text/plain; charset=utf-8"}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        taken: dict[str, Any] = await answer.json()
        assert answer.status == 202, taken
    return await paper.result(taken["plan_id"])
