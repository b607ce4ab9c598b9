"""What operators and other programs say through keys: kill switch, latches, policy, BSC's health.

Read together with every delivery, and parsed so that whatever cannot be read stops opens:
an unreadable policy is a policy with a problem, an unreadable kill value halts opens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any

from msgspec import Struct
from redis.exceptions import ResponseError

from quantum_trader.domain import facts
from quantum_trader.domain.evidence import Fact, Reading
from quantum_trader.domain.facts import BscHealth, Latches, Policy
from quantum_trader.domain.once import once
from quantum_trader.stores.codec import decode
from quantum_trader.stores.cooldown_watch import Asked
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.lane import Batch, Command

UNREADABLE = "unreadable"

Answer = Any  # what the server says to one command: bytes, a number, None, or an error as a value


class OperatorState(Struct, frozen=True, dict=True):
    """One reading of all operator keys; ``read_at_ms`` is wall time.

    Of other symbols than ``symbols_read`` it does not say whether they cool down.
    """

    kill: str
    latches: Latches
    policy: Policy
    bsc: BscHealth
    read_at_ms: int
    dry_run: bool = False
    symbols_read: frozenset[str] = frozenset()

    @once
    def readings(self) -> Mapping[str, Reading[Any]]:
        """What gates may ask of it, by the names of the facts; one for all plans that came with it."""
        told: tuple[tuple[Fact[Any], Any], ...] = (
            (facts.KILL, self.kill),
            (facts.LATCHES, self.latches),
            (facts.POLICY, self.policy),
            (facts.BSC, self.bsc),
        )
        return {fact.name: Reading(value, self.read_at_ms, "redis") for fact, value in told}


@dataclass(frozen=True)
class OperatorKeys:
    """Which keys one reading takes: the fixed ones and the cooldowns of the symbols ``asked``.

    A key of another type than it should have stands there all the same: it answers GET with an error,
    and counts for EXISTS, but MGET does not see it. So the stops are asked for ``one_by_one`` where more of
    them exist than MGET has seen.
    """

    keys: Keys
    asked: Asked
    one_by_one: bool = False

    @cached_property
    def batch(self) -> Batch:
        """The ``commands`` as they go over a lane."""
        return Batch(self.commands)

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """The commands of one reading, in the order that ``parse`` expects."""
        keys = self.keys
        stops = (
            keys.kill,
            keys.safe_mode,
            keys.cooldown_global,
            keys.disarmed,
            keys.bsc_health,
            keys.dry_run,
        )
        at_once: tuple[Command, ...] = (("MGET", *stops), ("EXISTS", *stops))
        together = keys.cooldowns_symbol(self.asked.together)
        return (
            ("HGETALL", keys.policy),
            *(tuple(("GET", name) for name in stops) if self.one_by_one else at_once),
            *(("EXISTS", name) for name in keys.cooldowns_symbol(self.asked.each)),
            *((("EXISTS", *together),) if together else ()),
        )

    def finds_more(self, answers: Sequence[Answer]) -> bool:
        """Whether something was found of which only another reading can tell what it is.

        That is one of the symbols asked for together that cools down, or a stop of another type.
        """
        if self.asked.together and answers[-1] != 0:
            return True
        return not self.one_by_one and answers[2] > len(answers[1]) - answers[1].count(None)

    def parse(self, answers: Sequence[Answer], *, bsc_required: bool, now_ms: int) -> OperatorState:
        """Turn the answers to ``commands`` into a reading; never raises."""
        policy, *others = answers
        stops, cooling = (others[:6], others[6:]) if self.one_by_one else (others[0], others[2:])
        kill, safe_mode, cooldown_global, disarmed, bsc, dry_run = stops
        return OperatorState(
            kill=_stop(kill),
            latches=Latches(
                safe_mode=safe_mode is not None,
                cooldown_global=cooldown_global is not None,
                cooldown_symbols=frozenset(
                    symbol for symbol, count in zip(self.asked.each, cooling, strict=False) if count
                ),
                disarmed=_stop(disarmed),
            ),
            policy=parse_policy(_fields(policy), now_ms),
            bsc=_parse_bsc(bsc, required=bsc_required),
            read_at_ms=now_ms,
            dry_run=dry_run is not None,
            symbols_read=self.asked.symbols,
        )


def is_wrong_type(answer: Answer) -> bool:
    """Whether the server refused because a key of another type stands there."""
    return isinstance(answer, ResponseError) and "WRONGTYPE" in str(answer)


def _fields(answer: Answer) -> Mapping[bytes, bytes]:
    """Return the fields of a hash, which come as a flat list over a lane; of no hash, no usable ones."""
    if isinstance(answer, list):
        return dict(zip(answer[::2], answer[1::2], strict=True))
    return answer if isinstance(answer, Mapping) else {b"": b""}


def parse_policy(raw: Mapping[bytes, bytes], now_ms: int) -> Policy:
    """Read ``quantum:policy:current``; a policy that cannot be used says why."""
    if not raw:
        return Policy(problem="missing")
    version = _text(raw.get(b"policy_version"))
    universe = _universe(raw.get(b"universe_symbols", b""))
    if isinstance(universe, str):
        return Policy(version=version, problem=universe)
    problem = _validity_problem(_text(raw.get(b"valid_until_epoch")), now_ms)
    return Policy(universe, version, problem)


@lru_cache(maxsize=4)
def _universe(text: bytes) -> frozenset[str] | str:
    """Return the symbols, or what is wrong with them; the same text is read with every plan."""
    try:
        universe = decode(text)
    except ValueError:
        return "universe_symbols is no JSON list"
    if not isinstance(universe, list) or not all(isinstance(symbol, str) for symbol in universe):
        return "universe_symbols is no JSON list of symbols"
    return frozenset(universe)


def _validity_problem(until: str, now_ms: int) -> str:
    if not until:
        return ""
    try:
        is_valid = Decimal(until) * 1000 > now_ms
    except ArithmeticError:  # no number, NaN, or beyond what a number may be
        return "valid_until_epoch is no number"
    return "" if is_valid else f"expired at {until}"


def _parse_bsc(raw: bytes | Exception | None, *, required: bool) -> BscHealth:
    if raw is None:
        return BscHealth(required)
    if isinstance(raw, Exception):
        return BscHealth(required, UNREADABLE)
    try:
        health: Any = decode(raw)
        state, authority = str(health["state"]), str(health["authority"])
        last_good_ms, days_left = health.get("last_good_poll_ms"), health.get("days_left")
        return BscHealth(
            required,
            state,
            authority,
            last_good_ms if isinstance(last_good_ms, int) else None,
            days_left if isinstance(days_left, int | float) else None,
        )
    except (ValueError, KeyError, TypeError):
        return BscHealth(required, UNREADABLE)


def _stop(value: bytes | Exception | None) -> str:
    """Return the text of a stop; one that is set to nothing, or is no string, is set and unreadable."""
    if isinstance(value, Exception):
        return UNREADABLE
    return "" if value is None else _text(value) or UNREADABLE


def _text(value: bytes | None) -> str:
    if value is None:
        return ""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return UNREADABLE
