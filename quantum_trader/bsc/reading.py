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


async def look(line: Line, openings: Openings) -> Look:
    """Read positions, cross wallet and ages. Raises ``ExchangeError`` unless loss and margin are known.

    An age whose trades cannot be read is None and named in ``problems``: the other limits still hold.
    """
    positions, cross = await asyncio.gather(line.reads.positions(), line.reads.cross_margin())
    ages, problems = await _Ages(line, openings).of(positions)
    return Look(reading_of(positions, cross, ages, line.clock.signing_time_ms()), tuple(problems))


async def look_again(line: Line, ages_ms: dict[Leg, int | None]) -> Reading:
    """Read positions and cross wallet anew; ages are taken over. Raises ``ExchangeError``."""
    positions, cross = await asyncio.gather(line.reads.positions(), line.reads.cross_margin())
    return reading_of(positions, cross, ages_ms, line.clock.signing_time_ms())


def reading_of(
    positions: Sequence[MarginPosition], cross: CrossMargin, ages_ms: dict[Leg, int | None], read_at_ms: int
) -> Reading:
    """Join what was read."""
    return Reading(tuple(Watched(each, ages_ms.get(each.leg)) for each in positions), cross, read_at_ms)


class _Ages:
    def __init__(self, line: Line, openings: Openings) -> None:
        self._line = line
        self._openings = openings
        self._ages: dict[Leg, int | None] = {}
        self._problems: dict[Leg, str] = {}

    async def of(self, positions: Sequence[MarginPosition]) -> tuple[dict[Leg, int | None], list[str]]:
        self._openings.forget_all_but(position.leg for position in positions)
        unsure = list(positions)
        for _ in range(AGE_TRIES):
            asked = [position for position in unsure if not self._openings.is_known(position)]
            await asyncio.gather(*(self._age(position) for position in unsure))
            unsure = await self._changed_meanwhile(asked)
            if not unsure:
                break
        for position in unsure:
            self._note(position.leg, None, "the position changes while its trades are read")
        return self._ages, list(self._problems.values())

    async def _age(self, position: MarginPosition) -> None:
        now_ms = self._line.clock.signing_time_ms()
        try:
            opened_ms = await self._openings.opened_ms(position, now_ms)
        except ExchangeError as failed:
            self._note(position.leg, None, f"no trades: {failed}")
            return
        self._note(position.leg, now_ms - opened_ms if opened_ms is not None else None)

    async def _changed_meanwhile(self, asked: list[MarginPosition]) -> list[MarginPosition]:
        """Return the positions of ``asked`` as they are now, where they are no longer what they were."""
        if not asked:
            return []
        try:
            now = {position.leg: position for position in await self._line.reads.positions()}
        except ExchangeError as failed:
            for position in asked:
                self._openings.forget(position.leg)
                self._note(position.leg, None, f"age not confirmed: {failed}")
            return []
        changed = [each for each in asked if not _is_same(each, now.get(each.leg))]
        for position in changed:
            self._openings.forget(position.leg)
            self._note(position.leg, None)
        return [now[position.leg] for position in changed if position.leg in now]

    def _note(self, leg: Leg, age_ms: int | None, problem: str = "") -> None:
        self._ages[leg] = age_ms
        self._problems.pop(leg, None)
        if problem:
            self._problems[leg] = f"{leg.key}: {problem}"


def _is_same(before: MarginPosition, now: MarginPosition | None) -> bool:
    return now is not None and (before.amount, before.update_time_ms) == (now.amount, now.update_time_ms)
