"""What operators and other programs say through keys: kill switch, latches, policy, BSC's health.

Read together with every delivery, and parsed so that whatever cannot be read stops opens:
an unreadable policy is a policy with a problem, an unreadable kill value halts opens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from quantum_trader.domain.facts import BscHealth, Latches, Policy
from quantum_trader.stores.codec import decode
from quantum_trader.stores.keys import Keys

UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class OperatorState:
    """One reading of all operator keys; ``read_at_ms`` is wall time."""

    kill: str
    latches: Latches
    policy: Policy
    bsc: BscHealth
    read_at_ms: int
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class OperatorKeys:
    """Which keys one reading takes: the fixed ones and the symbol cooldowns believed to be set.

    A cooldown that someone else sets is found by the claim, which looks at the plan's own symbol.
    """

    keys: Keys
    cooling_symbols: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Keys for one MGET, in the order that ``parse`` expects."""
        return [
            self.keys.kill,
            self.keys.safe_mode,
            self.keys.cooldown_global,
            self.keys.disarmed,
            self.keys.bsc_health,
            self.keys.dry_run,
            *(self.keys.cooldown_symbol(symbol) for symbol in self.cooling_symbols),
        ]

    def parse(
        self,
        values: Sequence[bytes | None],
        policy: Mapping[bytes, bytes],
        *,
        bsc_required: bool,
        now_ms: int,
    ) -> OperatorState:
        """Turn one MGET and one HGETALL into a reading; never raises."""
        kill, safe_mode, cooldown_global, disarmed, bsc, dry_run, *cooling = values
        return OperatorState(
            kill=_stop(kill),
            latches=Latches(
                safe_mode=safe_mode is not None,
                cooldown_global=cooldown_global is not None,
                cooldown_symbols=frozenset(
                    symbol
                    for symbol, value in zip(self.cooling_symbols, cooling, strict=True)
                    if value is not None
                ),
                disarmed=_stop(disarmed),
            ),
            policy=parse_policy(policy, now_ms),
            bsc=_parse_bsc(bsc, required=bsc_required),
            read_at_ms=now_ms,
            dry_run=dry_run is not None,
        )


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


def _parse_bsc(raw: bytes | None, *, required: bool) -> BscHealth:
    if raw is None:
        return BscHealth(required)
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


def _stop(value: bytes | None) -> str:
    """Return the text of a stop; one that is set to nothing is set, and unreadable."""
    return "" if value is None else _text(value) or UNREADABLE


def _text(value: bytes | None) -> str:
    if value is None:
        return ""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return UNREADABLE
