"""When a live position was opened: the fill that last took it away from flat (SPEC 10, INC-100).

Nothing the exchange says about a position tells it: ``updateTime`` moves with every fill and with
funding. So the account's own trades are walked backwards from the live amount. The fill before
which the position was flat (or on the other side) opened it. Those of the last minutes are read
first, then those of an hour; where a complete 72 h of trades holds no such fill, the position is at
least 72 h old. Before a longer history is read the position is looked at again: the trades of one that has
moved on lead nowhere, however many of them are read.

What was found is kept, and later only the trades since then are read. A position that the exchange
has not touched since needs no read at all. Nothing is stored: a restart asks again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from quantum_trader.bsc import limits
from quantum_trader.domain.order import AccountTrade
from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.margin_reads import MarginPosition

WINDOW_MS = int(limits.MAX_DURATION_H * 3_600_000)
NEWEST_MS = (300_000, 3_600_000)
TRADES_LAG_MS = 600_000
"""For how long after a change of a position its trade may still be missing from the history."""
SAME_MOMENT_MS = 1_000

ReadTrades = Callable[[str, int], Awaitable[Sequence[AccountTrade]]]
StillStands = Callable[[MarginPosition], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Walk:
    """``opened_ms`` None: not within these trades, before which the position was ``amount_before``."""

    opened_ms: int | None
    amount_before: Decimal


@dataclass(frozen=True, slots=True)
class Opening:
    """A position as last seen, and when it was opened at the latest (ms, exchange's time)."""

    amount: Decimal
    update_time_ms: int
    opened_ms: int


def walk_back(amount: Decimal, trades: Iterable[AccountTrade]) -> Walk:
    """Walk from the live signed ``amount`` back through its leg's ``trades`` (oldest first)."""
    held = amount
    for trade in reversed(list(trades)):
        before = held - trade.side.sign * trade.quantity
        if before * amount <= 0:
            return Walk(trade.time_ms, before)
        held = before
    return Walk(None, held)


class Openings:
    """Tells when positions were opened, from ``read_trades(symbol, since_ms)``.

    ``still_stands(position)`` asks the exchange whether the position is what it was.
    """

    def __init__(self, read_trades: ReadTrades, still_stands: StillStands) -> None:
        self._read_trades = read_trades
        self._still_stands = still_stands
        self._known: dict[Leg, Opening] = {}
        self._told: dict[Leg, Opening] = {}

    def forget_all_but(self, live: Iterable[Leg]) -> None:
        """Drop what is known of positions that are flat now."""
        for leg in (self._known.keys() | self._told.keys()) - set(live):
            self.forget(leg)

    def forget(self, leg: Leg) -> None:
        """Drop what is known of ``leg``: it changed while its trades were being read."""
        self._known.pop(leg, None)
        self._told.pop(leg, None)

    def is_known(self, position: MarginPosition) -> bool:
        """Whether ``opened_ms`` answers without reading: the exchange has not touched the position."""
        known = self._known.get(position.leg)
        return known is not None and _is_untouched(known, position)

    def opened_as_told(self, position: MarginPosition) -> int | None:
        """What ``opened_ms`` has said of the position, without a read; None where it was touched since."""
        told = (self._known.get(position.leg), self._told.get(position.leg))
        return next((each.opened_ms for each in told if each and _is_untouched(each, position)), None)

    async def opened_ms(self, position: MarginPosition, now_ms: int) -> int | None:
        """When ``position`` was opened, at the latest, in ms of the exchange's clock ``now_ms``.

        Holds only if the position is the same after this read as before it: the caller looks.
        None while its last change is so recent that its trade may not be listed yet: a history
        that lags behind must not pass for one without a return to flat. Raises ``ExchangeError``.
        """
        known = self._known.get(position.leg)
        if known is not None and _is_untouched(known, position):
            return known.opened_ms
        opened_ms = await self._since_known(known, position, now_ms) if known is not None else None
        if opened_ms is None:
            opened_ms = await self._in_window(position, now_ms)
        if opened_ms is not None:
            self._told[position.leg] = Opening(position.amount, position.update_time_ms, opened_ms)
        return opened_ms

    async def _since_known(self, known: Opening, position: MarginPosition, now_ms: int) -> int | None:
        """Judge by the trades since the last look; None where they do not tell."""
        since_ms = max(known.update_time_ms + 1, now_ms - WINDOW_MS)
        trades = await self._trades(position.leg, since_ms)
        walk = walk_back(position.amount, trades)
        if not is_settled(position, trades, now_ms):
            return known.opened_ms if not trades and known.amount == position.amount else None
        if walk.opened_ms is not None:
            return self._keep(position, walk.opened_ms)
        return self._keep(position, known.opened_ms) if walk.amount_before == known.amount else None

    async def _in_window(self, position: MarginPosition, now_ms: int) -> int | None:
        """Judge by the newest trades that hold the opening: an account may have made thousands in 72 h."""
        changed_ms = position.update_time_ms - SAME_MOMENT_MS
        holding = [window_ms for window_ms in NEWEST_MS if now_ms - window_ms <= changed_ms]
        for is_longer, window_ms in enumerate((*holding, WINDOW_MS)):
            if is_longer and not await self._still_stands(position):
                return None
            trades = await self._trades(position.leg, now_ms - window_ms)
            if not is_settled(position, trades, now_ms):
                return None  # older trades do not change that
            opened_ms = walk_back(position.amount, trades).opened_ms
            if opened_ms is not None:
                return self._keep(position, opened_ms)
        return self._keep(position, now_ms - WINDOW_MS)

    async def _trades(self, leg: Leg, since_ms: int) -> list[AccountTrade]:
        return [trade for trade in await self._read_trades(leg.symbol, since_ms) if trade.leg == leg]

    def _keep(self, position: MarginPosition, opened_ms: int) -> int:
        self._known[position.leg] = Opening(position.amount, position.update_time_ms, opened_ms)
        return opened_ms


def _is_untouched(known: Opening, position: MarginPosition) -> bool:
    return (known.amount, known.update_time_ms) == (position.amount, position.update_time_ms)


def is_settled(position: MarginPosition, trades: Sequence[AccountTrade], now_ms: int) -> bool:
    """Whether ``trades`` end where the position does: neither behind it nor ahead of it."""
    newest_ms = trades[-1].time_ms if trades else 0
    if newest_ms > position.update_time_ms + SAME_MOMENT_MS:
        return False
    changed_of_late = position.update_time_ms > now_ms - TRADES_LAG_MS
    return not changed_of_late or newest_ms >= position.update_time_ms - SAME_MOMENT_MS
