"""``quantum-trader heat report``: how often, what it would have changed, and what that is worth since."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from support.commands import run
from support.house import engine, exchange

from quantum_trader.producers.heat_report import report_of
from quantum_trader.stores.harvest import calibrated_entries
from quantum_trader.stores.keys import Keys

ENTRY = {
    "plan_id": "harvest_XRPUSDT_1_kill1",
    "symbol": "XRPUSDT",
    "proposal": "FULL_CLOSE_PROPOSED",
    "calibrated_action": "PARTIAL_25",
    "position_amt": "-40",
    "mark_price": "2",
    "heat": "0.1",
    "bucket": "COLD",
    "downgraded": "true",
    "reason": "portfolio_cold",
    "mode": "shadow",
    "timestamp": "1795000000000",
}
PASSED = ENTRY | {"downgraded": "false", "reason": "evidence_missing: sigma: absent", "bucket": "UNKNOWN"}


def test_a_short_that_was_kept_earns_when_the_price_falls() -> None:
    report = report_of([ENTRY, PASSED], {"XRPUSDT": Decimal("1.9")})
    assert report.pnl_difference == Decimal(3)
    assert (report.proposals, report.since_ms) == (2, 1_795_000_000_000)
    assert report.reasons == {"portfolio_cold": 1, "evidence_missing": 1}


def test_without_a_price_of_now_the_difference_is_unknown_and_not_zero() -> None:
    assert report_of([ENTRY], {}).pnl_difference is None
    assert report_of([PASSED], {}).pnl_difference == 0


def test_entries_that_somebody_else_wrote_are_counted_and_break_nothing() -> None:
    strange = [{"downgraded": "true"}, ENTRY | {"proposal": "OPEN"}, ENTRY | {"mark_price": "x"}, {}]
    report = report_of(strange, {})
    assert (report.proposals, report.unreadable, report.changes) == (4, 3, ())


async def test_the_command_reports_on_a_running_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    async with exchange() as (venue, url), engine(state, venue, url) as running:
        for name, value in {"MODE": "testnet", "STATE_DIR": str(state), "EXCHANGE__REST_URL": url}.items():
            monkeypatch.setenv(f"QT_{name}", value)
        nothing = await run("heat", "report")
        assert nothing.exit_code == 0
        assert "No proposal" in nothing.output
        for entry in (ENTRY, PASSED):
            await running.redis.xadd(running.keys.harvest_calibrated, entry)
        told = await run("heat", "report")
        assert told.exit_code == 0, told.output
        assert "Made smaller: 1" in told.output
        assert "FULL_CLOSE_PROPOSED would have become PARTIAL_25" in told.output
        found = json.loads((await run("heat", "report", "--json")).stdout)
        assert (found["proposals"], found["downgraded"]) == (2, 1)
        change = found["changes"][0]
        assert Decimal(found["pnl_difference_usdt"]) == -30 * (Decimal(change["mark_now"]) - 2)
        joined = running.app._joined
        assert joined is not None
        assert len(await calibrated_entries(joined.database, Keys())) == 2
