"""Paper mode on real candles: every plan gets its result, every quantity on the wire is legal."""

from __future__ import annotations

import random
import re
from decimal import Decimal
from pathlib import Path

import pytest
import redis.asyncio as redis
from support.house import WIDE_GATES, House, Wire, until

from quantum_trader.app import App
from quantum_trader.config import Config
from quantum_trader.stores.embedded import embedded_url

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CANDLES = (
    DATA / "candles" / "XRPUSDT-5m.csv",
    DATA / "live-2024-2026" / "btcusdt_perp_1h_oi_last_index_mark_2023-12_2024-10.csv",
)
PLANS = 200
STEPS = {"XRPUSDT": Decimal("0.1"), "BTCUSDT": Decimal("0.001")}
PLAIN = re.compile(r"[0-9]+(\.[0-9]*[1-9])?")

pytestmark = pytest.mark.skipif(
    not all(path.exists() for path in CANDLES), reason=f"the recorded candles are not at {DATA}"
)


async def test_200_plans_on_real_candles_all_get_results_and_legal_quantities(tmp_path: Path) -> None:
    gates = {**WIDE_GATES, "rate_limit": {**WIDE_GATES["rate_limit"], "exits_per_min": 1000}}
    config = Config(
        mode="paper",
        symbols=tuple(STEPS),
        state_dir=tmp_path,
        gates=gates,
        intake={"max_age_s": 600, "exit_max_age_s": 600},  # on a loaded machine the last ones wait for long
        paper={"klines": tuple(map(str, CANDLES)), "speed": 300},
    )
    app = App(config)
    await app.start()
    database = redis.Redis.from_url(embedded_url(tmp_path))
    try:
        paper = app._paper
        assert paper is not None
        wire = Wire()
        wire.watch(paper.gateway)
        await submit_and_check(House(app, paper, app._exchange_url, database), wire)
    finally:
        await database.aclose()
        await app.stop()


async def submit_and_check(house: House, wire: Wire) -> None:
    chance = random.Random(20261121)
    submitted = [await submit_one(house, chance, number) for number in range(PLANS)]

    async def all_ended() -> bool:
        return bool(await house.redis.xlen(house.keys.results) >= PLANS)

    await until(all_ended, 240, f"{PLANS} results")
    results = await house.results()
    assert sorted(result["plan_id"] for result in results) == sorted(submitted)
    assert all(result["reason"] for result in results)
    filled = [result for result in results if result["decision"] == "FILLED"]
    assert len(filled) >= PLANS // 4
    assert len(wire.orders) >= len(filled)
    for order in wire.orders:
        assert PLAIN.fullmatch(order["quantity"]), order
        assert Decimal(order["quantity"]) % STEPS[order["symbol"]] == 0, order
        assert order["newOrderRespType"] == "RESULT"


async def submit_one(house: House, chance: random.Random, number: int) -> str:
    """Opens of awkward sizes, each followed by a partial or a full close."""
    symbol = chance.choice(sorted(STEPS))
    plan_id = f"candle-{number}"
    if number % 2:
        action = chance.choice(["FULL_CLOSE_PROPOSED", "FULL_CLOSE_PROPOSED", "PARTIAL_50", "PARTIAL_25"])
        return await house.submit(plan_id=plan_id, symbol=symbol, side="CLOSE", qty=0, action=action)
    size = chance.uniform(20, 100) if symbol == "XRPUSDT" else chance.uniform(0.002, 0.004)
    side = chance.choice(["BUY", "SELL"])
    return await house.submit(
        plan_id=plan_id, symbol=symbol, side=side, qty=f"{size:.9f}", reduceOnly="false"
    )
