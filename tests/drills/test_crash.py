"""Killed at any moment, a plan still gets its one result, and an open at most one order (SPEC 7.8)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from support.house import EXCHANGE_QUICK, KEY, SECRET, exchange, signed, until

from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.embedded import embedded_url
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.results import as_text

KEYS = Keys()
SYMBOLS = ("XRPUSDT", "ADAUSDT", "DOGEUSDT")
PLANS = 30
KILLS = 6


def environment(state_dir: Path, url: str) -> dict[str, str]:
    limits = {
        "QT_GATES__RATE_LIMIT__PER_SYMBOL_S": "0",
        "QT_GATES__RATE_LIMIT__GLOBAL_PER_MIN": "1000",
        "QT_GATES__RATE_LIMIT__PER_SYMBOL_5MIN_MAX": "1000",
        "QT_GATES__RATE_LIMIT__PER_SYMBOL_HOUR_MAX": "1000",
        "QT_GATES__RATE_LIMIT__EXITS_PER_MIN": "1000",
        "QT_GATES__FUND_CAPS__SYMBOL_COOLDOWN_S": "0",
        "QT_GATES__POSITION_SANITY__COOLDOWN_S": "0",
        "QT_SYMBOLS": ",".join(SYMBOLS),
    }
    quick = {f"QT_EXCHANGE__{name.upper()}": str(value) for name, value in EXCHANGE_QUICK.items()}
    return {
        **os.environ,
        **limits,
        **quick,
        "QT_MODE": "testnet",
        "QT_EXCHANGE__REST_URL": url,
        "QT_STATE_DIR": str(state_dir),
        "BINANCE_TESTNET_API_KEY": KEY,
        "BINANCE_TESTNET_API_SECRET": SECRET,
    }


async def start(state_dir: Path, url: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "quantum_trader",
        "run",
        env=environment(state_dir, url),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await until(lambda: is_ready(state_dir, process.pid), 20, "a ready engine")
    return process


async def is_ready(state_dir: Path, pid: int) -> bool:
    """Whether the engine of that process, and not a former one, says that it is ready."""
    database = redis.Redis.from_url(embedded_url(state_dir))
    try:
        raw: Any = await database.get(KEYS.engine_status)
        status = decode(raw) if raw is not None else {}
        return status.get("pid") == pid and bool(status["ready"])
    except (RedisError, OSError):
        return False
    finally:
        await database.aclose()


async def put(database: redis.Redis, number: int) -> str:
    """Alternate opens and full closes over a few symbols."""
    plan_id = f"crash-{number}"
    plan: dict[Any, Any] = {
        "plan_id": plan_id,
        "decision": "EXECUTE",
        "symbol": SYMBOLS[number % len(SYMBOLS)],
    }
    if number // len(SYMBOLS) % 2:
        plan |= {"side": "CLOSE", "qty": "0", "action": "FULL_CLOSE_PROPOSED"}
    else:
        plan |= {"side": "BUY", "qty": "60", "reduceOnly": "false"}
    await database.xadd(KEYS.plans, plan)
    return plan_id


@pytest.mark.parametrize("seed", range(KILLS))
async def test_sigkill_under_load_loses_nothing_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with exchange() as (_, url):
        first = await start(tmp_path, url)
        database = redis.Redis.from_url(embedded_url(tmp_path))
        universe: Any = {"universe_symbols": encode(list(SYMBOLS))}
        await database.hset(KEYS.policy, mapping=universe)
        submitted = [await put(database, number) for number in range(PLANS)]
        await asyncio.sleep(chance.uniform(0, 0.15))
        first.send_signal(signal.SIGKILL)
        await first.wait()
        await database.aclose()
        second = await start(tmp_path, url)
        try:
            await check(tmp_path, url, submitted)
        finally:
            second.send_signal(signal.SIGTERM)
            assert await second.wait() == 0


async def check(state_dir: Path, url: str, submitted: list[str]) -> None:
    database = redis.Redis.from_url(embedded_url(state_dir))

    async def results() -> list[dict[str, str]]:
        return [as_text(fields) for _, fields in await database.xrange(KEYS.results)]

    async def all_ended() -> bool:
        return {result["plan_id"] for result in await results()} >= set(submitted)

    await until(all_ended, 60, "a result for every plan")
    ended = await results()
    assert Counter(result["plan_id"] for result in ended) == Counter(submitted)
    orders = [
        order
        for symbol in SYMBOLS
        for order in await signed("GET", url, "/fapi/v1/allOrders", {"symbol": symbol})
    ]
    assert max(Counter(order["clientOrderId"] for order in orders).values(), default=0) <= 1
    reported = {result["client_order_id"] for result in ended if result["executed"] == "true"}
    executed = {order["clientOrderId"] for order in orders if float(order["executedQty"]) > 0}
    assert reported == executed
    summary = await database.xpending(KEYS.plans, "quantum-trader")
    assert summary["pending"] == 0
    await database.aclose()
