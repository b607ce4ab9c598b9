"""`close` and `flatten`, end to end, with everything else stopped, broken or gone (INC-33, INC-50)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.commands import run
from support.house import House, exchange, house, signed

from quantum_trader.exchange.simulator import EmbeddedExchange, FaultKind, FaultRule
from quantum_trader.stores.codec import decode


class Desk:
    """An account with positions, and nothing else: no Redis, no engine."""

    def __init__(self, venue: EmbeddedExchange, url: str) -> None:
        self.venue = venue
        self.url = url

    async def order(self, symbol: str, side: str, quantity: str, **more: Any) -> Any:
        wish = {"symbol": symbol, "side": side, "type": "MARKET", "quantity": quantity, **more}
        return await signed("POST", self.url, "/fapi/v1/order", wish)

    async def held(self) -> dict[str, str]:
        rows = await signed("GET", self.url, "/fapi/v3/positionRisk", {})
        return {row["symbol"] + row["positionSide"].replace("BOTH", ""): row["positionAmt"] for row in rows}

    async def sent(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for symbol in ("XRPUSDT", "ADAUSDT"):
            rows += await signed("GET", self.url, "/fapi/v1/allOrders", {"symbol": symbol})
        return [row for row in rows if row["clientOrderId"].startswith("op-")]

    async def price(self, symbol: str) -> Decimal:
        rows = await signed("GET", self.url, "/fapi/v1/premiumIndex", {"symbol": symbol})
        return Decimal(rows["markPrice"])


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_MODE", "testnet")
    monkeypatch.setenv("QT_STATE_DIR", str(tmp_path / "no-engine-here"))
    monkeypatch.setenv("QT_REDIS__URL", "redis://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def desk(environment: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    async with exchange() as (venue, url):
        monkeypatch.setenv("QT_EXCHANGE__REST_URL", url)
        yield Desk(venue, url)


async def test_inc_33_flatten_closes_everything_without_redis_and_without_an_engine(desk: Desk) -> None:
    await desk.order("XRPUSDT", "BUY", "100")
    await desk.order("ADAUSDT", "SELL", "150")
    told = await run("flatten", "--yes")
    assert told.exit_code == 0, told.output
    assert "✓ XRPUSDT: closed (SELL 100)" in told.output
    assert "✓ ADAUSDT: closed (BUY 150)" in told.output
    assert await desk.held() == {}
    sent = await desk.sent()
    assert {(row["symbol"], row["type"], row["reduceOnly"]) for row in sent} == {
        ("XRPUSDT", "MARKET", True),
        ("ADAUSDT", "MARKET", True),
    }


async def test_flatten_asks_for_a_yes_and_does_nothing_without_one(desk: Desk) -> None:
    await desk.order("XRPUSDT", "BUY", "100")
    told = await run("flatten")
    assert told.exit_code == 2
    assert "--yes" in told.output
    assert await desk.held() == {"XRPUSDT": "100"}


async def test_close_takes_one_symbol_and_leaves_the_others(desk: Desk) -> None:
    await desk.order("XRPUSDT", "BUY", "100")
    await desk.order("ADAUSDT", "SELL", "150")
    told = await run("close", "xrpusdt", "--json")
    assert told.exit_code == 0, told.output
    (row,) = decode(told.stdout)["positions"]
    assert (row["symbol"], row["closed"], row["filled_qty"], row["left"]) == ("XRPUSDT", True, "100", "0")
    assert list(await desk.held()) == ["ADAUSDT"]
    nothing = await run("close", "XRPUSDT")
    assert nothing.exit_code == 0
    assert "no position in XRPUSDT" in nothing.output


@pytest.mark.parametrize("word", ["1", "opens", "nonsense"])
async def test_inc_33_inc_50_flatten_obeys_no_kill_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    async with house(tmp_path) as running:
        point_at(running, tmp_path, monkeypatch)
        assert (await running.open())["decision"] == "FILLED"
        await running.redis.set("quantum:kill", word)
        told = await run("flatten", "--yes")
        assert told.exit_code == 0, told.output
        assert await running.ask("/fapi/v3/positionRisk") == []
        assert await running.redis.get("quantum:kill") == word.encode()
        assert await running.events("FOREIGN_ORDER") == []


async def test_inc_33_close_goes_on_when_redis_dies_under_a_running_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as running:
        point_at(running, tmp_path, monkeypatch)
        assert (await running.open())["decision"] == "FILLED"
        server = running.app._server
        assert server is not None
        await server.stop()
        told = await run("close", "XRPUSDT")
        assert told.exit_code == 0, told.output
        assert await running.ask("/fapi/v3/positionRisk") == []


async def test_inc_30_a_resting_reduce_only_order_is_cancelled_out_of_the_way(desk: Desk) -> None:
    await desk.order("XRPUSDT", "BUY", "100")
    above = await desk.price("XRPUSDT") * Decimal("1.02")
    resting = await desk.order(
        "XRPUSDT", "SELL", "100", type="LIMIT", timeInForce="GTC", price=f"{above:.4f}", reduceOnly="true"
    )
    assert resting["status"] == "NEW", resting
    told = await run("close", "XRPUSDT")
    assert told.exit_code == 0, told.output
    assert await desk.held() == {}


async def test_inc_31_what_is_larger_than_the_largest_market_order_is_split(desk: Desk) -> None:
    await desk.order("XRPUSDT", "BUY", "1000")
    await amend(desk, "XRPUSDT", market_max="300")
    told = await run("flatten", "--yes", "--json")
    assert told.exit_code == 0, told.output
    assert await desk.held() == {}
    filled = [row for row in await desk.sent() if row["status"] == "FILLED"]
    assert [Decimal(row["executedQty"]) for row in filled] == [300, 300, 300, 100]


async def test_inc_29_dust_below_the_smallest_notional_is_closed(desk: Desk) -> None:
    await desk.order("XRPUSDT", "BUY", "100")
    await desk.order("XRPUSDT", "SELL", "99.9", reduceOnly="true")
    assert await desk.held() == {"XRPUSDT": "0.1"}
    told = await run("close", "XRPUSDT")
    assert told.exit_code == 0, told.output
    assert await desk.held() == {}


async def test_inc_32_both_hedge_legs_go_or_the_one_that_is_named(desk: Desk) -> None:
    await signed("POST", desk.url, "/fapi/v1/positionSide/dual", {"dualSidePosition": "true"})
    await desk.order("XRPUSDT", "BUY", "100", positionSide="LONG")
    await desk.order("XRPUSDT", "SELL", "60", positionSide="SHORT")
    told = await run("close", "XRPUSDT", "--position-side", "SHORT")
    assert told.exit_code == 0, told.output
    assert "XRPUSDT SHORT: closed (BUY 60)" in told.output
    assert list(await desk.held()) == ["XRPUSDTLONG"]
    assert (await run("flatten", "--yes")).exit_code == 0
    assert await desk.held() == {}


async def test_what_is_left_is_said_and_ends_with_1(desk: Desk) -> None:
    await desk.order("XRPUSDT", "BUY", "100")
    await desk.order("ADAUSDT", "BUY", "100")
    desk.venue.faults.add(
        FaultRule(
            FaultKind.STATUS_BEFORE,
            preset="503_unavailable",
            method="POST",
            path="/fapi/v1/order",
            symbol="ADAUSDT",
            count=50,
        )
    )
    told = await run("flatten", "--yes")
    assert told.exit_code == 1
    assert "✓ XRPUSDT: closed" in told.output
    assert "✗ ADAUSDT: 100 left" in told.output
    assert "still open: ADAUSDT" in told.output


async def test_a_lost_answer_is_no_failure_and_no_second_close(desk: Desk) -> None:
    await desk.order("XRPUSDT", "BUY", "100")
    desk.venue.faults.add(FaultRule(FaultKind.TIMEOUT_AFTER, method="POST", path="/fapi/v1/order", count=1))
    told = await run("close", "XRPUSDT")
    assert told.exit_code == 0, told.output
    assert await desk.held() == {}
    assert [row["executedQty"] for row in await desk.sent()] == ["100"]


async def test_without_an_exchange_it_is_said_in_one_line(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_EXCHANGE__REST_URL", "http://127.0.0.1:9")
    told = await run("flatten", "--yes")
    assert told.exit_code == 3
    assert len(told.output.strip().splitlines()) == 1
    assert "the exchange does not answer" in told.output


async def test_dry_run_closes_nothing_and_says_how_to(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.order("XRPUSDT", "BUY", "100")
    monkeypatch.setenv("QT_MODE", "dry_run")
    monkeypatch.setenv("BINANCE_API_KEY", "live-key")
    monkeypatch.setenv("BINANCE_API_SECRET", "live-secret")
    told = await run("flatten", "--yes")
    assert told.exit_code == 1
    assert "QT_MODE=live" in told.output
    assert await desk.held() == {"XRPUSDT": "100"}


async def test_a_broken_file_does_not_keep_anyone_from_closing(desk: Desk, tmp_path: Path) -> None:
    await desk.order("XRPUSDT", "BUY", "100")
    (tmp_path / "config.toml").write_text('[gates.fund_caps]\nmax_open_positions = "five\n', encoding="utf-8")
    told = await run("close", "XRPUSDT")
    assert told.exit_code == 0, told.output
    assert "not valid TOML" in told.output
    assert await desk.held() == {}


async def test_nothing_of_the_pipeline_and_no_redis_client_is_even_loaded() -> None:
    code = (
        "import sys, quantum_trader.cli.close, quantum_trader.cli.flatten\n"
        "bad = [n for n in sys.modules if n.startswith(('redis', 'pydantic', 'quantum_trader.pipeline',"
        " 'quantum_trader.gates', 'quantum_trader.config', 'quantum_trader.exchange.entry_port'))]\n"
        "print(bad)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().strip() == "[]"


def point_at(running: House, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_MODE", "testnet")
    monkeypatch.setenv("QT_STATE_DIR", str(state_dir))
    monkeypatch.setenv("QT_EXCHANGE__REST_URL", running.url)


async def amend(desk: Desk, symbol: str, **changes: str) -> None:
    specs = desk.venue.venue.specs
    specs[symbol] = replace(specs[symbol], **{name: Decimal(value) for name, value in changes.items()})
