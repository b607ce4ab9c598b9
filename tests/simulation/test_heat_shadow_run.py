"""P2.6 in shadow over months of recorded candles: what it says it would change is what enforce changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from support.candle_replay import BTC_1H, XRP_5M, Replay, btc_hours, xrp_hours

from quantum_trader.config import Config
from quantum_trader.domain.trading import Kline
from quantum_trader.producers.heat_report import report_of
from quantum_trader.stores.connection import Database
from quantum_trader.stores.harvest import calibrated_entries
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.results import as_text

HOURS_MAX = 2000
CLOSES_MIN = {"XRPUSDT": 8, "BTCUSDT": 100}
EQUITY = Decimal(20)  # 50 times levered: only so do hourly volatilities reach every bucket

pytestmark = pytest.mark.skipif(
    not (XRP_5M.exists() and BTC_1H.exists()), reason=f"the recorded candles are not at {XRP_5M.parents[1]}"
)


def candles_of(symbol: str) -> list[Kline]:
    return xrp_hours() if symbol == "XRPUSDT" else btc_hours()


async def run(database: Database, symbol: str, mode: str) -> tuple[list[Mapping[str, str]], dict[str, str]]:
    """Return the calibrated entries of a run, and the action of each plan that it put on the stream."""
    await database.client.flushall()
    candles = candles_of(symbol)
    given: dict[str, Any] = {"portfolio_heat": {"mode": mode}}
    config = Config(harvest={"mode": "act"}, gates=given)  # type: ignore[arg-type]
    replay = Replay(config, candles, database, symbol, EQUITY)
    await replay.run(min(HOURS_MAX, len(candles) - replay.at - 1))
    plans: Any = await database.client.xrange(Keys().plans)
    acted = {plan["plan_id"]: plan["action"] for plan in (as_text(fields) for _, fields in plans)}
    return await calibrated_entries(database, Keys()), acted


@pytest.mark.parametrize("symbol", CLOSES_MIN)
async def test_enforce_changes_exactly_what_shadow_said_it_would(database: Database, symbol: str) -> None:
    shadow, acted_in_shadow = await run(database, symbol, "shadow")
    enforced, acted_in_enforce = await run(database, symbol, "enforce")
    assert acted_in_shadow == {one["plan_id"]: one["proposal"] for one in shadow}
    assert acted_in_enforce == {one["plan_id"]: one["calibrated_action"] for one in shadow}
    assert len(acted_in_shadow) == len(shadow)  # one calibrated close a position and episode
    assert [one | {"mode": ""} for one in enforced] == [one | {"mode": ""} for one in shadow]


@pytest.mark.parametrize("symbol", CLOSES_MIN)
async def test_a_shadow_run_reports_what_would_have_changed_and_what_that_is_worth(
    database: Database, symbol: str
) -> None:
    entries, _ = await run(database, symbol, "shadow")
    closes = [one for one in entries if one["proposal"] == "FULL_CLOSE_PROPOSED"]
    assert len(closes) >= CLOSES_MIN[symbol]
    assert Counter(one["bucket"] for one in closes).keys() >= {"COLD", "WARM"}
    mark = candles_of(symbol)[-1].close
    report = report_of(entries, {symbol: mark})
    assert report.proposals == len(entries)
    assert sum(report.buckets.values()) == len(entries)
    kept = {"PARTIAL_25": Decimal("0.75"), "PARTIAL_75": Decimal("0.25")}
    changed = [one for one in closes if one["calibrated_action"] in kept]
    assert len(report.changes) == len(changed) >= CLOSES_MIN[symbol] // 2
    assert report.pnl_difference == sum(
        kept[one["calibrated_action"]] * Decimal(one["position_amt"]) * (mark - Decimal(one["mark_price"]))
        for one in changed
    )
    for one in entries:
        critical = one["kill_score"] != "" and Decimal(one["kill_score"]) >= Decimal("0.8")
        if critical or one["proposal"] != "FULL_CLOSE_PROPOSED":
            assert (one["calibrated_action"], one["downgraded"]) == (one["proposal"], "false")
