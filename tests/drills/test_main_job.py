"""From a plan on the stream to one order and one result that explains itself."""

from __future__ import annotations

from decimal import Decimal

from support.house import House, trace_of


async def test_an_open_becomes_one_order_and_one_result(running: House) -> None:
    result = await running.open("XRPUSDT", qty=20)
    assert (result["decision"], result["executed"], result["reason"]) == ("FILLED", "true", "filled")
    assert Decimal(result["filled_qty"]) == 20
    assert Decimal(result["avg_price"]) > 0
    assert [v["gate"] for v in trace_of(result)["verdicts"]][1] == "kill_switch"
    assert len(await running.results()) == 1


async def test_a_full_close_leaves_the_symbol_flat(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    result = await running.close("XRPUSDT")
    assert (result["decision"], result["effect"], result["reduceOnly"]) == ("FILLED", "CLOSE", "true")
    assert await running.redis.hget(running.keys.ledger("XRPUSDT"), "position_amt") == b"0"
