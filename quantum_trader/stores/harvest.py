"""Harvest's state, proposals and the inputs of an external model, on the server (SPEC 9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from quantum_trader.domain.trading import Leg
from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.results import as_text

PROPOSALS_KEPT = 10_000
STATE_TTL_S = 30 * 86_400  # ten times as long as BSC lets any position live


@dataclass(frozen=True, slots=True)
class HarvestState:
    """What was proposed for the position of a leg that was opened at ``opened_at_ms``.

    ``rungs`` are those of the profit ladder; ``episode`` counts how often K rose above its threshold,
    and ``above`` says whether it is there now.
    """

    opened_at_ms: int
    rungs: tuple[int, ...] = ()
    episode: int = 0
    above: bool = False

    def as_record(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "opened_at": self.opened_at_ms,
            "rungs": self.rungs,
            "episode": self.episode,
            "above": self.above,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> HarvestState:
        """Read what was stored; raises ``KeyError``, ``TypeError`` or ``ValueError`` if it is none."""
        rungs = tuple(int(rung) for rung in record["rungs"])
        return cls(int(record["opened_at"]), rungs, int(record["episode"]), bool(record["above"]))


@dataclass(frozen=True, slots=True)
class Published:
    """One proposal with its calibration and, where it acts, its plan: stream fields as text."""

    proposal: Mapping[str, str]
    calibrated: Mapping[str, str]
    plan: Mapping[str, str] | None = None


class HarvestStore:
    """Raises ``RedisError`` when the server does not answer."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._redis = database.client
        self._keys = keys

    async def state(self, leg: Leg) -> HarvestState | None:
        """Return what is stored for ``leg``; None for nothing, or for what nobody of ours wrote."""
        try:
            raw: Any = await self._redis.get(self._keys.harvest_state(leg.key))
            return HarvestState.from_record(decode(raw)) if raw is not None else None
        except (ResponseError, ValueError, KeyError, TypeError):
            return None

    async def save(self, leg: Leg, state: HarvestState, published: Iterable[Published] = ()) -> None:
        """Store the state, and publish the proposals that it knows of, in one step."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.set(self._keys.harvest_state(leg.key), encode(state.as_record()), ex=STATE_TTL_S)
        for one in published:
            for stream, fields in (
                (self._keys.harvest_proposals, one.proposal),
                (self._keys.harvest_calibrated, one.calibrated),
            ):
                entry: Any = dict(fields)
                pipeline.xadd(stream, entry, maxlen=PROPOSALS_KEPT, approximate=True)
            if one.plan is not None:
                plan: Any = dict(one.plan)
                pipeline.xadd(self._keys.plans, plan)
        await pipeline.execute()

    async def model_inputs(self, symbols: Iterable[str]) -> dict[str, Mapping[str, str]]:
        """Return the hash that an external model wrote for each symbol; symbols without one are left out."""
        asked = tuple(symbols)
        pipeline = self._redis.pipeline(transaction=False)
        for symbol in asked:
            pipeline.hgetall(self._keys.harvest_inputs(symbol))
        replies = await pipeline.execute(raise_on_error=False)
        return {
            symbol: {name.decode(errors="replace"): one.decode(errors="replace") for name, one in raw.items()}
            for symbol, raw in zip(asked, replies, strict=True)
            if isinstance(raw, dict) and raw
        }


async def calibrated_entries(database: Database, keys: Keys) -> list[Mapping[str, str]]:
    """Return every entry of ``harvest.calibrated`` that is still there, oldest first."""
    entries: Any = await database.client.xrange(keys.harvest_calibrated)
    return [as_text(fields) for _, fields in entries]
