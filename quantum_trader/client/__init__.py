"""A small typed client: submit plans and wait for their results, over Redis or HTTP.

    async with connect("http://127.0.0.1:8080", token="…") as trader:
        result = await trader.submit(PlanRequest("XRPUSDT", "BUY", "20"))

``connect_sync`` is the same without asyncio. See docs/producers.md.
"""

from __future__ import annotations

from quantum_trader.client.plans import PlanRequest, PlanResult
from quantum_trader.client.sync import SyncTrader, connect_sync
from quantum_trader.client.trader import NoResult, NotAccepted, Trader, Unreachable, connect

__all__ = [
    "NoResult",
    "NotAccepted",
    "PlanRequest",
    "PlanResult",
    "SyncTrader",
    "Trader",
    "Unreachable",
    "connect",
    "connect_sync",
]
