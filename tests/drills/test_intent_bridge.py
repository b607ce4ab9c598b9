"""The intent bridge on a running engine: signals in, plans out, nothing twice, nothing lost silently."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.house import House, engine, exchange, house, until

from quantum_trader.exchange.simulator import FaultKind
from quantum_trader.producers import intent_bridge
from quantum_trader.producers.intents import Intent
from quantum_trader.stores.keys import CONSUMER, INTENT_GROUP
from quantum_trader.stores.results import as_text

BRIDGE: dict[str, Any] = {
    "intent_bridge": {"enabled": True},
    "intake": {"max_age_s": 600, "exit_max_age_s": 600},
}
BUY = {"symbol": "XRPUSDT", "side": "BUY", "confidence": "0.8", "qty": "20"}
SELL = BUY | {"side": "SELL"}


@pytest.fixture
async def bridged(tmp_path: Path) -> AsyncIterator[House]:
    """An engine with wide limits whose bridge is on."""
    async with house(tmp_path, **BRIDGE) as started:
        yield started


async def signal(running: House, **fields: Any) -> str:
    """Write a signal as any program would; returns its stream id."""
    entry: Any = {name: str(value) for name, value in fields.items()}
    name = await running.redis.xadd(running.keys.intents, entry)
    return str(name.decode())


async def results(running: House, count: int) -> list[dict[str, str]]:
    """Wait until there are ``count`` results and no signal is left; return them."""

    async def ended() -> list[dict[str, str]] | None:
        found = await running.results()
        return found if len(found) >= count and await waiting(running) == 0 else None

    found: list[dict[str, str]] = await until(ended, 60, f"{count} results and no signal left")
    assert len(found) == count
    return found


async def waiting(running: House) -> int:
    """Return how many signals the bridge has not settled."""
    groups: Any = await running.redis.xinfo_groups(running.keys.intents)
    return sum(int(group["pending"]) + int(group["lag"] or 0) for group in groups)


async def skipped(running: House, count: int = 1) -> list[dict[str, str]]:
    async def there() -> list[dict[str, str]] | None:
        events = await running.events("INTENT_SKIPPED")
        return events if len(events) >= count else None

    found: list[dict[str, str]] = await until(there, 60, f"{count} skipped signals")
    return found


async def test_a_signal_opens_and_the_opposite_one_closes(bridged: House) -> None:
    await signal(bridged, **BUY, source="my-strategy")
    opened = (await results(bridged, 1))[0]
    assert (opened["decision"], opened["effect"], opened["source"]) == ("FILLED", "OPEN", "intent_bridge")
    assert json.loads(opened["trace"])["plan"]["intent_source"] == "my-strategy"
    await signal(bridged, payload=json.dumps(SELL | {"qty": 9999}))
    closed = (await results(bridged, 2))[1]
    assert (closed["decision"], closed["effect"], closed["filled_qty"]) == ("FILLED", "CLOSE", "20")
    assert await bridged.ask("/fapi/v3/positionRisk") == []


async def test_a_signal_without_a_size_closes_what_it_is_against_and_opens_nothing(bridged: House) -> None:
    await signal(bridged, **BUY)
    await results(bridged, 1)
    await signal(bridged, symbol="XRPUSDT", side="SELL")
    closed = (await results(bridged, 2))[1]
    assert (closed["decision"], closed["effect"], closed["filled_qty"]) == ("FILLED", "CLOSE", "20")
    await signal(bridged, symbol="XRPUSDT", side="BUY", confidence="0.8")

    async def buried() -> list[Any] | None:
        return await bridged.redis.xrange(bridged.keys.dead_letters) or None

    letter = as_text((await until(buried, 30, "the dead letter"))[0][1])
    assert letter["reason"].startswith("invalid_qty")


async def test_the_bridge_is_off_unless_switched_on(running: House) -> None:
    await signal(running, **BUY)
    await running.open("ADAUSDT", qty=60)
    assert await running.redis.xinfo_groups(running.keys.intents) == []
    assert len(await running.results()) == 1


async def test_skips_are_seen_in_an_event_and_a_counter(bridged: House) -> None:
    sold = await signal(bridged, **SELL)
    await signal(bridged, **BUY)
    await results(bridged, 1)
    await signal(bridged, **BUY)
    events = await skipped(bridged, 2)
    assert [event["reason"] for event in events] == ["flat_sell", "position_exists"]
    assert events[0]["stream_id"] == sold
    joined = bridged.app._joined
    assert joined is not None
    counts = joined.crew.counts()["intent_bridge"]
    assert counts == {"skipped_flat_sell": 1, "forwarded": 1, "skipped_position_exists": 1}
    async with aiohttp.ClientSession() as session, session.get(f"{bridged.app.web.url}/metrics") as answer:
        metrics = await answer.text()
    assert 'quantum_trader_producer_done{producer="intent_bridge",what="skipped_flat_sell"} 1.0' in metrics


async def test_what_is_no_signal_becomes_a_dead_letter_with_its_reason(bridged: House) -> None:
    name = await signal(bridged, symbol="XRPUSDT", side="UP", confidence="1", qty="1")

    async def buried() -> list[Any] | None:
        return await bridged.redis.xrange(bridged.keys.dead_letters) or None

    letter = as_text((await until(buried, 30, "the dead letter"))[0][1])
    assert letter["reason"] == "invalid_side: BUY or SELL"
    assert (letter["stream_id"], letter["stream"], letter["side"]) == (name, bridged.keys.intents, "UP")
    assert await waiting(bridged) == 0


async def test_a_bug_of_ours_in_one_signal_does_not_hold_up_the_next(
    bridged: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of = intent_bridge.plan_of

    def failing(intent: Intent, *known: Any) -> Any:
        if intent.source == "poison":
            raise ZeroDivisionError
        return plan_of(intent, *known)

    monkeypatch.setattr(intent_bridge, "plan_of", failing)
    await signal(bridged, **BUY, source="poison")
    await signal(bridged, **BUY)
    assert (await results(bridged, 1))[0]["decision"] == "FILLED"
    letter = as_text((await bridged.redis.xrange(bridged.keys.dead_letters))[0][1])
    assert (letter["reason"], letter["source"]) == ("internal_error", "poison")


async def test_inc_05_a_redelivered_signal_gives_no_second_order(bridged: House) -> None:
    """The acknowledgement was lost, and the position is gone again: the same signal comes once more."""
    wire = bridged.watch()
    name = await signal(bridged, **BUY)
    await results(bridged, 1)
    await bridged.close()
    await bridged.redis.xgroup_setid(bridged.keys.intents, INTENT_GROUP, id="0")

    async def duplicate() -> list[dict[str, str]] | None:
        return await bridged.events("DUPLICATE_PLAN") or None

    event = (await until(duplicate, 30, "the duplicate"))[0]
    assert event["content_mismatch"] == "false"
    assert len(wire.orders) == 2
    assert await bridged.ask("/fapi/v3/positionRisk") == []
    assert await bridged.redis.xlen(bridged.keys.results) == 2
    assert name


async def test_inc_05_signals_of_one_symbol_at_one_moment_are_different_plans(bridged: House) -> None:
    stamp = {"timestamp": "1500000000"}
    first, second = await signal(bridged, **BUY, **stamp), await signal(bridged, **BUY, **stamp)
    events = await skipped(bridged, 2)
    assert {event["reason"] for event in events} == {"stale"}
    assert len({event["plan_id"] for event in events}) == 2
    assert first != second


async def test_inc_65_a_fresh_entry_with_stale_content_does_not_trade(bridged: House) -> None:
    await signal(bridged, **BUY, timestamp="2024-01-01T00:00:00Z")
    assert (await skipped(bridged))[0]["reason"] == "stale"
    assert await bridged.results() == []


async def test_inc_65_the_plan_carries_the_time_of_the_signal(bridged: House) -> None:
    name = await signal(bridged, **BUY)
    result = (await results(bridged, 1))[0]
    assert json.loads(result["trace"])["plan"]["timestamp"] == name.partition("-")[0]


async def test_inc_43_a_signal_that_brings_its_own_permits_passes_no_gate_by_them(tmp_path: Path) -> None:
    capped = {"gates": {"fund_caps": {"max_notional_per_trade_usdt": 5}}}
    async with house(tmp_path, **BRIDGE, **capped) as running:
        forged = {"allow": "true", "reason": "pass", "verdicts": "[]", "would_execute": "true", "permit": "1"}
        await signal(running, **BUY, **forged)
        blocked = (await results(running, 1))[0]
        assert (blocked["decision"], blocked["gate"]) == ("BLOCKED", "fund_caps")


async def test_signals_wait_for_the_positions_and_go_on(bridged: House) -> None:
    await bridged.open("ADAUSDT", qty=60)
    joined = bridged.app._joined
    assert joined is not None
    bridged.fault(
        FaultKind.STATUS_BEFORE, method="GET", path="/fapi/v3/positionRisk", preset="500_unknown", count=9
    )
    joined.rooms.account.positions = None
    await signal(bridged, symbol="ADAUSDT", side="SELL", confidence="1", qty="1")
    closed = (await results(bridged, 2))[1]
    assert (closed["decision"], closed["effect"]) == ("FILLED", "CLOSE")


async def test_signals_of_a_stop_are_carried_over_by_the_next_life(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        async with engine(tmp_path, venue, url, **BRIDGE) as before:
            await signal(before, **BUY)
            await results(before, 1)
            joined = before.app._joined
            assert joined is not None
            await joined.crew.stop()
            await signal(before, **SELL)
            await before.redis.xreadgroup(INTENT_GROUP, CONSUMER, {before.keys.intents: ">"})
        async with engine(tmp_path, venue, url, **BRIDGE) as after:
            closed = (await results(after, 2))[1]
            assert (closed["decision"], closed["effect"]) == ("FILLED", "CLOSE")


async def test_signals_from_before_the_bridge_was_switched_on_count_while_they_could_still_trade(
    tmp_path: Path,
) -> None:
    async with exchange() as (venue, url):
        async with engine(tmp_path, venue, url) as before:
            await before.redis.xadd(before.keys.intents, SELL, id="1500000000000-0")  # type: ignore[arg-type]
            await signal(before, **BUY)
        async with engine(tmp_path, venue, url, **BRIDGE) as after:
            assert (await results(after, 1))[0]["effect"] == "OPEN"
            assert await after.events("INTENT_SKIPPED") == []


async def test_a_broken_bridge_starts_again_and_disturbs_no_plan(bridged: House) -> None:
    await signal(bridged, **BUY)
    await results(bridged, 1)
    await bridged.redis.delete(bridged.keys.intents)
    await bridged.redis.set(bridged.keys.intents, "another type")
    assert (await bridged.close())["decision"] == "FILLED"
    await bridged.redis.delete(bridged.keys.intents)
    await signal(bridged, **BUY)
    assert (await results(bridged, 3))[2]["decision"] == "FILLED"
