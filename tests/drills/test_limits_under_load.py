"""Counted limits hold exactly, however many plans come at once (INC-02, INC-44)."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.house import House, house

from quantum_trader.exchange.simulator.symbols import SYMBOLS as LISTED

EVERY_SYMBOL = tuple(LISTED)
COPIES = 100


async def flood(running: House, usdt: Decimal, **fields: Any) -> list[dict[str, str]]:
    """Submit 100 opens of about ``usdt`` each at once, over every symbol in turn; return their results."""
    joined = running.app._joined
    assert joined is not None
    marks, rules = joined.rooms.market.marks, joined.rooms.market.rules_of
    assert marks is not None
    wishes = []
    for number in range(COPIES):
        symbol = [s for s in EVERY_SYMBOL if s not in ("BTCUSDT", "ETHUSDT")][
            number % (len(EVERY_SYMBOL) - 2)
        ]
        known = rules(symbol)
        assert known is not None
        quantity = known.market_quantity.round_down(usdt / marks.value[symbol])
        wishes.append(
            {"symbol": symbol, "side": "BUY", "qty": f"{quantity:f}", "reduceOnly": "false", **fields}
        )
    plan_ids = await asyncio.gather(*(running.submit(**wish) for wish in wishes))
    return [await running.result(plan_id, 60) for plan_id in plan_ids]


def wide(**gates: Any) -> dict[str, Any]:
    """A hundred orders at once are slow: none may be too late by the exchange's clock."""
    exchange = {"recv_window_ms": 5_000, "request_timeout_s": 5}
    return {"symbols": EVERY_SYMBOL, "exchange": exchange, "gates": gates}


async def test_inc_44_100_opens_with_room_for_8_positions_make_8(tmp_path: Path) -> None:
    async with house(tmp_path, **wide(fund_caps={"max_open_positions": 8})) as running:
        results = await flood(running, Decimal(50))
        assert len(await running.ask("/fapi/v3/positionRisk")) == 8
        assert Counter(result["decision"] for result in results)["FILLED"] == 8


async def test_100_opens_with_slots_for_8_make_8_positions(tmp_path: Path) -> None:
    slots = {"base": 8, "trend_strong": 8, "chop": 8, "rotation_threshold": 10}
    async with house(tmp_path, **wide(active_slots=slots)) as running:
        results = await flood(running, Decimal(50), confidence="0.5")
        assert len(await running.ask("/fapi/v3/positionRisk")) == 8
        assert Counter(result["decision"] for result in results)["FILLED"] == 8


async def test_100_opens_never_exceed_the_total_notional_and_use_it_up(tmp_path: Path) -> None:
    async with house(tmp_path, **wide(fund_caps={"max_total_notional_usdt": 460})) as running:
        results = await flood(running, Decimal(50))
        held = await running.ask("/fapi/v3/positionRisk")
        filled = [result for result in results if result["decision"] == "FILLED"]
        total = sum(Decimal(r["filled_qty"]) * Decimal(r["avg_price"]) for r in filled)
        assert total <= Decimal("460.5")
        assert total > 400
        assert len(held) == len(filled)


async def test_100_opens_never_claim_more_margin_than_is_free(tmp_path: Path) -> None:
    caps = {
        "margin_guard": {"usage_max": "1", "global_cooldown_s": 0, "symbol_cooldown_s": 0, "safe_mode_s": 0}
    }
    async with house(tmp_path, settings={"balance_usdt": 50}, **wide(**caps)) as running:
        results = await flood(running, Decimal(100))
        reasons = Counter(result["reason"] for result in results)
        account = await running.ask("/fapi/v3/account")
        assert Decimal(account["totalInitialMargin"]) <= 50
        assert 1 <= reasons["filled"] <= 10
        assert reasons["exchange_rejected"] == 0


async def test_100_opens_with_5_a_minute_make_5_and_cool_down(tmp_path: Path) -> None:
    async with house(tmp_path, **wide(rate_limit={"global_per_min": 5})) as running:
        results = await flood(running, Decimal(50))
        assert Counter(result["decision"] for result in results)["FILLED"] == 5
        assert await running.redis.ttl("quantum:safety:cooldown_global") > 200
        assert len(await running.events("COOLDOWN_SET")) == 1


async def test_inc_61_burst_denials_disarm_and_only_an_operator_arms_again(tmp_path: Path) -> None:
    limits = {"rate_limit": {"per_symbol_5min_max": 1}}
    async with house(tmp_path, gates=limits, auto_disarm={"burst_denials": 3}) as running:
        await running.open("XRPUSDT")
        await running.close("XRPUSDT")
        for _ in range(3):
            assert (await running.open("XRPUSDT"))["reason"] == "burst_limit_exceeded"
        assert (await running.open("ADAUSDT", qty=100))["reason"] == "disarmed"
        assert b"burst denials" in await running.redis.get("quantum:safety:disarmed")
        assert len(await running.events("DISARMED")) == 1


@pytest.mark.parametrize(
    ("client_order_id", "disarms"), [("bsc-1", False), ("autoclose-1", True), ("adl_autoclose", True)]
)
async def test_inc_53_a_forced_close_cools_the_symbol_down(
    running: House, client_order_id: str, disarms: bool
) -> None:
    await running.open("XRPUSDT")
    await running.trade("XRPUSDT", "SELL", Decimal(20), client_order_id)
    joined = running.app._joined
    assert joined is not None
    await joined.rooms.account.refresh_positions()
    await joined.reconciler.reconcile()
    assert await running.redis.ttl("quantum:safety:cooldown_symbol:XRPUSDT") > 3500
    assert await running.redis.exists("quantum:safety:disarmed") == disarms
    assert (await running.open("XRPUSDT"))["reason"] == ("disarmed" if disarms else "cooldown_symbol")


async def test_an_order_that_no_part_of_this_engine_sent_is_shown(running: House) -> None:
    await running.trade("XRPUSDT", "BUY", Decimal(20), "by-hand")
    joined = running.app._joined
    assert joined is not None
    await joined.rooms.account.refresh_positions()
    await joined.reconciler.reconcile()
    events = await running.events("FOREIGN_ORDER")
    assert [event["client_order_id"] for event in events] == ["by-hand"]
    assert await running.redis.hget(running.keys.ledger("XRPUSDT"), "position_amt") == b"20"
