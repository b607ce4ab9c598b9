"""Claims on the server: taken by one atomic script, amended and read back for recovery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import structlog
from msgspec import Struct
from orjson import Fragment
from redis.exceptions import OutOfMemoryError, ResponseError

from quantum_trader.domain.exposure import ClaimedExposure
from quantum_trader.domain.once import once
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.stores.codec import decode, encode, from_micro, micro_down, micro_up
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys, leg_of

REDIS_FULL = ("claim", "redis_full")
SEEN_NEEDED = "seen_needed"
"""Refuses a claim that was asked for without ``seen`` where every claim has to be read. Nothing was taken."""
WENT_ON = b"went_on"

log = structlog.get_logger()


class WentOnElsewhere(RedisError):
    """What the caller knows of a plan is outdated: it has to be looked up, as after a lost reply."""


class StoredOrder(Struct, frozen=True, gc=False):
    """The exact order that a claimed plan may have sent; quantity in base asset.

    ``position_amt`` is the leg's signed amount as last read before it, which it had since ``position_ms`` by
    the exchange's clock; None where that is not known.
    """

    leg: Leg
    side: Side
    quantity: Decimal
    client_order_id: str
    timestamp_ms: int
    number: int = 0
    position_amt: Decimal | None = None
    position_ms: int | None = None


class PlanRecord(Struct, frozen=True, dict=True):
    """``quantum:exec:plan:<plan_id>``: what recovery needs to finish a plan that it never saw.

    ``fields`` are the plan's own; ``asked`` is the whole quantity (base asset) that was allowed, of
    which ``order`` may be a part; ``verdicts`` are the gates' records, as JSON;
    ``settled_orders`` names the client order ids of an exit's earlier orders.
    """

    plan_id: str
    stream_id: str
    content_hash: str
    fields: Mapping[str, str]
    is_exit: bool
    effect: str
    asked: Decimal
    order: StoredOrder
    token: int
    config_hash: str
    decided_at_ms: int
    verdicts: bytes = b"[]"
    settled_orders: list[Any] = []

    def as_json(self) -> bytes:
        """Return the record as it is stored."""
        return self._json

    @once
    def _json(self) -> bytes:
        order = self.order
        return encode(
            {
                "plan_id": self.plan_id,
                "stream_id": self.stream_id,
                "content_hash": self.content_hash,
                "fields": self.fields,
                "is_exit": self.is_exit,
                "effect": self.effect,
                "asked": self.asked,
                "client_order_id": order.client_order_id,
                "order": {
                    "symbol": order.leg.symbol,
                    "position_side": order.leg.side,
                    "side": order.side,
                    "quantity": order.quantity,
                    "number": order.number,
                    "position_amt": order.position_amt,
                    "position_ms": order.position_ms,
                },
                "timestamp_ms": order.timestamp_ms,
                "token": self.token,
                "config_hash": self.config_hash,
                "decided_at_ms": self.decided_at_ms,
                "verdicts": Fragment(self.verdicts),
                "settled_orders": self.settled_orders,
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> PlanRecord:
        """Read a stored record back; raises ``ValueError`` or ``KeyError`` if it is none."""
        raw = decode(text)
        order = raw["order"]
        return cls(
            plan_id=raw["plan_id"],
            stream_id=raw["stream_id"],
            content_hash=raw["content_hash"],
            fields=raw["fields"],
            is_exit=raw["is_exit"],
            effect=raw["effect"],
            asked=Decimal(raw["asked"]),
            order=StoredOrder(
                leg=Leg(order["symbol"], PositionSide(order["position_side"])),
                side=Side(order["side"]),
                quantity=Decimal(order["quantity"]),
                client_order_id=raw["client_order_id"],
                timestamp_ms=raw["timestamp_ms"],
                number=order["number"],
                position_amt=_amount(order.get("position_amt")),
                position_ms=order.get("position_ms"),
            ),
            token=raw["token"],
            config_hash=raw["config_hash"],
            decided_at_ms=raw["decided_at_ms"],
            verdicts=encode(raw["verdicts"]),
            settled_orders=raw["settled_orders"],
        )


class OpenLimits(Struct, frozen=True, gc=False):
    """What an open may not exceed at the moment of its claim; None where the gate does not enforce.

    ``seen`` gives the notional (USDT) of live legs on symbols with claims, so that the script
    counts no leg twice; None leaves it out (``SEEN_NEEDED``). The epochs date the two readings.
    """

    exposure: ClaimedExposure
    is_new_leg: bool
    positions_epoch: int
    account_epoch: int
    seen: Mapping[Leg, Decimal] | None
    symbol_window_ms: int | None = None
    global_per_min: int | None = None
    per_symbol_5min_max: int | None = None
    per_symbol_hour_max: int | None = None
    required_margin_usdt: Decimal | None = None
    available_usdt: Decimal = Decimal(0)
    usage_room_usdt: Decimal | None = None
    positions_room: int | None = None
    notional_room_usdt: Decimal | None = None
    slots_room: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which gate's part of the claim failed, why, and what it was compared with. Nothing was taken."""

    gate: str
    reason: str
    compared: Mapping[str, Any] = field(default_factory=dict, compare=False)


class ClaimStore:
    """Takes claims under the lease; raises ``RedisError`` when the server does not answer."""

    def __init__(self, database: Database, keys: Keys, lease_key: str) -> None:
        self._database = database
        self._keys = keys
        self._lease_key = lease_key

    async def claim(
        self,
        lease_value: str,
        record: PlanRecord,
        limits: OpenLimits | None,
        *,
        now_ms: int,
        lock_ttl_ms: int,
        expected_state: str = "",
    ) -> Refusal | None:
        """Take everything ``record`` needs, or nothing; None means the claim is granted.

        ``expected_state`` is "" for a new plan and ``parked`` for one whose rotation is done.
        """
        symbol = record.order.leg.symbol
        names = self._common_keys(record.plan_id, symbol)
        head: list[str | bytes | int] = [
            lease_value,
            "exit" if limits is None else "open",
            record.plan_id,
            now_ms,
            record.as_json(),
            claim_json(record, limits.exposure if limits is not None else None),
            lock_ttl_ms,
            expected_state,
            symbol,
        ]
        args = head + _limit_args(limits) if limits is not None else head
        try:
            reply = await self._database.run("claim", names, args)
        except OutOfMemoryError as full:
            log.critical("redis_full", plan_id=record.plan_id, error=str(full))
            return Refusal(*REDIS_FULL)  # nothing was taken: see the script
        return None if reply[0] == b"ok" else Refusal(reply[0].decode(), reply[1].decode())

    async def amend(
        self, lease_value: str, record: PlanRecord, *, known_number: int, lock_ttl_ms: int
    ) -> Refusal | None:
        """Rewrite what is stored of a claimed plan before it sends again (SPEC 7.3).

        ``known_number`` is that of the plan's newest order as far as the caller knows.

        Raises:
            WentOnElsewhere: a later one is stored.
            RedisError: no reply; what is stored has to be looked up.
        """
        keys, symbol = self._keys, record.order.leg.symbol
        names = [
            self._lease_key,
            keys.processed(record.plan_id),
            keys.plan(record.plan_id),
            keys.lock(symbol),
            keys.claims,
            keys.kill,
        ]
        kind = "exit" if record.is_exit else "open"
        args: list[str | bytes | int] = [lease_value, record.plan_id, record.as_json(), lock_ttl_ms, kind]
        reply = await self._database.run("amend", names, [*args, known_number])
        if reply[1:] == [WENT_ON]:
            raise WentOnElsewhere(f"another engine has sent a later order of plan {record.plan_id}")
        return None if reply[0] == b"ok" else Refusal(reply[0].decode(), reply[1].decode())

    async def restore(self, lease_value: str, record: PlanRecord, claim: bytes) -> str:
        """Put back a plan that may have sent an order, if Redis has lost it (SPEC 7.8).

        Returns ``claimed``, ``terminal`` (it has its result) or ``not_leader``.
        """
        keys, order = self._keys, record.order
        names = [
            self._lease_key,
            keys.processed(record.plan_id),
            keys.plan(record.plan_id),
            keys.claims,
            keys.results,
            keys.claim_sums,
        ]
        args: list[str | bytes | int] = [lease_value, record.plan_id, record.as_json(), claim]
        args += [record.stream_id, order.number, order.timestamp_ms]
        return (await self._database.run("restore", names, args))[0].decode()

    async def unlock(self, symbol: str, plan_id: str) -> None:
        """Let go of the symbol's in-flight lock, if ``plan_id`` owns it."""
        await self._database.run("unlock", [self._keys.lock(symbol)], [plan_id])

    async def forget_sums(self) -> None:
        """Have the next open read every claim: whoever led before may not have kept the sums (claim.lua)."""
        await self._database.client.delete(self._keys.claim_sums)

    async def unsettled(self) -> list[PlanRecord]:
        """Return the records of all plans that are claimed and not settled, oldest decision first."""
        held: Any = await self._read_or_none(
            self._database.client.hgetall(self._keys.claims), self._keys.claims
        )
        held = held or {}
        claims = {name.decode(errors="replace"): _readable_claim(text) for name, text in held.items()}
        under_way = [name for name, claim in claims.items() if claim and "settled_epoch" not in claim]
        if not under_way:
            return []
        stored: Any = await self._database.client.mget([self._keys.plan(name) for name in under_way])
        read = [
            _readable_record(name, text)
            for name, text in zip(under_way, stored, strict=True)
            if not _is_settled(text)
        ]
        records = [record for record in read if record is not None]
        return sorted(records, key=lambda record: record.decided_at_ms)

    async def record(self, plan_id: str) -> PlanRecord:
        """Return the record of a claimed plan; raises ``KeyError`` when it is not there."""
        stored: Any = await self._database.client.get(self._keys.plan(plan_id))
        if stored is None:
            raise KeyError(plan_id)
        return PlanRecord.from_json(stored)

    async def exposures(self) -> list[ClaimedExposure]:
        """Return the exposure of every open in the claims, settled ones included."""
        held: Any = await self._read_or_none(
            self._database.client.hgetall(self._keys.claims), self._keys.claims
        )
        held = held or {}
        return [
            _exposure_from(name.decode(errors="replace"), claim)
            for name, claim in ((name, _readable_claim(text)) for name, text in held.items())
            if claim is not None and claim["kind"] == "open"
        ]

    async def rates(self) -> list[tuple[str, str, int]]:
        """Return (symbol, plan id, ms) of every open claimed within the last hour."""
        found: list[tuple[str, str, int]] = []
        prefix = self._keys.rate_symbol("")
        async for name in self._database.client.scan_iter(match=prefix + "*", count=500):
            members: Any = await self._read_or_none(
                self._database.client.zrange(name, 0, -1, withscores=True), name
            )
            symbol = name.decode(errors="replace").removeprefix(prefix)
            found += [
                (symbol, member.decode(errors="replace"), int(score)) for member, score in members or ()
            ]
        return sorted(found, key=lambda rate: rate[2])

    async def epoch(self) -> int:
        """Return the number of the last settled open."""
        value: Any = await self._read_or_none(self._database.client.get(self._keys.epoch), self._keys.epoch)
        return int(value) if value is not None and value.isdigit() else 0

    @staticmethod
    async def _read_or_none(reading: Any, key: Any) -> Any:
        """Return what ``reading`` gives; None where a key of another type stands in its place."""
        try:
            return await reading
        except ResponseError as wrong_type:
            log.critical("key_unreadable", key=str(key), error=str(wrong_type))
            return None

    async def history(self, plan_id: str) -> tuple[str, str]:
        """Return (state, content hash) of a plan id; empty strings where nothing is stored."""
        names = [self._keys.processed(plan_id), self._keys.plan(plan_id)]
        reply: Any = await self._database.client.mget(names)
        state, record = reply
        return (state or b"").decode(errors="replace"), _content_hash(record)

    def _common_keys(self, plan_id: str, symbol: str) -> list[str]:
        keys = self._keys
        return [
            keys.processed(plan_id),
            keys.lock(symbol),
            keys.claim_sums,
            self._lease_key,
            keys.kill,
            keys.disarmed,
            keys.safe_mode,
            keys.cooldown_global,
            keys.cooldown_symbol(symbol),
            keys.rate_symbol(symbol),
            keys.rate_global,
            keys.claims,
            keys.plan(plan_id),
        ]


def _content_hash(record: bytes | None) -> str:
    """Return the hash of a stored record; "" for none, and for what somebody else wrote in its place."""
    try:
        return str(decode(record)["content_hash"]) if record is not None else ""
    except (ValueError, TypeError, KeyError):
        return ""


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _readable_claim(text: bytes) -> dict[str, Any] | None:
    """Return a stored claim; None, and a line in the log, for one that nobody of ours wrote."""
    try:
        claim: Any = decode(text)
        leg_of(claim["leg"])
        if claim["kind"] == "open":
            [from_micro(claim[name]) for name in ("notional", "base_notional", "margin")]
    except (ValueError, KeyError, TypeError, ArithmeticError) as broken:
        log.critical("claim_unreadable", error=f"{type(broken).__name__}: {broken}")
        return None
    return dict(claim)


def _is_settled(text: bytes | None) -> bool:
    """Whether the record is what a settlement leaves: it came between two reads."""
    return text is not None and b'"order"' not in text and b'"content_hash"' in text


def _readable_record(plan_id: str, text: bytes | None) -> PlanRecord | None:
    """Return a stored plan record; None, and a line in the log, for one that cannot be read back."""
    try:
        return PlanRecord.from_json(text or b"")
    except (ValueError, KeyError, TypeError, ArithmeticError) as broken:
        log.critical("plan_record_unreadable", plan_id=plan_id, error=f"{type(broken).__name__}: {broken}")
        return None


def claim_json(record: PlanRecord, exposure: ClaimedExposure | None) -> bytes:
    """Return a plan's entry in the hash of claims; money in whole micro-USDT.

    It is kept with the record, as the claim, the mirror and the settlement each ask for it.
    """
    kept: tuple[ClaimedExposure | None, bytes] | None = record.__dict__.get("_claim")
    if kept is None or kept[0] is not exposure:
        kept = record.__dict__["_claim"] = exposure, _claim_json(record.order.leg, exposure)
    return kept[1]


def _claim_json(leg: Leg, exposure: ClaimedExposure | None) -> bytes:
    claim: dict[str, Any] = {"kind": "exit", "symbol": leg.symbol, "leg": leg.key}
    if exposure is not None:
        claim |= {
            "kind": "open",
            "notional": micro_up(exposure.notional_usdt),
            "base_notional": micro_up(exposure.base_notional_usdt),
            "margin": micro_up(exposure.margin_usdt),
        }
    return encode(claim)


def _exposure_from(plan_id: str, claim: Mapping[str, Any]) -> ClaimedExposure:
    epoch = claim.get("settled_epoch")
    return ClaimedExposure(
        plan_id=plan_id,
        leg=leg_of(claim["leg"]),
        notional_usdt=from_micro(claim["notional"]),
        base_notional_usdt=from_micro(claim["base_notional"]),
        margin_usdt=from_micro(claim["margin"]),
        settled_epoch=int(epoch) if epoch is not None else None,
    )


def _limit_args(limits: OpenLimits) -> list[str | bytes | int]:
    """Return an open's limits for the script: each room is what the plan itself leaves to other claims."""
    exposure = limits.exposure
    margin, notional = micro_up(exposure.margin_usdt), micro_up(exposure.notional_usdt)
    required, usage_room = limits.required_margin_usdt, limits.usage_room_usdt
    notional_room, is_new_leg = limits.notional_room_usdt, limits.is_new_leg
    return [
        exposure.leg.key,
        _or_none(limits.symbol_window_ms),
        _or_none(limits.global_per_min),
        _or_none(limits.per_symbol_5min_max),
        _or_none(limits.per_symbol_hour_max),
        limits.positions_epoch,
        limits.account_epoch,
        ""
        if limits.seen is None
        else encode({leg.key: micro_down(held) for leg, held in limits.seen.items()}),
        "" if required is None else micro_down(limits.available_usdt) - micro_up(required),
        "" if usage_room is None else micro_down(usage_room) - margin,
        _or_none(limits.positions_room) if is_new_leg else "",
        "" if notional_room is None else micro_down(notional_room) - notional,
        _or_none(limits.slots_room) if is_new_leg else "",
        micro_up(exposure.base_notional_usdt) + notional,
        margin,
    ]


def _or_none(limit: int | None) -> str | int:
    return "" if limit is None else limit
