"""Claims in memory: what this engine, the one writer of its account, has claimed and not yet seen.

The server's hash is the truth; this mirror lets gates judge without asking it. A filled open
stays in the book, dated with the epoch of its settlement, until the readings in use are newer.
What a plan asks costs the same however many claims wait for a newer reading, and however many
opens were claimed: settled claims stand in the order of their epochs, with a running sum.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from decimal import Decimal

from msgspec.structs import replace

from quantum_trader.domain.exposure import ClaimedExposure, claimed_margin_usdt
from quantum_trader.domain.facts import RateCounts
from quantum_trader.domain.trading import ZERO, Leg, Positions
from quantum_trader.positions.claim_times import ClaimTimes

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
FEW = 32  # more than most caps let stand; what so many show costs less than a second round trip


class ClaimBook:
    """Claimed exposures by plan, and when opens were claimed."""

    def __init__(self) -> None:
        self._under_way: dict[str, ClaimedExposure] = {}
        self._settled = _SettledClaims()
        self._exits: dict[str, str] = {}
        self._times_by_symbol: dict[str, ClaimTimes] = {}
        self._times = ClaimTimes()
        self._claimed_ms: dict[str, int] = {}  # of plans that may get their rate token back
        self._epochs_in_flight: list[int] = []

    def begin_claim(self, epoch: int) -> None:
        """Keep settled claims that a claim under way, made at ``epoch``, does not know of yet."""
        self._epochs_in_flight.append(epoch)

    def end_claim(self, epoch: int) -> None:
        """Let go of what ``begin_claim`` kept."""
        self._epochs_in_flight.remove(epoch)

    def add(self, exposure: ClaimedExposure, claimed_ms: int) -> None:
        """Record a granted claim of an open."""
        self._under_way[exposure.plan_id] = exposure
        self.count_rate(exposure.leg.symbol, exposure.plan_id, claimed_ms)

    def count_rate(self, symbol: str, plan_id: str, claimed_ms: int) -> None:
        """Record when an open was claimed, ms since the epoch."""
        if plan_id in self._under_way:
            self._claimed_ms[plan_id] = claimed_ms
        of_symbol = self._times_by_symbol.get(symbol)
        if of_symbol is None:
            of_symbol = self._times_by_symbol[symbol] = ClaimTimes()
        of_symbol.add(claimed_ms)
        self._times.add(claimed_ms)

    def restore(self, exposure: ClaimedExposure) -> None:
        """Put back a claim found on the server at start."""
        if exposure.settled_epoch is None:
            self._under_way[exposure.plan_id] = exposure
        else:
            self._settled.add(exposure)

    def clear(self) -> None:
        """Forget everything: it is restored from the server, where another engine has claimed meanwhile."""
        self._under_way.clear()
        self._settled = _SettledClaims()
        self._exits.clear()
        self._times_by_symbol.clear()
        self._times = ClaimTimes()
        self._claimed_ms.clear()

    def release(self, plan_id: str) -> None:
        """Forget a claim whose plan ended without a filled open."""
        self._under_way.pop(plan_id, None)
        self._claimed_ms.pop(plan_id, None)
        self._exits.pop(plan_id, None)

    def return_rate_token(self, symbol: str, plan_id: str) -> None:
        """Give back the rate token of a plan that is not released yet, of which no byte was sent."""
        claimed_ms = self._claimed_ms.pop(plan_id, None)
        if claimed_ms is None:
            return
        self._times.remove(claimed_ms)
        if symbol in self._times_by_symbol:
            self._times_by_symbol[symbol].remove(claimed_ms)

    def settled(self, exposure: ClaimedExposure, epoch: int) -> None:
        """Date the claim of a filled open with the epoch of its settlement."""
        self._under_way.pop(exposure.plan_id, None)
        self._claimed_ms.pop(exposure.plan_id, None)
        self._settled.add(replace(exposure, settled_epoch=epoch))

    def exposure(self, plan_id: str) -> ClaimedExposure | None:
        """Return what ``plan_id`` has claimed, if anything."""
        return self._under_way.get(plan_id) or self._settled.by_plan.get(plan_id)

    def hold_exit(self, plan_id: str, symbol: str) -> None:
        """Record that a claimed exit is under way on ``symbol``."""
        self._exits[plan_id] = symbol

    def exit_symbols(self) -> frozenset[str]:
        """Return the symbols on which an exit is under way."""
        return frozenset(self._exits.values())

    def has_unsettled(self, symbol: str) -> bool:
        """Whether an order of ours may be under way on ``symbol``."""
        return symbol in self._exits.values() or symbol in [
            claim.leg.symbol for claim in self._under_way.values()
        ]

    def unseen(self, epoch: int) -> tuple[ClaimedExposure, ...]:
        """Return the claims that a reading of ``epoch`` may lack."""
        return (*self._under_way.values(), *self._settled.after(epoch))

    def unseen_margin_usdt(self, account_epoch: int) -> Decimal:
        """Return Σ margin in USDT that an account reading of that epoch may lack."""
        return claimed_margin_usdt(self._under_way.values()) + self._settled.margin_after_usdt(account_epoch)

    def seen_everywhere(self, *epochs: int) -> list[str]:
        """Return settled claims that every reading in use knows: the server may forget them."""
        return self._settled.through(min((*epochs, *self._epochs_in_flight)))

    def forget(self, plan_ids: Iterable[str]) -> None:
        """Forget claims that the server has forgotten."""
        self._settled.forget(set(plan_ids))

    def has_few_unseen(self, epoch: int) -> bool:
        """Whether ``positions_of_claims`` is had for little; in a burst of opens it is not."""
        return len(self._under_way) + len(self._settled.after(epoch)) <= FEW

    def positions_of_claims(self, positions: Positions, epoch: int) -> dict[Leg, Decimal]:
        """Return notional (USDT) of every live leg on a symbol with a claim that ``epoch`` may lack."""
        return positions.notionals_of({claim.leg.symbol for claim in self.unseen(epoch)})

    def rates(self, symbol: str, now_ms: int) -> RateCounts:
        """Return when opens were claimed, of ``symbol`` within an hour and of all within a minute."""
        of_symbol: tuple[int, ...] = ()
        times = self._times_by_symbol.get(symbol)
        if times is not None:
            of_symbol = times.after(now_ms - HOUR_MS)
            if not of_symbol:
                del self._times_by_symbol[symbol]
        return RateCounts(of_symbol, self._times.after(now_ms - MINUTE_MS))


class _SettledClaims:
    """Claims of filled opens in the order of their epochs."""

    def __init__(self) -> None:
        self.by_plan: dict[str, ClaimedExposure] = {}
        self._claims: list[ClaimedExposure] = []
        self._epochs: list[int] = []
        self._margin_through_usdt: list[Decimal] = []
        self._margin_forgotten_usdt = ZERO  # of the claims before the first: the sum goes on from there

    def add(self, claim: ClaimedExposure) -> None:
        """Add a claim; settlements may come back in another order than they were written in."""
        epoch = claim.settled_epoch or 0
        self.by_plan[claim.plan_id] = claim
        in_order = not self._epochs or epoch >= self._epochs[-1]
        self._claims.append(claim)
        if in_order:
            self._sum_up(claim)
        else:
            self._order(self._claims)

    def after(self, epoch: int) -> list[ClaimedExposure]:
        return self._claims[bisect_right(self._epochs, epoch) :]

    def through(self, epoch: int) -> list[str]:
        return [claim.plan_id for claim in self._claims[: bisect_right(self._epochs, epoch)]]

    def margin_after_usdt(self, epoch: int) -> Decimal:
        if not self._claims:
            return ZERO
        known = bisect_right(self._epochs, epoch)
        before = self._margin_through_usdt[known - 1] if known else self._margin_forgotten_usdt
        return self._margin_through_usdt[-1] - before

    def forget(self, plan_ids: set[str]) -> None:
        if plan_ids.isdisjoint(self.by_plan):
            return
        for plan_id in plan_ids:
            self.by_plan.pop(plan_id, None)
        count = len(self._claims) - len(self.by_plan)
        oldest = [claim.plan_id for claim in self._claims[:count]]
        if len(oldest) < len(self._claims) and plan_ids.issuperset(oldest):  # as it is in a burst
            self._margin_forgotten_usdt = self._margin_through_usdt[count - 1]
            del self._claims[:count], self._epochs[:count], self._margin_through_usdt[:count]
        else:
            self._order([claim for claim in self._claims if claim.plan_id not in plan_ids])

    def _order(self, claims: list[ClaimedExposure]) -> None:
        self._claims, self._epochs, self._margin_through_usdt = [], [], []
        self._margin_forgotten_usdt = ZERO
        for claim in sorted(claims, key=lambda one: one.settled_epoch or 0):
            self._claims.append(claim)
            self._sum_up(claim)

    def _sum_up(self, claim: ClaimedExposure) -> None:
        before = self._margin_through_usdt[-1] if self._margin_through_usdt else self._margin_forgotten_usdt
        self._epochs.append(claim.settled_epoch or 0)
        self._margin_through_usdt.append(before + claim.margin_usdt)
