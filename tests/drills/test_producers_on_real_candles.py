"""On recorded candles: a signal opens, harvest proposes, heat calibrates, a signal ends it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from support.candle_replay import XRP_5M
from support.house import WIDE_GATES, House, until

from quantum_trader.app import App
from quantum_trader.config import Config
from quantum_trader.stores.embedded import embedded_url
from quantum_trader.stores.results import as_text

pytestmark = pytest.mark.skipif(not XRP_5M.exists(), reason=f"the recorded candles are not at {XRP_5M}")

SIGNAL = {"symbol": "XRPUSDT", "confidence": "0.8", "source": "drill"}


def config(state_dir: Path) -> Config:
    """Every score is worth a close, and every heat is WARM: so the calibrated close is PARTIAL_75."""
    heat = {"mode": "enforce", "warm_from": "0.0000000001", "hot_from": 1000}
    return Config(
        mode="paper",
        symbols=("XRPUSDT",),
        state_dir=state_dir,
        gates={**WIDE_GATES, "portfolio_heat": heat},
        intent_bridge={"enabled": True},
        intake={"max_age_s": 600, "exit_max_age_s": 600},
        harvest={"mode": "act", "interval_s": 1, "kill_threshold": "0.5"},
        paper={"klines": (str(XRP_5M),), "speed": 60},
        http={"port": 0},
    )


async def test_intent_plan_gates_order_harvest_calibrated_close_flat(tmp_path: Path) -> None:
    app = App(config(tmp_path))
    await app.start()
    database = redis.Redis.from_url(embedded_url(tmp_path))
    try:
        paper = app._paper
        assert paper is not None
        await carry_through(House(app, paper, app._exchange_url, database))
    finally:
        await database.aclose()
        await app.stop()


async def carry_through(house: House) -> None:
    keys = house.keys
    bought: Any = SIGNAL | {"side": "BUY", "position_size_usd": "110", "price": "1.1"}
    name = (await house.redis.xadd(keys.intents, bought)).decode()

    opened = (await results(house, 1))[0]
    assert (opened["decision"], opened["effect"], opened["source"]) == ("FILLED", "OPEN", "intent_bridge")
    assert Decimal(opened["filled_qty"]) == 100
    trace = json.loads(opened["trace"])
    assert trace["plan"]["intent_stream_id"] == name
    assert {verdict["ruling"] for verdict in trace["verdicts"]} <= {"pass"}

    partial = (await results(house, 2))[1]
    proposal = await first(house, keys.harvest_proposals)
    entry = await first(house, keys.harvest_calibrated)
    assert (proposal["action"], json.loads(proposal["inputs"])["source"]) == ("FULL_CLOSE_PROPOSED", "klines")
    assert (entry["calibrated_action"], entry["bucket"]) == ("PARTIAL_75", "WARM")
    assert Decimal(entry["heat"]) >= 0
    assert partial["plan_id"] == proposal["plan_id"] == entry["plan_id"]
    assert (partial["action"], partial["effect"], partial["filled_qty"]) == ("PARTIAL_75", "REDUCE", "75")

    against: Any = SIGNAL | {"side": "SELL", "qty": "1"}
    await house.redis.xadd(keys.intents, against)
    closed = (await results(house, 3))[2]
    assert (closed["decision"], closed["effect"], closed["filled_qty"]) == ("FILLED", "CLOSE", "25")
    assert await house.redis.hget(keys.ledger("XRPUSDT"), "position_amt") == b"0"
    joined = house.app._joined
    assert joined is not None
    await joined.rooms.account.refresh_positions()
    assert joined.rooms.account.positions is not None
    assert not joined.rooms.account.positions.value
    assert len(await house.results()) == 3


async def first(house: House, stream: str) -> dict[str, str]:
    return as_text((await house.redis.xrange(stream, count=1))[0][1])


async def results(house: House, count: int) -> list[dict[str, str]]:
    async def ended() -> list[dict[str, str]] | None:
        found = await house.results()
        return found if len(found) >= count else None

    found: list[dict[str, str]] = await until(ended, 60, f"{count} results")
    return found
