"""Ledger, snapshots and last executed opens on the server (SPEC 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from quantum_trader.domain.result import plain
from quantum_trader.domain.trading import Leg, Positions
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys, leg_of
from quantum_trader.stores.plan_stream import EVENTS_KEPT

SNAPSHOT_TTL_S = 300
_WRONG_TYPE = "WRONGTYPE"


class PositionStore:
    """Reads what a former life left, and writes what reconciling and snapshots say."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._redis = database.client
        self._keys = keys

    async def ledger(self) -> dict[Leg, Mapping[str, str]]:
        """Return the fields of every ledger entry, by leg."""
        found: dict[Leg, Mapping[str, str]] = {}
        prefix = self._keys.ledger("")
        async for name in self._redis.scan_iter(match=prefix + "*", count=500):
            leg = _leg_in(name, prefix)
            if leg is not None and await self._redis.type(name) == b"hash":
                raw: Any = await self._redis.hgetall(name)
                found[leg] = _fields(raw)
        return found

    async def stored(self, legs: Iterable[Leg]) -> dict[Leg, Mapping[str, str]]:
        """Return the fields of these legs' entries, in one round trip; none where there is no hash."""
        asked = list(legs)
        pipeline = self._redis.pipeline(transaction=False)
        for leg in asked:
            pipeline.hgetall(self._keys.ledger(leg.key))
        answers = await pipeline.execute(raise_on_error=False)
        return {leg: _fields(answer) for leg, answer in zip(asked, answers, strict=True)}

    async def last_opens_ms(self) -> dict[Leg, int]:
        """Return when each leg's last open was executed, ms."""
        found: dict[Leg, int] = {}
        prefix = self._keys.last_exec_ms("")
        async for name in self._redis.scan_iter(match=prefix + "*", count=500):
            leg = _leg_in(name, prefix)
            if leg is not None and await self._redis.type(name) == b"string":
                value: Any = await self._redis.get(name)
                if value is not None and value.isdigit():
                    found[leg] = int(value)
        return found

    async def adopt(self, leg: Leg, fields: Mapping[str, str], event: Mapping[str, str]) -> None:
        """Replace a leg's ledger entry by the exchange's truth and publish the event, in one step."""
        mapping: Any = dict(fields)
        published: Any = dict(event)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.delete(self._keys.ledger(leg.key))  # whatever stood there, of whatever type
        pipeline.hset(self._keys.ledger(leg.key), mapping=mapping)
        pipeline.xadd(self._keys.governor_events, published, maxlen=EVENTS_KEPT, approximate=True)
        await pipeline.execute()

    async def keep(self, leg: Leg, fields: Mapping[str, str]) -> None:
        """Write a leg's ledger entry as it stands in memory."""
        mapping: Any = dict(fields)
        await self._redis.hset(self._keys.ledger(leg.key), mapping=mapping)

    async def write_snapshots(
        self, positions: Positions, leverages: Mapping[str, int], read_at_ms: int, *, flat: Iterable[Leg]
    ) -> None:
        """Write the exchange's view of every live position, and forget that of legs that are ``flat``."""
        pipeline = self._redis.pipeline(transaction=True)
        known = [self._keys.snapshot(leg.key) for leg in (*flat, *positions)]
        if known:
            pipeline.delete(*known)  # whatever stood there, of whatever type
        for leg, held in positions.items():
            name = self._keys.snapshot(leg.key)
            pipeline.hset(
                name,
                mapping={
                    "position_amt": plain(held.amount),
                    "entry_price": plain(held.entry_price),
                    "mark_price": plain(held.mark_price),
                    "unrealized_pnl": plain(held.unrealized_pnl),
                    "leverage": str(leverages.get(leg.symbol, "")),
                    "margin_type": held.margin_type,
                    "read_at_ms": str(read_at_ms),
                },
            )
            pipeline.expire(name, SNAPSHOT_TTL_S)
        await pipeline.execute()


def _fields(answer: Any) -> dict[str, str]:
    """Return a hash as text; empty for a key of another type. Raises what else Redis refused with."""
    if isinstance(answer, Exception):
        if _WRONG_TYPE in str(answer):
            return {}
        raise answer
    return {key.decode(errors="replace"): text.decode(errors="replace") for key, text in answer.items()}


def _leg_in(name: bytes, prefix: str) -> Leg | None:
    """Return the leg that a key names; None for a key that nobody of ours wrote."""
    try:
        return leg_of(name.decode().removeprefix(prefix))
    except (UnicodeDecodeError, ValueError):
        return None
