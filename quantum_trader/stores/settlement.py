"""Settlement on the server: result, ledger, latches, state and acknowledgement in one atomic step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from quantum_trader.domain.trading import Leg
from quantum_trader.stores.codec import encode
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import GROUP, Keys

NEVER_CLAIMED = ""
CLAIMED = "claimed"
PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Latch:
    """A stop with a time to live in seconds; ``event`` is published when it was not set before."""

    key: str
    ttl_s: int
    event: Mapping[str, str]

    @property
    def symbol(self) -> str:
        """The symbol whose opens it stops; "" for every one."""
        return self.event.get("symbol", "")


@dataclass(frozen=True, slots=True)
class MarginFailure:
    """A margin failure to count; enough of them in the window set safe mode (SPEC 5)."""

    window_ms: int
    failures_max: int
    safe_mode_s: int
    event: Mapping[str, str]


class Settlement(Struct, frozen=True, gc=False):
    """Everything that ends with a plan.

    ``epoch_known`` is the newest number of a settled open that the engine knows: where Redis has
    lost its counter, it goes on from there.
    """

    plan_id: str
    stream_id: str
    content_hash: str
    expected_state: str
    leg: Leg
    result: Mapping[str, str]
    claim: bytes = b"{}"
    filled_open: bool = False
    return_rate_token: bool = False
    ledger: Mapping[str, str] = {}
    opened_ms: int | None = None
    permit_p32: Mapping[str, Any] | None = None
    permit_p33: Mapping[str, Any] | None = None
    latches: tuple[Latch, ...] = ()
    margin_failure: MarginFailure | None = None
    events: tuple[Mapping[str, str], ...] = ()
    seen_claims: tuple[str, ...] = ()
    epoch_known: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """The result was written; ``epoch`` counts settled opens, ``floor`` is the oldest unsettled stream id.

    ``set_safe_mode``: its margin failure was the one too many.
    """

    epoch: int
    floor: str = field(default="", compare=False)
    set_safe_mode: bool = False


@dataclass(frozen=True, slots=True)
class NotSettled:
    """Nothing was written: the plan was in another ``state``, or the lease is another engine's."""

    why: str
    state: str


class SettlementStore:
    """Writes settlements under the lease; raises ``RedisError`` when the server does not answer."""

    def __init__(
        self, database: Database, keys: Keys, lease_key: str, *, results_kept: int, terminal_ttl_s: int
    ) -> None:
        self._database = database
        self._keys = keys
        self._lease_key = lease_key
        self.keep(results_kept=results_kept, terminal_ttl_s=terminal_ttl_s)

    def keep(self, *, results_kept: int, terminal_ttl_s: int) -> None:
        """Keep about so many results, and ended plan ids for so long, from the next settlement on."""
        self._results_kept = results_kept
        self._terminal_ttl_ms = terminal_ttl_s * 1000

    async def settle(self, lease_value: str, settlement: Settlement, now_ms: int) -> Settled | NotSettled:
        """Write ``settlement`` once; a plan that is not in the expected state is left alone."""
        ledger, seen = _flat(settlement.ledger), settlement.seen_claims
        args: list[str | bytes | int] = [
            lease_value,
            settlement.plan_id,
            settlement.expected_state,
            now_ms,
            settlement.stream_id,
            GROUP,
            self._results_kept,
            self._terminal_ttl_ms,
            encode({"content_hash": settlement.content_hash, "stream_id": settlement.stream_id}),
            *(encode(permit) if permit else "" for permit in (settlement.permit_p32, settlement.permit_p33)),
            settlement.claim if settlement.filled_open else "",
            settlement.epoch_known,
            "" if settlement.opened_ms is None else settlement.opened_ms,
            int(settlement.return_rate_token),
            settlement.leg.symbol,
            _rare(settlement),
            len(ledger),
            len(seen),
            *ledger,
            *seen,
            *_flat(settlement.result),
        ]
        reply = await self._database.run("settle", self._names(settlement), args)
        if reply[0] == b"ok":
            return Settled(int(reply[1]), reply[2].decode(), set_safe_mode=int(reply[3]) == 1)
        return NotSettled(reply[0].decode(), reply[1].decode())

    async def epoch(self) -> int:
        """Return the number of the last settled open."""
        value: Any = await self._database.client.get(self._keys.epoch)
        return int(value or 0)

    def _names(self, settlement: Settlement) -> list[str]:
        keys, plan_id, symbol = self._keys, settlement.plan_id, settlement.leg.symbol
        return [
            self._lease_key,
            keys.processed(plan_id),
            keys.epoch,
            keys.lock(symbol),
            keys.claim_sums,
            keys.claims,
            keys.results,
            keys.plans,
            keys.governor_events,
            keys.plan(plan_id),
            keys.rate_symbol(symbol),
            keys.rate_global,
            keys.margin_fails,
            keys.safe_mode,
            keys.ledger(settlement.leg.key),
            keys.last_exec_ms(settlement.leg.key),
            keys.permit_p32(plan_id),
            keys.permit_p33(plan_id),
            keys.floor,
        ]


def _rare(settlement: Settlement) -> bytes:
    """Return what few plans end with as JSON, which a script is slow to read; b"" where there is nothing."""
    failure = settlement.margin_failure
    if not (settlement.latches or settlement.events or failure):
        return b""
    rare: dict[str, Any] = {
        "latches": [
            {"key": latch.key, "ttl_s": latch.ttl_s, "event": _flat(latch.event)}
            for latch in settlement.latches
        ],
        "events": [_flat(event) for event in settlement.events],
    }
    if failure is not None:
        rare["margin_failure"] = {
            "window_ms": failure.window_ms,
            "failures_max": failure.failures_max,
            "safe_mode_s": failure.safe_mode_s,
            "event": _flat(failure.event),
        }
    return encode(rare)


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]
