"""The watch: look, judge, close, say so; every minute, whatever happens (SPEC 10).

Theory of operation. A poll reads the account (reading.py), judges it (exits.py) and closes what is
beyond a limit (closing.py), all positions at once. Cross margin comes after: its victims go one by
one, with a new look in between that has to show the former one gone. Loss and margin do not wait long
for ages, which may take many reads of trades; age is judged by a reading made behind those. Only then
the poll is written down and told; a disk or a Redis that hangs must not hold up a close. Whatever
fails, fails this poll alone: nothing is closed for an error, and the watch goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from quantum_trader.bsc import limits
from quantum_trader.bsc.closing import Closed, Closer, NotClosed
from quantum_trader.bsc.events import Event, Sink
from quantum_trader.bsc.exits import Breach, Reading, all_breaches, breaches_of, legs_of, next_cross_victim
from quantum_trader.bsc.health import Authority, State
from quantum_trader.bsc.opened import Openings
from quantum_trader.bsc.reading import Line, glance, keep_time, look_at_ages, still_stands
from quantum_trader.bsc.status import position_line
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.order import AccountTrade
from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.margin_reads import MarginPosition

HEAD_START_S = 5.0
"""How long cross margin waits for the closes of single positions before it looks again."""
AGES_PATIENCE_S = 2.0
"""How long a close for loss or margin waits for ages, which its event tells."""
READS_LAG_S = 3.0
"""For how long after a close a read may still show the position."""
LOOK_EVERY_S = 0.25

log = structlog.get_logger()


class Tells(Protocol):
    """Keeps count of what the watch saw and may do (telling.py)."""

    @property
    def authority(self) -> Authority:
        """Whether BSC may close now."""
        ...

    async def begin(self, *, closes: bool) -> None:
        """Say that the watch begins."""
        ...

    async def tell(
        self, reading: Reading | None, breaches: Sequence[Breach], problems: Sequence[str]
    ) -> State:
        """Write one poll down, and return how well BSC sees."""
        ...


@dataclass(slots=True)
class _Act:
    """What one poll is closing.

    ``touched`` are the legs it has turned to, whatever came of it; ``closed`` what was closed, as it was.
    """

    line: Line
    reading: Reading
    touched: set[Leg] = field(default_factory=set)
    closed: list[MarginPosition] = field(default_factory=list)

    def is_outrun(self, reading: Reading) -> bool:
        """Whether ``reading`` answers from before a close."""
        shown = [watched.position for watched in reading.watched]
        return any(each.is_untouched_since(before) for before in self.closed for each in shown)


class Watchdog:
    """Watches one account. ``line`` gives the way to the exchange or raises ``ExchangeError``."""

    def __init__(
        self,
        line: Callable[[], Line],
        teller: Tells,
        sink: Sink,
        clock: Clock,
        *,
        closes: bool,
        interval_s: float = limits.POLL_S,
    ) -> None:
        """``closes`` False only reports (dry_run). ``interval_s`` is for tests; no setting reaches it."""
        self._line = line
        self._teller = teller
        self._sink = sink
        self._clock = clock
        self._closes = closes
        self._interval_s = interval_s
        self._openings = Openings(self._read_trades, self._still_stands)

    async def run(self) -> None:
        """Poll at once and then every ``interval_s``, for ever."""
        await self._teller.begin(closes=self._closes)
        while True:
            started_s = self._clock.monotonic_s()
            await self.poll()
            spent_s = self._clock.monotonic_s() - started_s
            await self._clock.sleep(max(0.0, self._interval_s - spent_s))

    async def poll(self) -> State:
        """Look, close what must go, and return how well BSC sees. Raises nothing.

        Where something must go and the ages are not there in time, it goes before them.
        """
        act, problems = await self._first_look()
        if act is None:
            return await self._teller.tell(None, (), problems)
        first, urgent = act.reading, all_breaches(act.reading)
        looking = asyncio.create_task(self._second_look(act.line, first))
        try:
            if urgent:
                await asyncio.wait({looking}, timeout=AGES_PATIENCE_S)
            if looking.done():
                urgent = []
            await self._act(act, urgent)
            act.reading, problems = await looking
        finally:
            looking.cancel()
        late, unread = await self._late_breaches(act, legs_of(urgent).union(act.touched))
        told, breaches = _joined(first, act.reading, legs_of(urgent)), [*urgent, *late]
        await self._act(act, late)
        self._tell_lines(told, breaches)
        return await self._teller.tell(told, breaches, [*problems, *unread])

    async def _first_look(self) -> tuple[_Act | None, Sequence[str]]:
        try:
            line = self._line()
            await keep_time(line.clock)
            return _Act(line, await glance(line, self._openings)), ()
        except ExchangeError as failed:
            return None, (str(failed),)
        except Exception as broken:
            log.exception("bsc_poll_broken")
            return None, (_in_the_watch(broken),)

    async def _second_look(self, line: Line, first: Reading) -> tuple[Reading, Sequence[str]]:
        """Add the ages; where that fails the first look has to do."""
        try:
            seen = await look_at_ages(line, self._openings, first)
        except ExchangeError as failed:
            return first, (str(failed),)
        except Exception as broken:
            log.exception("bsc_poll_broken")
            return first, (_in_the_watch(broken),)
        return seen.reading, seen.problems

    async def _late_breaches(self, act: _Act, passed: frozenset[Leg]) -> tuple[list[Breach], list[str]]:
        """Judge the second look, by a reading that knows of all closes; those ``passed`` had their turn.

        Returns what could not be read as well, in words: nothing is judged then.
        """
        try:
            knows_all = not act.closed or await self._looks_past(act)
        except ExchangeError as failed:
            return [], [str(failed)]
        except Exception as broken:
            log.exception("bsc_poll_broken")
            return [], [_in_the_watch(broken)]
        late = [breach for breach in all_breaches(act.reading) if breach.leg not in passed]
        return (late if knows_all else []), []

    async def _read_trades(self, symbol: str, since_ms: int) -> Sequence[AccountTrade]:
        return await self._line().reads.trades(symbol, since_ms)

    async def _still_stands(self, position: MarginPosition) -> bool:
        return await still_stands(self._line().reads, position)

    def _tell_lines(self, reading: Reading, breaches: Sequence[Breach]) -> None:
        found = {breach.leg: breach for breach in breaches}
        for watched in reading.watched:
            line = position_line(watched, reading, found.get(watched.position.leg))
            log.info("bsc_position", symbol=watched.position.leg.symbol, line=line)

    async def _act(self, act: _Act, breaches: Sequence[Breach]) -> None:
        if not breaches:
            return
        if not self._closes or self._teller.authority is Authority.OBSERVER:
            for breach in breaches:
                log.error("bsc_breach_observed", symbol=breach.leg.symbol, reason=breach.trigger.value)
            return
        try:
            await self._close_all(act)
        except Exception:
            log.exception("bsc_act_broken")

    async def _close_all(self, act: _Act) -> None:
        due = [breach for breach in breaches_of(act.reading) if breach.leg not in act.touched]
        single = [asyncio.create_task(self._close(act, breach)) for breach in due]
        try:
            await self._close_cross(act, single)
        except ExchangeError as failed:
            log.warning("bsc_cross_margin_waits", error=str(failed))
        await asyncio.gather(*single)

    async def _close_cross(self, act: _Act, single: Sequence[asyncio.Task[None]]) -> None:
        """Close cross positions, worst first, until the ratio is within its limit; each at most once."""
        if next_cross_victim(act.reading) is None:
            return
        if single:
            await asyncio.wait(single, timeout=HEAD_START_S)
            if not await self._looks_past(act):
                return
        while (victim := next_cross_victim(act.reading, act.touched)) is not None:
            await self._close(act, victim)
            if not await self._looks_past(act):
                return

    async def _looks_past(self, act: _Act) -> bool:
        """Read until what was closed is gone; False where reads lag behind it: the next poll goes on.

        A reading from before a close still counts its maintenance, and healthy positions would follow it.
        """
        until_s = self._clock.monotonic_s() + READS_LAG_S
        while act.is_outrun(reading := await glance(act.line, self._openings)):
            if self._clock.monotonic_s() >= until_s:
                log.warning("bsc_reads_lag", waits_for="the next poll")
                return False
            await self._clock.sleep(LOOK_EVERY_S)
        act.reading = reading
        return True

    async def _close(self, act: _Act, breach: Breach) -> None:
        act.touched.add(breach.leg)
        log.warning("bsc_closing", symbol=breach.leg.symbol, reason=breach.trigger.value)
        try:
            result = await Closer(
                act.line, breach.watched.position, act.reading.read_at_ms, self._clock
            ).close()
        except Exception as broken:
            log.exception("bsc_close_broken", symbol=breach.leg.symbol)
            result = NotClosed(f"{type(broken).__name__} in BSC itself", ())
        if isinstance(result, Closed):
            act.closed.append(breach.watched.position)
        self._tell_close(breach, result)

    def _tell_close(self, breach: Breach, result: Closed | NotClosed) -> None:
        position, measures = breach.watched.position, breach.measures
        about = {
            "symbol": breach.leg.symbol,
            "position_side": breach.leg.side.value,
            "reason": breach.trigger.value,
            "side": position.side_to_close.value,
            "quantity": abs(position.amount),
            "unrealized_pnl": position.unrealized_pnl_usdt,
            "pnl_pct": measures.pnl_pct,
            "entry_price": position.entry_price,
            "age_h": measures.age_h,
            "margin_ratio": measures.margin_ratio,
            "client_order_ids": result.client_order_ids,
        }
        if isinstance(result, NotClosed):
            log.error(
                "bsc_close_failed", symbol=breach.leg.symbol, error=result.reason, tries=limits.CLOSE_TRIES
            )
            self._sink.event(Event.CLOSE_FAILED, error=result.reason, tries=limits.CLOSE_TRIES, **about)
        elif result.was_ours:
            order_id = result.order_ids[-1] if result.order_ids else ""
            log.warning("bsc_force_close", symbol=breach.leg.symbol, reason=breach.trigger.value)
            self._sink.event(Event.FORCE_CLOSE, order_id=order_id, order_ids=result.order_ids, **about)
        else:
            log.info("bsc_already_flat", symbol=breach.leg.symbol)


def _joined(first: Reading, second: Reading, closed: frozenset[Leg]) -> Reading:
    """Return what a poll saw: what was to be closed as it was then, all else as it is now."""
    before = [each for each in first.watched if each.position.leg in closed]
    after = [each for each in second.watched if each.position.leg not in closed]
    return replace(second, watched=(*before, *after))


def _in_the_watch(broken: Exception) -> str:
    return f"{type(broken).__name__} in the watch itself"
