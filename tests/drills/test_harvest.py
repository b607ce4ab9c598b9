"""Harvest on a running engine: what is proposed, once, and what of it acts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.house import House, engine, exchange, house, signed, until

from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.simulator import FaultKind
from quantum_trader.pipeline.rules import RulesInForce
from quantum_trader.producers.harvest import Harvest
from quantum_trader.producers.view import View
from quantum_trader.stores.harvest import HarvestStore
from quantum_trader.stores.results import as_text

BY_HAND = {"interval_s": 3600}
"""The drill looks at the positions itself, when it has set the price."""

PATIENT: dict[str, Any] = {"exchange": {"request_timeout_s": 5}}
"""The drill's own reads have no second try, as a chore has: a loaded machine may take its time."""

CALM = {"sigma": "0.01", "ts": "0.5", "p_trend": "0.9", "p_chop": "0.1", "p_mr": "0"}
LOST = CALM | {"p_trend": "0.2", "p_chop": "0.8"}
CRITICAL = LOST | {"sigma": "0.03"}


class Watcher:
    """A harvest of the drill's own on the parts of a running engine; a new one is a restart's."""

    def __init__(self, running: House) -> None:
        joined = running.app._joined
        assert joined is not None
        self.running, self.rooms = running, joined.rooms
        view = View(
            RulesInForce(running.app.config),
            self.rooms.account,
            self.rooms.market,
            self.rooms.ledger,
            self.rooms.lease,
            self.rooms.clock,
        )
        self.harvest = Harvest(view, HarvestStore(joined.database, running.keys))

    async def look(self) -> None:
        """Look once at freshly read positions and balances."""
        await self.rooms.account.refresh_positions()
        await self.rooms.account.refresh_account()
        await self.harvest.look()

    async def at(self, factor: str, symbol: str = "XRPUSDT") -> None:
        """Move the mark price to ``factor`` times the position's entry, and look."""
        await self.rooms.account.refresh_positions()
        reading = self.rooms.account.positions
        assert reading is not None
        entry = reading.value.of_symbol(symbol)[0].entry_price
        await self.price(symbol, entry * Decimal(factor))
        await self.look()

    async def price(self, symbol: str, price: Decimal) -> None:
        """Pin price and mark price of ``symbol``."""
        wanted = {"symbol": symbol, "price": f"{price:f}", "mark": f"{price:f}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.running.url}/sim/price", json=wanted) as reply,
        ):
            assert reply.status == 200, await reply.text()

    async def model(self, symbol: str = "XRPUSDT", **fields: str) -> None:
        """Write an external model's inputs, made just now."""
        now_ms = self.rooms.clock.now_ms()
        mapping: Any = {"source": "drill-model", "timestamp": str(now_ms), **fields}
        await self.running.redis.hset(self.running.keys.harvest_inputs(symbol), mapping=mapping)


async def entries(running: House, stream: str) -> list[dict[str, str]]:
    return [as_text(fields) for _, fields in await running.redis.xrange(stream)]


async def proposals(running: House) -> list[dict[str, str]]:
    return await entries(running, running.keys.harvest_proposals)


async def calibrated(running: House) -> list[dict[str, str]]:
    return await entries(running, running.keys.harvest_calibrated)


async def actions(running: House) -> list[str]:
    return [one["action"] for one in await proposals(running)]


async def harvest_results(running: House, count: int) -> list[dict[str, str]]:
    """Wait for ``count`` results of harvest's plans."""

    async def ended() -> list[dict[str, str]] | None:
        found = [one for one in await running.results() if one["source"] == "harvest"]
        return found if len(found) >= count else None

    found: list[dict[str, str]] = await until(ended, 60, f"{count} results of harvest")
    assert len(found) == count
    return found


def acting(heat: str = "shadow", **harvest: Any) -> dict[str, Any]:
    return {
        **PATIENT,
        "harvest": {**BY_HAND, "mode": "act", **harvest},
        "gates": {"portfolio_heat": {"mode": heat}},
    }


# -- proposing


async def test_each_rung_is_proposed_once_a_position_also_across_restarts(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        async with engine(tmp_path, venue, url, harvest=BY_HAND, **PATIENT) as before:
            await before.open()
            watcher = Watcher(before)
            await watcher.model(**CALM)
            for factor in ("1.03", "1.05", "1.05", "1.03", "1.05"):
                await watcher.at(factor)
            assert await actions(before) == ["PARTIAL_25"]
            await Watcher(before).at("1.05")
            assert await actions(before) == ["PARTIAL_25"]
        async with engine(tmp_path, venue, url, harvest=BY_HAND, **PATIENT) as after:
            watcher = Watcher(after)
            await watcher.model(**CALM)
            for factor in ("1.05", "1.09", "1.05", "1.13", "1.20"):
                await watcher.at(factor)
            assert await actions(after) == ["PARTIAL_25", "PARTIAL_50", "PARTIAL_75"]
            assert len({one["plan_id"] for one in await proposals(after)}) == 3
            assert len(await after.results()) == 1


async def test_a_new_position_of_the_same_symbol_has_a_ladder_of_its_own(tmp_path: Path) -> None:
    async with house(tmp_path, harvest=BY_HAND, **PATIENT) as running:
        watcher = Watcher(running)
        await watcher.model(**CALM)
        for _ in range(2):
            await running.open()
            await watcher.at("1.05")
            await running.close()
        assert await actions(running) == ["PARTIAL_25", "PARTIAL_25"]
        first, second = await proposals(running)
        assert first["plan_id"] != second["plan_id"]
        assert first["opened_at"] < second["opened_at"]


async def test_a_short_is_harvested_when_the_price_falls(tmp_path: Path) -> None:
    async with house(tmp_path, **acting()) as running:
        opened = await running.open(side="SELL", qty=20)
        assert opened["decision"] == "FILLED"
        watcher = Watcher(running)
        await watcher.model(**CALM)
        await watcher.at("0.95")
        result = (await harvest_results(running, 1))[0]
        assert (result["side"], result["action"], result["filled_qty"]) == ("BUY", "PARTIAL_25", "5")


async def test_in_hedge_mode_the_leg_that_earned_is_harvested_and_the_other_left_alone(
    tmp_path: Path,
) -> None:
    async with exchange() as (venue, url):
        await signed("POST", url, "/fapi/v1/positionSide/dual", {"dualSidePosition": "true"})
        async with engine(tmp_path, venue, url, **acting()) as running:
            for side, leg in (("BUY", "LONG"), ("SELL", "SHORT")):
                opened = await running.open(side=side, positionSide=leg, qty=20)
                assert opened["decision"] == "FILLED", opened
            watcher = Watcher(running)
            await watcher.model(**CALM)
            await watcher.at("1.05")
            result = (await harvest_results(running, 1))[0]
            assert (result["side"], result["action"], result["filled_qty"]) == ("SELL", "PARTIAL_25", "5")
            assert [one["position_side"] for one in await proposals(running)] == ["LONG"]


async def test_a_high_kill_score_is_proposed_once_an_episode(tmp_path: Path) -> None:
    async with house(tmp_path, harvest=BY_HAND, **PATIENT) as running:
        await running.open()
        watcher = Watcher(running)
        for inputs in (LOST, LOST, CALM, LOST, LOST):
            await watcher.model(**inputs)
            await watcher.look()
        found = await proposals(running)
        assert [one["trigger"] for one in found] == ["kill1", "kill2"]
        assert {one["action"] for one in found} == {"FULL_CLOSE_PROPOSED"}
        await Watcher(running).look()
        assert len(await proposals(running)) == 2


async def test_a_proposal_names_source_and_time_of_what_it_was_made_from(tmp_path: Path) -> None:
    async with house(tmp_path, harvest=BY_HAND, **PATIENT) as running:
        await running.open()
        watcher = Watcher(running)
        await watcher.model(**LOST)
        began_ms = watcher.rooms.clock.now_ms()
        await watcher.look()
        proposal = (await proposals(running))[0]
        inputs = json.loads(proposal["inputs"])
        assert (inputs["source"], inputs["note"], inputs["p_trend"]) == ("model:drill-model", "", "0.2")
        assert began_ms <= int(proposal["timestamp"]) <= watcher.rooms.clock.now_ms()
        assert Decimal(proposal["kill_score"]) >= Decimal("0.73")


async def test_inc_63_a_model_that_is_stale_or_nameless_gives_way_to_the_candles(tmp_path: Path) -> None:
    async with house(tmp_path, harvest={**BY_HAND, "kill_threshold": "0.0001"}, **PATIENT) as running:
        await running.open()
        watcher = Watcher(running)
        await watcher.model(**CRITICAL, timestamp="1500000000000")
        await watcher.look()
        inputs = json.loads((await proposals(running))[0]["inputs"])
        assert inputs["source"] == "klines"
        assert inputs["note"].startswith("model not used: ")
        assert inputs["sigma"] != CRITICAL["sigma"]


async def test_harvest_off_looks_at_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, harvest={**BY_HAND, "mode": "off"}, **PATIENT) as running:
        await running.open()
        watcher = Watcher(running)
        await watcher.model(**CRITICAL)
        await watcher.at("1.2")
        assert await proposals(running) == []


async def test_the_engine_harvests_by_itself_as_soon_as_an_edit_tells_it_to(tmp_path: Path) -> None:
    table = {"mode": "off", "interval_s": 1, "kill_threshold": "0.5"}
    async with house(tmp_path, harvest=table) as running:
        await running.open(qty=40)
        joined = running.app._joined
        assert joined is not None
        harvest = running.app.config.harvest.model_copy(update={"mode": "act"})
        joined.rules.replace(running.app.config.model_copy(update={"harvest": harvest}))
        result = (await harvest_results(running, 1))[0]
        assert (result["decision"], result["effect"]) == ("FILLED", "CLOSE")
        assert joined.crew.counts()["harvest"]["proposed"] == 1


# -- INC-62


async def test_inc_62_no_position_no_proposal_whatever_redis_says(tmp_path: Path) -> None:
    async with house(tmp_path, **acting()) as running:
        fields: Any = {
            "position_amt": "500",
            "avg_entry_price": "1",
            "entry_price": "1",
            "mark_price": "9",
            "opened_at": "1700000000000",
            "unrealized_pnl": "4000",
        }
        await running.redis.hset(running.keys.snapshot("XRPUSDT"), mapping=fields)
        await running.redis.hset(running.keys.ledger("XRPUSDT"), mapping=fields)
        watcher = Watcher(running)
        await watcher.model(**CRITICAL)
        await watcher.look()
        assert await proposals(running) == []
        assert await running.redis.xlen(running.keys.plans) == 0


async def test_inc_62_a_failed_or_old_read_proposes_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, harvest=BY_HAND, **PATIENT) as running:
        await running.open()
        watcher = Watcher(running)
        await watcher.model(**CRITICAL)
        live = watcher.rooms.account
        reading = live.positions
        assert reading is not None
        live.positions = None
        await watcher.harvest.look()
        live.positions = type(reading)(reading.value, reading.read_at_ms - 60_000, reading.source)
        await watcher.harvest.look()
        assert await proposals(running) == []
        await watcher.look()
        assert await actions(running) == ["FULL_CLOSE_PROPOSED"]


# -- acting


async def test_inc_26_partial_25_closes_a_quarter_and_not_more(tmp_path: Path) -> None:
    async with house(tmp_path, **acting("enforce")) as running:
        await running.open(qty=40)
        watcher = Watcher(running)
        await watcher.model(**CALM)
        await watcher.at("1.05")
        result = (await harvest_results(running, 1))[0]
        assert (result["action"], result["effect"], result["filled_qty"]) == ("PARTIAL_25", "REDUCE", "10")


@pytest.mark.parametrize("mode", ["shadow", "enforce"])
async def test_inc_21_no_score_blocks_an_exit_and_no_heat_touches_a_critical_one(
    tmp_path: Path, mode: str
) -> None:
    async with house(tmp_path, **acting(mode)) as running:
        await running.open()
        watcher = Watcher(running)
        await watcher.model(**CRITICAL)
        await watcher.look()
        entry = (await calibrated(running))[0]
        assert (entry["bucket"], entry["reason"]) == ("COLD", "kill_score_critical")
        assert Decimal(entry["kill_score"]) >= Decimal("0.8")
        result = (await harvest_results(running, 1))[0]
        assert (result["decision"], result["effect"]) == ("FILLED", "CLOSE")


async def test_a_plan_whose_state_was_lost_is_a_duplicate_and_closes_nothing_twice(tmp_path: Path) -> None:
    async with house(tmp_path, **acting()) as running:
        await running.open(qty=40)
        watcher = Watcher(running)
        await watcher.model(**CALM)
        await watcher.at("1.05")
        await harvest_results(running, 1)
        await running.redis.delete(running.keys.harvest_state("XRPUSDT"))
        await Watcher(running).look()

        async def duplicate() -> Any:
            return await running.events("DUPLICATE_PLAN") or None

        await until(duplicate, 30, "the duplicate")
        assert len(await harvest_results(running, 1)) == 1


# -- heat


async def closes(tmp_path: Path, mode: str, inputs: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return the calibrated entry and the action that acted, of one high kill score."""
    async with house(tmp_path, **acting(mode)) as running:
        await running.open(qty=40)
        watcher = Watcher(running)
        await watcher.model(**inputs)
        await watcher.look()
        result = (await harvest_results(running, 1))[0]
        assert result["decision"] == "FILLED"
        return (await calibrated(running))[0], result["action"]


async def test_enforce_changes_exactly_what_shadow_said_it_would(tmp_path: Path) -> None:
    shadow, acted = await closes(tmp_path / "shadow", "shadow", LOST)
    enforced, acted_then = await closes(tmp_path / "enforce", "enforce", LOST)
    assert (shadow["proposal"], acted) == ("FULL_CLOSE_PROPOSED", "FULL_CLOSE_PROPOSED")
    assert (shadow["bucket"], shadow["downgraded"], shadow["mode"]) == ("COLD", "true", "shadow")
    assert acted_then == shadow["calibrated_action"] == "PARTIAL_25"
    same = ("proposal", "calibrated_action", "bucket", "downgraded", "reason")
    assert [enforced[name] for name in same] == [shadow[name] for name in same]


async def test_missing_evidence_lets_the_proposal_pass_unchanged(tmp_path: Path) -> None:
    async with house(tmp_path, **acting("enforce")) as running:
        await running.open(qty=40)
        watcher = Watcher(running)
        await watcher.model(**LOST)
        await watcher.rooms.account.refresh_positions()
        running.fault(FaultKind.STATUS_BEFORE, path="/fapi/v3/account", preset="500_unknown", count=1000)
        with contextlib.suppress(ExchangeError):
            await watcher.rooms.account.refresh_account()  # a read that began before the fault is over then
        watcher.rooms.account.account = None
        await watcher.harvest.look()
        running.venue.faults.clear()
        entry = (await calibrated(running))[0]
        assert (entry["bucket"], entry["heat"], entry["downgraded"]) == ("UNKNOWN", "", "false")
        assert entry["reason"] == "evidence_missing: account: absent or stale"
        assert (await harvest_results(running, 1))[0]["effect"] == "CLOSE"


async def test_heat_touches_no_close_of_a_person_or_a_rotation(tmp_path: Path) -> None:
    async with house(tmp_path, **acting("enforce")) as running:
        await running.open(qty=40)
        await running.open("ADAUSDT", qty=60)
        watcher = Watcher(running)
        for symbol in ("XRPUSDT", "ADAUSDT"):
            await watcher.model(symbol, **CALM)
        await watcher.look()
        rotation = {"rotation_trigger": "true", "new_symbol": "LTCUSDT", "new_plan_id": "none"}
        assert (await running.close("XRPUSDT"))["effect"] == "CLOSE"
        assert (await running.close("ADAUSDT", plan_id="rot_like", **rotation))["effect"] == "CLOSE"
        assert await calibrated(running) == []
