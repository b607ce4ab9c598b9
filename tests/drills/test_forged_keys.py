"""Whoever writes nonsense into Redis: exits go out, every plan ends, a restart starts (SPEC 15)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.house import House, engine, exchange

Forgery = Callable[[House], Awaitable[Any]]

RUNNING: dict[str, Forgery] = {
    "policy of another type": lambda h: replaced(h, h.keys.policy, "x"),
    "claims of another type": lambda h: replaced(h, h.keys.claims, "x"),
    "claim that is no JSON": lambda h: h.redis.hset(h.keys.claims, "ghost", "nonsense"),
    "lock of another type": lambda h: h.redis.rpush(h.keys.lock("XRPUSDT"), "x"),
    "lock for ever, of nobody": lambda h: h.redis.set(h.keys.lock("XRPUSDT"), "someone"),
    "epoch that is no number": lambda h: h.redis.set(h.keys.epoch, "nonsense"),
    "rates of another type": lambda h: replaced(h, h.keys.rate_global, "x"),
    "events of another type": lambda h: replaced(h, h.keys.governor_events, "x"),
    "ledger of another type": lambda h: replaced(h, h.keys.ledger("XRPUSDT"), "x"),
    "kill switch of another type": lambda h: h.redis.hset(h.keys.kill, "a", "b"),
}
BEFORE_A_START: dict[str, Forgery] = RUNNING | {
    "rotation lock that is no JSON": lambda h: h.redis.set(h.keys.rotation_lock, "nonsense"),
    "rotation lock of another type": lambda h: h.redis.hset(h.keys.rotation_lock, "a", "b"),
    "ledger of a leg that cannot be": lambda h: h.redis.hset(
        "quantum:position:ledger:XRPUSDT:NORTH", "a", "b"
    ),
    "ledger in bytes": lambda h: h.redis.hset(h.keys.ledger("XRPUSDT"), b"position_amt", b"\xff\xfe"),
    "last execution of another type": lambda h: h.redis.rpush(h.keys.last_exec_ms("ZZZ"), "5"),
    "cooldown in bytes": lambda h: h.redis.set(b"quantum:safety:cooldown_symbol:\xff", "1"),
    "rate of another type": lambda h: h.redis.rpush(h.keys.rate_symbol("ZZZ"), "x"),
    "claim without a record": lambda h: h.redis.hset(
        h.keys.claims, "ghost", '{"kind":"exit","symbol":"LTCUSDT","leg":"LTCUSDT"}'
    ),
}


async def replaced(house: House, key: str, value: str) -> None:
    await house.redis.delete(key)
    await house.redis.set(key, value)


async def works(house: House) -> None:
    """A close goes out, and an open of another symbol ends, one way or the other."""
    assert (await house.close("XRPUSDT"))["decision"] == "FILLED"
    opened = await house.open("ADAUSDT", qty=60)
    assert opened["decision"] in ("FILLED", "BLOCKED")


@pytest.mark.parametrize("what", RUNNING)
async def test_nonsense_in_a_key_stops_no_exit(running: House, what: str) -> None:
    await running.open("XRPUSDT")
    await RUNNING[what](running)
    await works(running)


@pytest.mark.parametrize("what", BEFORE_A_START)
async def test_nonsense_in_a_key_stops_no_start(tmp_path: Path, what: str) -> None:
    async with exchange() as (venue, url):
        async with engine(tmp_path, venue, url) as before:
            await before.open("XRPUSDT")
            before.app._joined.consumer.stop()  # type: ignore[union-attr]
            await BEFORE_A_START[what](before)
        async with engine(tmp_path, venue, url) as after:
            await works(after)


async def test_nonsense_in_the_keys_of_a_plan_id_ends_that_plan_and_stops_no_other(running: House) -> None:
    await running.open("XRPUSDT")
    keys, redis = running.keys, running.redis
    await redis.rpush(keys.processed("forged"), "x")
    denied = await running.result(
        await running.submit(plan_id="forged", symbol="XRPUSDT", side="HOLD", qty=1)
    )
    assert denied["decision"] == "BLOCKED"
    await redis.rpush(keys.processed("flat"), "x")
    assert (await running.close("ADAUSDT", plan_id="flat"))["reason"] == "no_position"
    await redis.set(keys.processed("known"), "x")
    await redis.set(keys.plan("known"), "nonsense")
    await running.submit(plan_id="known", symbol="XRPUSDT", side="UP", qty=1)
    await works(running)
