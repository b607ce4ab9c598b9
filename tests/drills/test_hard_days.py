"""Days on which the exchange, the account or other programs make it hard; each ends as it should."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
from redis.exceptions import ConnectionError as RedisGone
from structlog.testing import capture_logs
from support.house import House, engine, exchange, house, trace_of, until, weaken

from quantum_trader import housekeeping
from quantum_trader.exchange.simulator import EmbeddedExchange, FaultKind
from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.connection import Database

PATIENCE_S = 40.0
THREE_SLOTS: dict[str, Any] = {"active_slots": {"base": 3, "trend_strong": 3, "chop": 3}}
OBSTRUCTED = (
    '{"code":-4118,"msg":"ReduceOnly Order Failed. Please check your existing position and open orders"}'
)


async def held(running: House) -> set[str]:
    return {row["symbol"] for row in await running.ask("/fapi/v3/positionRisk")}


async def test_inc_48_a_rotation_whose_begin_lost_its_reply_is_seen_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, gates=THREE_SLOTS) as full:
        for symbol, qty in {"XRPUSDT": 40, "ADAUSDT": 100, "DOGEUSDT": 400}.items():
            assert (await full.open(symbol, qty=qty))["decision"] == "FILLED"
        await weaken(full, "DOGEUSDT")
        run, lost = Database.run, []

        async def losing(database: Database, name: str, *args: Any) -> Any:
            reply = await run(database, name, *args)
            if name == "rotate" and not lost:
                lost.append(name)
                raise RedisGone("the reply was lost")
            return reply

        monkeypatch.setattr(Database, "run", losing)
        plan_id = await full.submit(
            symbol="SOLUSDT", side="BUY", qty="0.5", reduceOnly="false", plan_id="candidate"
        )
        result = await full.result(plan_id, PATIENCE_S)
        assert (result["decision"], lost) == ("FILLED", ["rotate"])
        assert await held(full) == {"XRPUSDT", "ADAUSDT", "SOLUSDT"}
        assert [each["plan_id"] for each in await full.results()].count("candidate") == 1


async def test_inc_32_a_switch_to_hedge_mode_while_running_is_noticed(running: House) -> None:
    assert (await running.open("XRPUSDT", qty=20))["decision"] == "FILLED"
    assert (await running.close())["decision"] == "FILLED"
    await running.send("/fapi/v1/positionSide/dual", dualSidePosition="true")
    first = await running.open("XRPUSDT", qty=20)
    assert first["decision"] in ("FILLED", "REJECTED")

    async def opens_again() -> bool:
        return (await running.open("XRPUSDT", qty=20))["decision"] == "FILLED"

    if first["decision"] == "REJECTED":
        assert first["error"].startswith(("-4061", "-1106"))
        await until(opens_again, PATIENCE_S, "an open in hedge mode")
    wire = running.watch()
    assert (await running.close())["decision"] == "FILLED"
    assert wire.orders[-1]["positionSide"] == "LONG"
    assert await held(running) == set()


async def test_a_key_that_is_refused_for_a_while_stops_opens_until_it_is_accepted_again(
    running: House,
) -> None:
    await running.open("XRPUSDT", qty=20)
    joined = running.app._joined
    assert joined is not None
    running.fault(FaultKind.STATUS_BEFORE, preset="401_key", count=100_000)

    async def refused() -> bool:
        return not joined.rooms.keys.is_complete

    await until(refused, PATIENCE_S, "the refusal of the key")
    blocked = await running.open("ADAUSDT", qty=100)
    assert blocked["decision"] == "BLOCKED"
    running.venue.faults.clear()

    async def accepted() -> bool:
        return joined.rooms.keys.is_complete

    await until(accepted, PATIENCE_S, "the key's acceptance")
    assert (await running.open("ADAUSDT", qty=100))["decision"] == "FILLED"
    assert (await running.close())["decision"] == "FILLED"


async def test_a_key_that_may_read_but_not_order_stops_opens_until_an_exit_is_accepted(
    running: House,
) -> None:
    await running.open("XRPUSDT", qty=20)
    running.spoil_order(FaultKind.STATUS_BEFORE, preset="401_key", count=2)
    assert (await running.open("ADAUSDT", qty=100))["error"].startswith("-2015")
    refused = await running.close()  # an exit is always tried
    assert (refused["decision"], refused["error"][:5]) == ("REJECTED", "-2015")
    joined = running.app._joined
    assert joined is not None
    await joined.rooms.account.refresh_positions()
    assert (await running.open("ADAUSDT", qty=100))["reason"] == "keys_refused"
    assert (await running.close())["decision"] == "FILLED"
    assert (await running.open("ADAUSDT", qty=100))["decision"] == "FILLED"


async def test_a_key_that_may_read_but_not_order_is_probed_until_it_may_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "ORDER_PROBE_EVERY_S", 0.1)
    async with house(tmp_path) as running:
        probe = "/fapi/v1/order/test"
        running.fault(FaultKind.STATUS_BEFORE, path=probe, preset="401_key", count=100_000)
        running.spoil_order(FaultKind.STATUS_BEFORE, preset="401_key")
        assert (await running.open())["error"].startswith("-2015")
        assert (await running.open())["reason"] == "keys_refused"

        async def probed() -> bool:
            return any(row["path"] == probe and row["seen"] >= 5 for row in running.venue.faults.rows())

        await until(probed, PATIENCE_S, "five probes")
        running.venue.faults.clear()

        async def opens_again() -> bool:
            return (await running.open())["decision"] == "FILLED"

        await until(opens_again, PATIENCE_S, "an open after the probe")
        assert len(await running.ask("/fapi/v1/allOrders", symbol="XRPUSDT")) == 1


async def test_an_exit_does_not_wait_behind_a_flood_on_another_slow_symbol(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    running.fault(FaultKind.LATENCY, symbol="ADAUSDT", ms=450, count=100_000)
    pipeline = running.redis.pipeline(transaction=False)
    for number in range(300):
        entry: dict[Any, Any] = {"plan_id": f"slow-{number}", "decision": "EXECUTE", "symbol": "ADAUSDT"}
        pipeline.xadd(running.keys.plans, entry | {"side": "BUY", "qty": "100", "reduceOnly": "false"})
    await pipeline.execute()
    assert (await running.close())["decision"] == "FILLED"
    ended = {result["plan_id"] for result in await running.results()}
    assert len(ended) < 300, "the flood was over before the exit came: it shows nothing"
    running.venue.faults.clear()

    async def all_ended() -> bool:
        return len(await running.results()) == 302

    await until(all_ended, 3 * PATIENCE_S, "a result for every plan of the flood")


async def test_a_policy_of_a_wrong_type_stops_opens_until_it_is_repaired(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    await running.redis.delete(running.keys.policy)
    await running.redis.set(running.keys.policy, "nonsense")
    blocked = await running.open("ADAUSDT", qty=100)
    assert (blocked["decision"], blocked["reason"]) == ("BLOCKED", "active_slots_no_policy")
    assert (await running.close())["decision"] == "FILLED"
    await running.redis.delete(running.keys.policy)
    universe: Any = {"universe_symbols": encode(["XRPUSDT", "ADAUSDT"])}
    await running.redis.hset(running.keys.policy, mapping=universe)
    assert (await running.open("ADAUSDT", qty=100))["decision"] == "FILLED"


async def test_inc_86_during_a_ban_nothing_is_sent_and_afterwards_all_goes_on(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    joined = running.app._joined
    assert joined is not None
    running.spoil_order(FaultKind.STATUS_BEFORE, preset="418_banned", retry_after_s=8)
    first = await running.open("ADAUSDT", qty=100)
    assert (first["decision"], first["executed"]) == ("REJECTED", "false")
    assert joined.exchange.weight.is_banned
    seen = _counted(running)
    blocked = await running.open("DOGEUSDT", qty=100)
    assert blocked["executed"] == "false"
    closing = await running.submit(symbol="XRPUSDT", side="CLOSE", qty=0, action="FULL_CLOSE_PROPOSED")

    async def over() -> bool:
        during = list(seen)
        if joined.exchange.weight.is_banned:
            assert during == []
            return False
        return True

    await until(over, PATIENCE_S, "the end of the ban")
    assert (await running.result(closing, PATIENCE_S))["decision"] == "FILLED"


@pytest.mark.parametrize("times", [1, 2])
async def test_inc_30_inc_89_what_stands_in_an_exits_way_is_cancelled(running: House, times: int) -> None:
    await running.open("XRPUSDT", qty=20)
    await _rest_orders(running)
    running.spoil_order(FaultKind.STATUS_BEFORE, status=400, body=OBSTRUCTED, count=times)
    closed = await running.close()
    assert closed["decision"] == "FILLED"
    assert [order["outcome"] for order in trace_of(closed)["orders"]] == [*["Rejected"] * times, "Accepted"]
    assert await running.ask("/fapi/v1/openOrders", symbol="XRPUSDT") == []
    conditional = await running.ask("/fapi/v1/openAlgoOrders", symbol="XRPUSDT")
    assert len(conditional) == (1 if times == 1 else 0)


async def test_inc_91_the_loop_lag_is_in_the_status(running: House) -> None:
    async def told() -> bool:
        raw: Any = await running.redis.get(running.keys.engine_status)
        return raw is not None and decode(raw)["loop_lag_ms"] >= 0

    await until(told, PATIENCE_S, "the gauge in the status")


async def _rest_orders(running: House) -> None:
    """Place one resting limit order and one conditional order on the symbol, by hand."""
    price = (await running.ask("/fapi/v1/premiumIndex", symbol="XRPUSDT"))["markPrice"]
    bid, below = (f"{Decimal(price) * Decimal(factor):.4f}" for factor in ("0.97", "0.5"))
    limit = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "20", "price": bid}
    await running.send("/fapi/v1/order", symbol="XRPUSDT", side="BUY", **limit)
    stop = {"algoType": "CONDITIONAL", "type": "STOP_MARKET", "triggerPrice": below, "quantity": "20"}
    await running.send("/fapi/v1/algoOrder", symbol="XRPUSDT", side="SELL", reduceOnly="true", **stop)
    assert len(await running.ask("/fapi/v1/openOrders", symbol="XRPUSDT")) == 1
    assert len(await running.ask("/fapi/v1/openAlgoOrders", symbol="XRPUSDT")) == 1


def _counted(running: House) -> list[str]:
    """Return the list to which the path of every request is added that the exchange is handed from now on."""
    gateway, paths = running.venue.gateway, []
    handle = gateway.handle

    def counting(request: Any, *args: Any, **kwargs: Any) -> Any:
        paths.append(request.path)
        return handle(request, *args, **kwargs)

    gateway.handle = counting  # type: ignore[method-assign]
    return paths


async def test_a_fresh_state_dir_beside_open_positions_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.app.logger", structlog.get_logger())

    async def warnings_of_a_start(state_dir: Path, venue: EmbeddedExchange, url: str) -> list[Any]:
        with capture_logs() as lines:
            async with engine(state_dir, venue, url):
                pass
        return [line for line in lines if line["event"] == "fresh_state_dir"]

    async with exchange() as (venue, url):
        assert await warnings_of_a_start(tmp_path / "first", venue, url) == []  # nothing is held
        async with engine(tmp_path / "first", venue, url) as running:
            await running.open("XRPUSDT", qty=20)
        assert await warnings_of_a_start(tmp_path / "first", venue, url) == []  # its own
        (warning,) = await warnings_of_a_start(tmp_path / "second", venue, url)
        assert warning["positions"] == {"XRPUSDT": "20"}
        assert warning["state_dir"] == str(tmp_path / "second")
        assert "put its state_dir back" in warning["cure"]
