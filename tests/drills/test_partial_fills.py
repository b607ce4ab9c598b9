"""An order that is filled in part: reported as it is; only an exit asks for the rest (SPEC 7.5, 7.6)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from support.house import house, trace_of

DEPTH_USDT = Decimal(40)  # what a side of a shallow book holds


async def test_inc_13_the_rest_of_a_partial_open_is_reported_and_not_sent_again(tmp_path: Path) -> None:
    async with house(tmp_path) as running:
        desk = running.venue.venue.desk
        desk.terms = replace(desk.terms, depth_usdt=DEPTH_USDT)
        wire = running.watch()
        result = await running.open("XRPUSDT", qty=60)
        (held,) = await running.ask("/fapi/v3/positionRisk")
        filled = Decimal(result["filled_qty"])
        assert (result["decision"], result["executed"]) == ("PARTIALLY_FILLED", "true")
        assert (result["qty"], result["order_status"]) == ("60", "EXPIRED")
        assert 0 < filled == Decimal(held["positionAmt"]) < 60
        assert [order["quantity"] for order in wire.orders] == ["60"]
        assert len(trace_of(result)["orders"]) == 1


async def test_inc_71_the_reconciler_adopts_whatever_it_finds_and_never_trades(tmp_path: Path) -> None:
    async with house(tmp_path) as running:
        await running.open("XRPUSDT", qty=20)
        await running.trade("XRPUSDT", "SELL", Decimal(50), "by-hand-1")  # ours is now the other way round
        await running.trade("ADAUSDT", "BUY", Decimal(100), "by-hand-2")  # never seen before
        wire, joined = running.watch(), running.app._joined
        assert joined is not None
        await joined.rooms.account.refresh_positions()
        await joined.reconciler.reconcile()
        amounts = {leg.symbol: amount for leg, amount in joined.rooms.ledger.amounts().items()}
        assert amounts == {"XRPUSDT": Decimal(-30), "ADAUSDT": Decimal(100)}
        assert wire.orders == []
        rows = {
            row["symbol"]: Decimal(row["positionAmt"]) for row in await running.ask("/fapi/v3/positionRisk")
        }
        assert rows == amounts
