"""Claims in memory: what this engine, the one writer of its account, has claimed and not yet seen.

The server's hash is the truth; this mirror lets gates judge without asking it. A filled open
stays in the book, dated with the epoch of its settlement, until the readings in use are newer.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal

from quantum_trader.domain.exposure import ClaimedExposure, claimed_margin_usdt
from quantum_trader.domain.facts import RateCounts
from quantum_trader.domain.trading import Leg, Positions

HOUR_MS = 3_600_000
MINUTE_MS = 60_000


class ClaimBook:
    """Claimed exposures by plan, and when opens were claimed."""

    def __init__(self) -> None:
        self._exposures: dict[str, ClaimedExposure] = {}
        self._exits: dict[str, str] = {}
        self._rates_by_symbol: dict[str, deque[tuple[int, str]]] = defaultdict(deque)
        self._rates: deque[tuple[int, str]] = deque()
        self._epochs_in_flight: list[int] = []

    @contextmanager
    def claiming(self, epoch: int) -> Iterator[None]:
        """Keep settled claims that a claim under way, made at ``epoch``, does not know of yet."""
        self._epochs_in_flight.append(epoch)
        try:
            yield
        finally:
            self._epochs_in_flight.remove(epoch)

    def add(self, exposure: ClaimedExposure, claimed_ms: int) -> None:
        """Record a granted claim of an open."""
        self._exposures[exposure.plan_id] = exposure
        self.count_rate(exposure.leg.symbol, exposure.plan_id, claimed_ms)

    def count_rate(self, symbol: str, plan_id: str, claimed_ms: int) -> None:
        """Record when an open was claimed, ms since the epoch."""
        self._rates_by_symbol[symbol].append((claimed_ms, plan_id))
        self._rates.append((claimed_ms, plan_id))

    def restore(self, exposure: ClaimedExposure) -> None:
        """Put back a claim found on the server at start."""
        self._exposures[exposure.plan_id] = exposure

    def release(self, plan_id: str) -> None:
        """Forget a claim whose plan ended without a filled open."""
        self._exposures.pop(plan_id, None)
        self._exits.pop(plan_id, None)

    def return_rate_token(self, symbol: str, plan_id: str) -> None:
        """Give back a rate token of which no byte was sent."""
        for times in (self._rates_by_symbol[symbol], self._rates):
            for entry in [entry for entry in times if entry[1] == plan_id]:
                times.remove(entry)

    def settled(self, exposure: ClaimedExposure, epoch: int) -> None:
        """Date the claim of a filled open with the epoch of its settlement."""
        self._exposures[exposure.plan_id] = replace(exposure, settled_epoch=epoch)

    def exposure(self, plan_id: str) -> ClaimedExposure | None:
        """Return what ``plan_id`` has claimed, if anything."""
        return self._exposures.get(plan_id)

    def hold_exit(self, plan_id: str, symbol: str) -> None:
        """Record that a claimed exit is under way on ``symbol``."""
        self._exits[plan_id] = symbol

    def exit_symbols(self) -> frozenset[str]:
        """Return the symbols on which an exit is under way."""
        return frozenset(self._exits.values())

    def has_unsettled(self, symbol: str) -> bool:
        """Whether an order of ours may be under way on ``symbol``."""
        return symbol in self._exits.values() or any(
            claim.leg.symbol == symbol and claim.settled_epoch is None for claim in self._exposures.values()
        )

    def unseen(self, epoch: int) -> tuple[ClaimedExposure, ...]:
        """Return the claims that a reading of ``epoch`` may lack."""
        return tuple(claim for claim in self._exposures.values() if claim.counts_at(epoch))

    def unseen_margin_usdt(self, account_epoch: int) -> Decimal:
        """Return Σ margin in USDT that an account reading of that epoch may lack."""
        return claimed_margin_usdt(self.unseen(account_epoch))

    def seen_everywhere(self, *epochs: int) -> list[str]:
        """Return settled claims that every reading in use knows: the server may forget them."""
        oldest = min((*epochs, *self._epochs_in_flight))
        return [name for name, claim in self._exposures.items() if not claim.counts_at(oldest)]

    def forget(self, plan_ids: Iterable[str]) -> None:
        """Forget claims that the server has forgotten."""
        for plan_id in plan_ids:
            self._exposures.pop(plan_id, None)

    def positions_of_claims(self, positions: Positions) -> dict[Leg, Decimal]:
        """Return notional (USDT) of every live leg on a symbol that has a claim."""
        symbols = {claim.leg.symbol for claim in self._exposures.values()}
        return {leg: held.notional_usdt for leg, held in positions.items() if leg.symbol in symbols}

    def rates(self, symbol: str, now_ms: int) -> RateCounts:
        """Return when opens were claimed, of ``symbol`` within an hour and of all within a minute."""
        by_symbol = self._rates_by_symbol.get(symbol)
        if by_symbol is not None:
            _drop_before(by_symbol, now_ms - HOUR_MS)
            if not by_symbol:
                del self._rates_by_symbol[symbol]
        _drop_before(self._rates, now_ms - MINUTE_MS)
        return RateCounts(
            tuple(time_ms for time_ms, _ in by_symbol or ()), tuple(time_ms for time_ms, _ in self._rates)
        )


def _drop_before(times: deque[tuple[int, str]], start_ms: int) -> None:
    while times and times[0][0] <= start_ms:
        times.popleft()
