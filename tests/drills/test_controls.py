"""Controls that must do something, and must not do more than they say (INCIDENTS: second to fourth table)."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.commands import run
from support.house import NO_STREAMS, House, engine, exchange, house, trace_of, until

from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.simulator import FaultKind
from quantum_trader.housekeeping import Housekeeping
from quantum_trader.positions.ledger import LedgerEntry
from quantum_trader.stores.codec import decode

GOOD = {"symbol": "XRPUSDT", "side": "BUY", "qty": "20", "reduceOnly": "false"}


async def test_inc_21_a_critical_kill_score_stops_an_open_and_no_exit(running: House) -> None:
    assert (await running.open(kill_score="0.80"))["reason"] == "kill_score_critical_open"
    assert (await running.open(kill_score="0.79"))["decision"] == "FILLED"
    assert (await running.close(kill_score="0.99"))["decision"] == "FILLED"


async def test_inc_22_a_missing_watchdog_stops_opens_and_no_exit(tmp_path: Path) -> None:
    async with house(tmp_path, bsc={"required": True, "enabled": False}) as running:
        await running.redis.set("quantum:bsc:health", '{"state": "OK", "authority": "CONTROLLER"}')
        assert (await running.open())["decision"] == "FILLED"
        await running.redis.delete("quantum:bsc:health")
        assert (await running.open("ADAUSDT", qty=100))["reason"] == "bsc_blind"
        assert (await running.close())["decision"] == "FILLED"


async def test_inc_24_exits_neither_obey_nor_start_entry_cooldowns(tmp_path: Path) -> None:
    limits = {"fund_caps": {"symbol_cooldown_s": 60}, "position_sanity": {"cooldown_s": 15}}
    async with house(tmp_path, gates={**limits, "rate_limit": {"per_symbol_s": 0}}) as running:
        assert (await running.open())["decision"] == "FILLED"
        before = await running.redis.get("quantum:cooldown:last_exec_ts:XRPUSDT")
        assert (await running.close())["decision"] == "FILLED"
        assert await running.redis.get("quantum:cooldown:last_exec_ts:XRPUSDT") == before
        assert (await running.open())["reason"] == "symbol_cooldown"


async def test_inc_25_a_difference_holds_opens_only_and_ends_by_adopting_the_exchange(running: House) -> None:
    joined = running.app._joined
    assert joined is not None
    await running.open()
    ledger, leg = joined.rooms.ledger, Leg("XRPUSDT")

    async def taken_over() -> bool:  # the result stands on the stream a moment before
        return ledger[leg].position_amt == 20

    await until(taken_over, 20, "the fill in the ledger")
    ledger.replace(leg, LedgerEntry(position_amt=Decimal(35), source="fill"))
    held = await running.open("XRPUSDT", qty=5)
    codes = {verdict["code"] for verdict in trace_of(held)["verdicts"]}
    assert held["decision"] == "BLOCKED"
    assert codes & {"position_exists_add_denied", "reconcile_hold"}

    async def adopted() -> bool:  # not while the lane of the plan before is being given up
        await joined.reconciler.reconcile()
        return ledger[leg].position_amt == 20

    await until(adopted, 20, "the exchange's amount in the ledger")
    assert len(await running.events("RECONCILED")) == 1
    assert (await running.close())["decision"] == "FILLED"


@pytest.mark.parametrize("loss", ["edited", "deleted", "of another type"])
async def test_an_entry_of_the_ledger_that_others_change_is_noticed_and_put_right(
    running: House, loss: str
) -> None:
    await running.open()
    name, ledger = running.keys.ledger("XRPUSDT"), running.app._joined.rooms.ledger  # type: ignore[union-attr]
    if loss == "edited":
        await running.redis.hset(name, "position_amt", "999")
    else:
        async with running.redis.pipeline(transaction=True) as changes:  # nothing is put right in between
            changes.delete(name)
            if loss == "of another type":
                changes.set(name, "999")
            await changes.execute()

    async def is_healed() -> bool:
        return (
            await running.redis.type(name) == b"hash"
            and await running.redis.hget(name, "position_amt") == b"20"
        )

    await until(is_healed, 20, "the entry as it was")
    (event,) = await running.events("RECONCILED")
    assert (event["ledger_amt"], event["exchange_amt"]) == ("999" if loss == "edited" else "0", "20")
    assert all(holding.is_ours for holding in ledger.holdings().values())
    assert (await running.close())["decision"] == "FILLED"


async def test_inc_27_a_part_too_small_to_close_is_refused_never_enlarged(running: House) -> None:
    await running.open("LTCUSDT", qty="0.2")
    rules = running.app._joined.rooms.market.rules_of("LTCUSDT")  # type: ignore[union-attr]
    assert rules is not None
    step = rules.market_quantity.step
    wish = {"symbol": "LTCUSDT", "side": "SELL", "reduceOnly": "true"}
    left = await running.result(await running.submit(**wish, qty=Decimal("0.2") - step))
    assert left["decision"] == "FILLED"
    wire = running.watch()
    partial = await running.close("LTCUSDT", action="PARTIAL_25")
    assert (partial["decision"], partial["reason"]) == ("BLOCKED", "partial_rounds_to_zero")
    assert wire.orders == []


async def test_inc_41_looking_at_the_engine_never_clears_a_stop(
    running: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = ("quantum:kill", "quantum:safety:disarmed", "quantum:safety:safe_mode")
    for stop in stops:
        await running.redis.set(stop, "1")
    monkeypatch.setenv("QT_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("QT_MODE", "testnet")
    monkeypatch.setenv("QT_EXCHANGE__REST_URL", running.url)
    for looking in (["status"], ["doctor"], ["why", "XRPUSDT"], ["config", "show"]):
        await run(*looking)
    joined = running.app._joined
    assert joined is not None
    await Housekeeping(running.app.config, joined, running.app._clock).write_status()
    assert [await running.redis.get(stop) for stop in stops] == [b"1", b"1", b"1"]


async def test_inc_45_the_total_counts_the_order_itself_and_nothing_is_free(tmp_path: Path) -> None:
    async with house(tmp_path, gates={"fund_caps": {"max_total_notional_usdt": 50}}) as running:
        assert (await running.open("XRPUSDT", qty=20))["decision"] == "FILLED"
        assert (await running.open("ADAUSDT", qty=100))["reason"] == "total_notional_exceeded"
        assert (await running.open("ADAUSDT", qty=0))["reason"] == "invalid_qty"


@pytest.mark.parametrize(
    ("endpoint", "attribute"),
    [("/fapi/v3/account", "account"), ("/fapi/v1/premiumIndex", "marks"), ("/fapi/v1/exchangeInfo", "rules")],
)
async def test_inc_46_a_fact_that_cannot_be_read_blocks_an_open_and_no_exit(
    tmp_path: Path, endpoint: str, attribute: str
) -> None:
    async with house(tmp_path, exchange=NO_STREAMS) as running:
        await running.open()
        rooms = running.app._joined.rooms  # type: ignore[union-attr]
        running.fault(FaultKind.STATUS_BEFORE, path=endpoint, preset="500_unknown", count=1000)
        facts = rooms.account if attribute == "account" else rooms.market
        with contextlib.suppress(ExchangeError):
            await getattr(facts, f"refresh_{attribute}")()  # a read that began before the fault is over then
        setattr(facts, attribute, None)
        blocked = await running.open("ADAUSDT", qty=100)
        assert (blocked["decision"], blocked["executed"]) == ("BLOCKED", "false")
        assert blocked["reason"] == ("mark_price_unavailable" if attribute == "marks" else "evidence_missing")
        assert (await running.close())["decision"] == "FILLED"


async def test_a_symbol_off_the_allowlist_is_named_as_such_with_every_gate_on(tmp_path: Path) -> None:
    async with house(tmp_path, symbols=("XRPUSDT",)) as running:
        await running.redis.hset(running.keys.policy, "universe_symbols", '["XRPUSDT", "ADAUSDT"]')
        result = await running.open("ADAUSDT", qty=100)
        assert (result["gate"], result["reason"]) == ("position_sanity", "symbol_not_allowed")


@pytest.mark.parametrize("mode", ["testnet", "dry_run"])
async def test_inc_47_the_same_chain_judges_in_every_mode(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", "drill-key")
    monkeypatch.setenv("BINANCE_API_SECRET", "drill-secret")
    monkeypatch.delenv("BINANCE_TESTNET_API_KEY")
    monkeypatch.setenv("BINANCE_TESTNET_API_KEY", "drill-key" if mode == "testnet" else "another")
    if mode == "testnet":
        monkeypatch.delenv("BINANCE_API_KEY")
    async with house(tmp_path, mode=mode) as running:
        wire = running.watch()
        await running.redis.set("quantum:kill", "opens")
        assert (await running.open())["reason"] == "kill_switch_active"
        await running.redis.delete("quantum:kill")
        assert (await running.open("XRPUSDT", qty=5000))["reason"] == "notional_per_trade_exceeded"
        good = await running.open()
        expected = ("FILLED", "true") if mode == "testnet" else ("DRY_RUN", "false")
        assert (good["decision"], good["executed"]) == expected
        assert good["would_execute"] == "true"
        assert len(wire.orders) == (1 if mode == "testnet" else 0)


async def test_sums_over_claims_that_a_former_life_left_are_made_anew(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        async with engine(tmp_path, venue, url) as before:
            await before.redis.set(before.keys.claim_sums, "1 0 0\n")
        async with engine(tmp_path, venue, url) as after:

            async def are_gone() -> bool:
                return not await after.redis.exists(after.keys.claim_sums)

            await until(are_gone, 5, "the end of the former sums")


async def test_inc_52_latches_outlive_a_restart(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        async with engine(tmp_path, venue, url) as before:
            for stop in ("quantum:safety:disarmed", "quantum:safety:cooldown_symbol:ADAUSDT"):
                await before.redis.set(stop, "1")
        async with engine(tmp_path, venue, url) as after:
            assert (await after.open())["reason"] == "disarmed"
            await after.redis.delete("quantum:safety:disarmed")
            assert (await after.open("ADAUSDT", qty=100))["reason"] == "cooldown_symbol"
            assert (await after.open("XRPUSDT"))["decision"] == "FILLED"


async def test_rate_tokens_and_idempotency_outlive_a_restart(tmp_path: Path) -> None:
    limits = {"rate_limit": {"per_symbol_s": 30}}
    async with exchange() as (venue, url):
        async with engine(tmp_path, venue, url, gates=limits) as before:
            await before.open(plan_id="once")
            await before.close()
        async with engine(tmp_path, venue, url, gates=limits) as after:
            assert (await after.open())["reason"] == "rate_limit_symbol"
            await after.submit(**GOOD, plan_id="once")
            await after.close("ADAUSDT")
            results = [result for result in await after.results() if result["plan_id"] == "once"]
            assert len(results) == 1


async def test_inc_66_ghost_keys_fill_no_slot(tmp_path: Path) -> None:
    one = {"active_slots": {"base": 1, "trend_strong": 1, "chop": 1}, "fund_caps": {"max_open_positions": 1}}
    async with house(tmp_path, gates=one) as running:
        ghost: Any = {"position_amt": "5", "entry_price": "1", "source": "fill"}
        for symbol in ("ADAUSDT", "DOGEUSDT", "GHOSTUSDT"):
            await running.redis.hset(f"quantum:position:snapshot:{symbol}", mapping=ghost)
            await running.redis.hset(f"quantum:position:ledger:{symbol}", mapping=ghost)
        assert (await running.open("XRPUSDT"))["decision"] == "FILLED"


async def test_inc_66_ghosts_in_the_ledger_are_gone_after_a_restart(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        async with engine(tmp_path, venue, url) as before:
            ghost: Any = {"position_amt": "5", "source": "fill"}
            await before.redis.hset("quantum:position:ledger:ADAUSDT", mapping=ghost)
        async with engine(tmp_path, venue, url) as after:
            assert await after.redis.hget("quantum:position:ledger:ADAUSDT", "position_amt") == b"0"
            assert (await after.open("ADAUSDT", qty=100))["decision"] == "FILLED"


async def test_inc_67_no_ledger_and_a_flat_exchange_is_flat(running: House) -> None:
    assert not await running.redis.exists("quantum:position:ledger:XRPUSDT")
    assert (await running.open("XRPUSDT"))["decision"] == "FILLED"


async def test_inc_62_63_evidence_names_its_source_and_the_permits_are_records(running: House) -> None:
    result = await running.open(plan_id="recorded")
    p32 = decode(await running.redis.get("quantum:permit:p32:recorded"))
    p33 = decode(await running.redis.get("quantum:permit:p33:recorded"))
    assert (p32["allow"], p32["symbol"], p32["reason"]) == (True, "XRPUSDT", "pass")
    assert Decimal(p32["computed_qty"]) == Decimal(result["qty"])
    assert (p33["allow"], p33["safe_qty"], p33["is_open"], p33["reason"]) == (
        True,
        "0",
        True,
        "sanity_checks_passed",
    )
    assert 0 < await running.redis.ttl("quantum:permit:p33:recorded") <= 60
    readings = running.app._joined.rooms  # type: ignore[union-attr]
    assert readings.account.positions is not None
    assert readings.account.positions.source == "exchange"


async def test_leverage_is_set_before_the_order_while_flat(running: House) -> None:
    result = await running.open("XRPUSDT", leverage="5")
    assert result["decision"] == "FILLED"
    rows = await running.ask("/fapi/v1/symbolConfig", symbol="XRPUSDT")
    assert rows[0]["leverage"] == 5


@pytest.mark.parametrize(
    ("fault", "leverage"),
    [
        pytest.param(FaultKind.STATUS_BEFORE, 20, id="it was not set"),
        pytest.param(FaultKind.STATUS_AFTER, 5, id="it was set all the same"),
    ],
)
async def test_without_the_leverage_there_is_no_order_and_it_is_read_before_the_next(
    running: House, fault: FaultKind, leverage: int
) -> None:
    wire = running.watch()

    async def is_read() -> bool:
        return running.app._joined.rooms.account.leverages.get("XRPUSDT") == leverage  # type: ignore[union-attr]

    running.fault(fault, path="/fapi/v1/leverage", preset="500_unknown")
    result = await running.open("XRPUSDT", leverage="5")
    assert (result["decision"], result["reason"]) == ("FAILED", "leverage_not_set")
    assert wire.orders == []
    await until(is_read, 10, "the leverage")
    assert (await running.open("XRPUSDT"))["decision"] == "FILLED"


@pytest.mark.parametrize(("kill", "said"), [("1", b"DISABLED"), ("opens", b"ENABLED")])
async def test_a_halt_of_every_plan_is_published_and_one_of_opens_leaves_exits(
    running: House, kill: str, said: bytes
) -> None:
    await running.redis.set("quantum:kill", kill)

    async def obeyed() -> bool:
        operator = running.app._joined.consumer.operator  # type: ignore[union-attr]
        return operator is not None and operator.kill == kill

    await until(obeyed, 20, "the kill switch")
    await Housekeeping(running.app.config, running.app._joined, SystemClock()).write_status()  # type: ignore[arg-type]
    assert await running.redis.get(running.keys.execution) == said
    await running.redis.delete("quantum:kill")

    async def enabled_again() -> bool:
        return await running.redis.get(running.keys.execution) == b"ENABLED"

    await until(enabled_again, 20, "the end of the halt")
