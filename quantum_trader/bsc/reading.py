"""One complete look at the account, on the budget that is BSC's own (SPEC 10)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from quantum_trader.bsc.exits import Reading, Watched
from quantum_trader.bsc.opened import Openings
from quantum_trader.domain.order import AccountTrade, ExitOrder, Outcome
from quantum_trader.domain.trading import Leg, QuantityLimits
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.margin_reads import CrossMargin, MarginPosition, PastOrder

CLOCK_AGE_MAX_S = 600.0
AGE_TRIES = 3


class Reads(Protocol):
    """What BSC asks; every answer is whole, or an ``ExchangeError`` is raised."""

    async def positions(self) -> Sequence[MarginPosition]:
        """Every live position."""
        ...

    async def cross_margin(self) -> CrossMargin:
        """The wallet behind cross positions."""
        ...

    async def trades(self, symbol: str, since_ms: int) -> Sequence[AccountTrade]:
        """Every fill of ``symbol`` since ``since_ms``, oldest first."""
        ...

    async def market_quantity(self, symbol: str) -> QuantityLimits:
        """What one MARKET order may carry."""
        ...

    async def orders(self, since_ms: int, until_ms: int) -> Sequence[PastOrder]:
        """Every order created in the period, oldest first."""
        ...


class Exits(Protocol):
    """The one thing BSC may do."""

    async def reduce_position(self, order: ExitOrder) -> Outcome:
        """Send the reducing MARKET order once."""
        ...

    async def cancel_open_orders(self, symbol: str) -> None:
        """Cancel the symbol's resting orders; raises ``ExchangeError``."""
        ...


class ExchangeTime(Protocol):
    """The exchange's clock."""

    @property
    def age_s(self) -> float | None:
        """Seconds since it was measured; None while it never was."""
        ...

    def signing_time_ms(self) -> int:
        """Wall time of the exchange, ms."""
        ...

    async def measure(self) -> int:
        """Measure anew; raises ``ExchangeError``."""
        ...

    async def resync(self) -> bool:
        """Measure after a refused timestamp; whether signing anew makes sense."""
        ...


class Line(Protocol):
    """BSC's way to the exchange."""

    @property
    def reads(self) -> Reads:
        """What it may ask."""
        ...

    @property
    def exits(self) -> Exits:
        """What it may do."""
        ...

    @property
    def clock(self) -> ExchangeTime:
        """When it is there."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """A reading, and what of it could not be had: such positions have no age."""

    reading: Reading
    problems: tuple[str, ...]


async def keep_time(clock: ExchangeTime) -> None:
    """Measure the exchange's clock now and then; where that fails the old offset goes on serving."""
    if clock.age_s is None or clock.age_s > CLOCK_AGE_MAX_S:
        try:
            await clock.measure()
        except ExchangeError:
            return  # the reads that follow meet the same trouble and tell it


async def still_stands(reads: Reads, position: MarginPosition) -> bool:
    """Whether the exchange has not touched ``position`` since it was read. Raises ``ExchangeError``."""
    return any(each.is_untouched_since(position) for each in await reads.positions())


async def glance(line: Line, openings: Openings) -> Reading:
    """Read positions and cross wallet; ages as far as they are known. Raises ``ExchangeError``."""
    asked_ms = line.clock.signing_time_ms()
    positions, cross = await asyncio.gather(line.reads.positions(), line.reads.cross_margin())
    watched = [Watched(each, _age_ms(openings.opened_as_told(each), asked_ms)) for each in positions]
    return Reading(tuple(watched), cross, asked_ms)


async def look(line: Line, openings: Openings) -> Look:
    """Read positions, cross wallet and ages. Raises ``ExchangeError`` unless loss and margin are known."""
    return await look_at_ages(line, openings, await glance(line, openings))


async def look_at_ages(line: Line, openings: Openings, seen: Reading) -> Look:
    """Read the ages that ``seen`` lacks, and then all else anew: trades may take long.

    An age whose trades cannot be read is None and named in ``problems``: the other limits still hold.
    Raises ``ExchangeError`` where the last read fails.
    """
    positions = [watched.position for watched in seen.watched]
    openings.forget_all_but(position.leg for position in positions)
    lacking = [position for position in positions if not openings.is_known(position)]
    if not lacking:
        return Look(seen, ())
    problems = await _Ages(line, openings).read(lacking)
    return Look(await glance(line, openings), tuple(problems))


def _age_ms(opened_ms: int | None, now_ms: int) -> int | None:
    return None if opened_ms is None else max(0, now_ms - opened_ms)


class _Ages:
    """Has ``openings`` find out when positions were opened."""

    def __init__(self, line: Line, openings: Openings) -> None:
        self._line = line
        self._openings = openings
        self._problems: dict[Leg, str] = {}

    async def read(self, positions: Sequence[MarginPosition]) -> list[str]:
        """Read all of them, again where they changed meanwhile; returns what could not be read, in words."""
        unsure = list(positions)
        for _ in range(AGE_TRIES):
            await asyncio.gather(*(self._read_one(position) for position in unsure))
            unsure = await self._changed_meanwhile(unsure)
            if not unsure:
                break
        for position in unsure:
            self._note(position.leg, "the position changes while its trades are read")
        return list(self._problems.values())

    async def _read_one(self, position: MarginPosition) -> None:
        self._problems.pop(position.leg, None)
        try:
            await self._openings.opened_ms(position, self._line.clock.signing_time_ms())
        except ExchangeError as failed:
            self._note(position.leg, f"no trades: {failed}")

    async def _changed_meanwhile(self, asked: list[MarginPosition]) -> list[MarginPosition]:
        """Return the positions of ``asked`` as they are now, where they are no longer what they were."""
        try:
            now = {position.leg: position for position in await self._line.reads.positions()}
        except ExchangeError as failed:
            for position in asked:
                self._openings.forget(position.leg)
                self._note(position.leg, f"age not confirmed: {failed}")
            return []
        changed = [
            each for each in asked if each.leg not in now or not now[each.leg].is_untouched_since(each)
        ]
        for position in changed:
            self._openings.forget(position.leg)
            self._problems.pop(position.leg, None)
        return [now[position.leg] for position in changed if position.leg in now]

    def _note(self, leg: Leg, problem: str) -> None:
        self._problems[leg] = f"{leg.key}: {problem}"
