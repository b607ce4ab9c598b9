"""A decision made under an older configuration is made again, never claimed (SPEC 7.2)."""

from __future__ import annotations

from typing import Any

from support.house import House, trace_of

from quantum_trader.pipeline.judging import Judge


async def test_a_plan_decided_under_an_older_configuration_is_decided_again(
    running: House, monkeypatch: Any
) -> None:
    joined = running.app._joined
    assert joined is not None
    before, wire = joined.rules.config, running.watch()
    caps = before.gates.fund_caps.model_copy(update={"max_open_positions": 0})
    stricter = before.model_copy(update={"gates": before.gates.model_copy(update={"fund_caps": caps})})
    decide, decided = Judge._decide, []

    def deciding(judge: Judge, *args: Any) -> Any:
        decision = decide(judge, *args)
        decided.append(decision.config_hash)
        if len(decided) == 1:
            joined.rules.replace(stricter)
        return decision

    monkeypatch.setattr(Judge, "_decide", deciding)
    result = await running.open("XRPUSDT", qty=20)
    assert (result["decision"], result["gate"]) == ("BLOCKED", "fund_caps")
    assert decided == [before.hash, stricter.hash]
    assert trace_of(result)["config_hash"] == stricter.hash
    assert wire.orders == []
