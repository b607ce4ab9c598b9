"""The one rotation under way, on the server (SPEC 2, 6)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from redis.exceptions import OutOfMemoryError

from quantum_trader.domain.plan import Plan
from quantum_trader.domain.result import plain
from quantum_trader.domain.trading import Leg, Position, PositionSide
from quantum_trader.stores.claims import REDIS_FULL, Refusal
from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys, leg_of

log = structlog.get_logger()

LOCK_OUTLIVES_TIMEOUT_MS = 3_600_000  # the timeout has to be seen, also after a long stop (INC-49)


@dataclass(frozen=True, slots=True)
class Rotation:
    """A parked plan, the leg that goes for it, and when it began (ms since the epoch)."""

    new_plan_id: str
    new_symbol: str
    close_leg: Leg
    close_plan_id: str
    created_at_ms: int

    def as_record(self) -> dict[str, Any]:
        """Return the lock's value."""
        return {
            "new_symbol": self.new_symbol,
            "new_plan_id": self.new_plan_id,
            "close_symbol": self.close_leg.symbol,
            "close_leg": self.close_leg.key,
            "close_plan_id": self.close_plan_id,
            "created_at": self.created_at_ms,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Rotation:
        """Read a lock's value; raises ``KeyError`` if it is none."""
        return cls(
            record["new_plan_id"],
            record["new_symbol"],
            leg_of(record["close_leg"]),
            record["close_plan_id"],
            int(record["created_at"]),
        )


def close_plan_id(plan_id: str, close_symbol: str) -> str:
    """Return the id of the close plan that a rotation for ``plan_id`` asks for (SPEC 6.6, INC-17)."""
    digest = hashlib.sha256(plan_id.encode()).hexdigest()[:8]
    return f"rot_{plan_id[:8]}_{close_symbol}_{digest}"


class RotationStore:
    """Starts, reads and ends the rotation; raises ``RedisError`` when the server does not answer."""

    def __init__(self, database: Database, keys: Keys, lease_key: str) -> None:
        self._database = database
        self._keys = keys
        self._lease_key = lease_key

    async def begin(
        self, lease_value: str, plan: Plan, rotation: Rotation, held: Position, timeout_ms: int
    ) -> Refusal | None:
        """Park ``plan``, lock the rotation and put the close of ``held`` on the stream, in one step."""
        keys = self._keys
        names = [
            self._lease_key,
            keys.kill,
            keys.rotation_lock,
            keys.rotation_lock_of(plan.plan_id),
            keys.processed(plan.plan_id),
            keys.plan(plan.plan_id),
            keys.plans,
            keys.governor_events,
            keys.disarmed,
            keys.safe_mode,
            keys.cooldown_global,
            keys.cooldown_symbol(plan.symbol),
        ]
        parked = {
            "parked": True,
            "stream_id": plan.stream_id,
            "content_hash": plan.content_hash,
            "fields": plan.carried or {},
        }
        begun = {"event": "ROTATION_LOCK_CREATED", "timestamp": str(rotation.created_at_ms)}
        args: list[str | bytes | int] = [
            lease_value,
            encode(rotation.as_record()),
            timeout_ms + LOCK_OUTLIVES_TIMEOUT_MS,
            encode(parked),
            encode(_flat(_close_plan(rotation, held))),
            encode(_flat(begun | _texts(rotation))),
        ]
        try:
            reply = await self._database.run("rotate", names, args)
        except OutOfMemoryError as full:
            log.critical("redis_full", plan_id=plan.plan_id, error=str(full))
            return Refusal(*REDIS_FULL)
        return None if reply[0] == b"ok" else Refusal(reply[0].decode(), reply[1].decode())

    async def under_way(self) -> Rotation | None:
        """Return the rotation that a former life left; None when there is none."""
        if await self._database.client.type(self._keys.rotation_lock) != b"string":
            return None
        raw: Any = await self._database.client.get(self._keys.rotation_lock)
        if raw is None:  # it ran out between the two reads
            return None
        try:
            return Rotation.from_record(decode(raw))
        except (ValueError, KeyError, TypeError) as broken:
            log.critical("rotation_lock_unreadable", error=f"{type(broken).__name__}: {broken}")
            await self._database.client.delete(self._keys.rotation_lock)
            return None

    async def parked_fields(self, plan_id: str) -> tuple[str, Mapping[str, str]] | None:
        """Return (stream id, fields) of a parked plan; None when it is parked no longer."""
        state: Any
        record: Any
        state, record = await self._database.client.mget(
            [self._keys.processed(plan_id), self._keys.plan(plan_id)]
        )
        if state != b"parked" or record is None:
            return None
        try:
            stored = decode(record)
            return str(stored["stream_id"]), dict(stored["fields"])
        except (ValueError, KeyError, TypeError) as broken:
            log.critical(
                "parked_plan_unreadable", plan_id=plan_id, error=f"{type(broken).__name__}: {broken}"
            )
            return None

    async def end(self, rotation: Rotation, event: Mapping[str, str]) -> None:
        """Unlock and publish how it ended, in one step; the lock of another rotation is left alone."""
        keys, fields = self._keys, _flat({**_texts(rotation), **event})
        names = [keys.rotation_lock, keys.rotation_lock_of(rotation.new_plan_id), keys.governor_events]
        await self._database.run("end_rotation", names, [rotation.new_plan_id, *fields])


def _close_plan(rotation: Rotation, held: Position) -> dict[str, str]:
    plan = {
        "plan_id": rotation.close_plan_id,
        "decision": "EXECUTE",
        "symbol": rotation.close_leg.symbol,
        "side": "CLOSE",
        "qty": plain(abs(held.amount)),
        "reduceOnly": "true",
        "action": "FULL_CLOSE_PROPOSED",
        "rotation_trigger": "true",
        "new_symbol": rotation.new_symbol,
        "new_plan_id": rotation.new_plan_id,
        "source": "rotation",
    }
    if rotation.close_leg.side is not PositionSide.BOTH:
        plan["positionSide"] = rotation.close_leg.side.value
    return plan


def _texts(rotation: Rotation) -> dict[str, str]:
    return {name: str(value) for name, value in rotation.as_record().items()}


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]
