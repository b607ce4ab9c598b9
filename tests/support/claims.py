"""Builders of claims and settlements for tests of the scripts on a real server."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from quantum_trader.domain.order import client_order_id
from quantum_trader.domain.trading import Leg, Side
from quantum_trader.stores.claims import ClaimStore, OpenLimits, PlanRecord, Refusal, StoredOrder
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.settlement import Settlement
from support.cases import NOW_MS, exposure, leg

LEASE = "engine-1:7"
LEASE_KEY = "quantum:engine:lease:account"
LOCK_TTL_MS = 60_000


def record(plan_id: str = "plan-1", symbol: str = "SOLUSDT", **changes: Any) -> PlanRecord:
    """Return what is stored of a claimed open of 1 unit."""
    side = changes.pop("side", "BUY")
    order = StoredOrder(leg(symbol), Side(side), Decimal(1), client_order_id(plan_id), NOW_MS)
    values: dict[str, Any] = {
        "plan_id": plan_id,
        "stream_id": f"{NOW_MS}-0",
        "content_hash": f"hash-{plan_id}",
        "fields": {"plan_id": plan_id},
        "is_exit": False,
        "effect": "OPEN",
        "asked": Decimal(1),
        "order": order,
        "token": 7,
        "config_hash": "config-1",
        "decided_at_ms": NOW_MS,
    }
    return PlanRecord(**(values | changes))


def limits(plan_id: str = "plan-1", symbol: str = "SOLUSDT", **changes: Any) -> OpenLimits:
    """Return the limits of an open of 100 USDT at margin 10, wide unless changed."""
    taken = exposure(plan_id, symbol, notional=changes.pop("notional", 100), margin=changes.pop("margin", 10))
    values: dict[str, Any] = {
        "exposure": taken,
        "is_new_leg": True,
        "positions_epoch": 0,
        "account_epoch": 0,
        "seen": {},
    }
    return OpenLimits(**(values | changes))


class Claims:
    """A claim store with the lease in place, and short words for what tests do with it."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self.store = ClaimStore(database, keys, LEASE_KEY)
        self.client = database.client
        self.keys = keys

    async def open(
        self, plan_id: str = "plan-1", symbol: str = "SOLUSDT", *, now_ms: int = NOW_MS, **changes: Any
    ) -> str:
        """Claim an open; return "" when granted, else ``gate/reason``."""
        lease, state = changes.pop("lease", LEASE), changes.pop("state", "")
        refusal = await self.store.claim(
            lease,
            record(plan_id, symbol),
            limits(plan_id, symbol, **changes),
            now_ms=now_ms,
            lock_ttl_ms=LOCK_TTL_MS,
            expected_state=state,
        )
        return words(refusal)

    async def exit(
        self, plan_id: str = "exit-1", symbol: str = "SOLUSDT", *, now_ms: int = NOW_MS, lease: str = LEASE
    ) -> str:
        """Claim an exit; return "" when granted, else ``gate/reason``."""
        closing = record(plan_id, symbol, is_exit=True, effect="CLOSE", side="SELL")
        refusal = await self.store.claim(lease, closing, None, now_ms=now_ms, lock_ttl_ms=LOCK_TTL_MS)
        return words(refusal)

    async def snapshot(self) -> dict[bytes, bytes]:
        """Return every key with its content, as the server dumps it."""
        names: Any = await self.client.keys("*")
        return {name: await self.client.dump(name) for name in sorted(names)}


def words(refusal: Refusal | None) -> str:
    """Return "" for none, else ``gate/reason``."""
    return "" if refusal is None else f"{refusal.gate}/{refusal.reason}"


def settlement(plan_id: str = "plan-1", symbol: str = "SOLUSDT", **changes: Any) -> Settlement:
    """Return the end of a claimed plan that was not filled."""
    values: dict[str, Any] = {
        "plan_id": plan_id,
        "stream_id": f"{NOW_MS}-0",
        "content_hash": f"hash-{plan_id}",
        "expected_state": "claimed",
        "leg": Leg(symbol),
        "result": {"plan_id": plan_id, "decision": "FILLED", "reason": "filled"},
    }
    return Settlement(**(values | changes))
