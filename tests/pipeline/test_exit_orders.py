"""The next order of an exit: what may stand in its way for a while, and for how long (SPEC 7.6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from support.cases import NOW_MS, leg, position, positions
from support.values import replace

from quantum_trader.domain.evidence import Reading
from quantum_trader.domain.order import (
    Accepted,
    ExitOrder,
    OrderState,
    OrderStatus,
    Outcome,
    Rejected,
    client_order_id,
)
from quantum_trader.domain.trading import Side
from quantum_trader.pipeline.claim import ClaimStep, Grant
from quantum_trader.pipeline.exits import ExitSender, Progress
from quantum_trader.pipeline.fate import Fate
from quantum_trader.positions.live import SizedBy
from quantum_trader.stores.claims import PlanRecord, Refusal, StoredOrder

FIRST = StoredOrder(leg(), Side.SELL, Decimal(5), client_order_id("exit"), NOW_MS)
RECORD = PlanRecord("exit", "1-0", "hash", {}, True, "CLOSE", Decimal(5), FIRST, 1, "config-1", NOW_MS)
IN_FLIGHT = Refusal("claim", "symbol_in_flight")
NOT_LEADER = Refusal("kill_switch", "not_leader")
KILLED = Refusal("kill_switch", "kill_switch_active")


class SteppedClock:
    """Time that passes by sleeping."""

    at_ms = NOW_MS

    def now_ms(self) -> int:
        return self.at_ms

    async def sleep(self, duration_s: float) -> None:
        self.at_ms += round(duration_s * 1000)


class Store:
    """Answers ``amend`` with one refusal after another, and then with none."""

    def __init__(self, *refusals: Refusal) -> None:
        self.refusals = list(refusals)
        self.stored: list[PlanRecord] = []

    async def amend(self, lease_value: str, record: PlanRecord, **_: Any) -> Refusal | None:
        if self.refusals:
            return self.refusals.pop(0)
        self.stored.append(record)
        return None


class Lease:
    value = "engine-1"

    def __init__(self, holder: str = "") -> None:
        self.holder = holder

    async def renew(self) -> str:
        return self.holder


def rooms_with(lease: Lease) -> Any:
    live = positions(position(10))

    async def refreshed() -> None:
        """The position is what it is."""

    return SimpleNamespace(
        clock=SteppedClock(),
        lease=lease,
        market=SimpleNamespace(rules_of=lambda symbol: None),
        server_clock=SimpleNamespace(signing_time_ms=lambda: NOW_MS),
        account=SimpleNamespace(
            refresh_positions=refreshed,
            shown=live,
            positions=Reading(live, NOW_MS, "test"),
            sized_by=lambda leg: SizedBy(live.amount(leg), NOW_MS),
            outruns_reads=lambda leg: False,
        ),
    )


async def stored(store: Store, lease: Lease, deadline_ms: int = NOW_MS + 60_000) -> tuple[bool, int]:
    """Ask for the next order; return whether there is one to send, and how long that took."""
    rooms = rooms_with(lease)
    claims = ClaimStep(store, rooms, rules=None)  # type: ignore[arg-type]
    sender = ExitSender(None, claims, None, rooms, rooms.clock)  # type: ignore[arg-type]
    progress = Progress(Decimal(5), Grant(RECORD, None), deadline_ms)  # type: ignore[arg-type]
    has_one = await sender._next_order(progress)
    return has_one, rooms.clock.at_ms - NOW_MS


async def test_the_rest_of_an_exit_waits_for_one_that_took_the_symbol_meanwhile() -> None:
    store = Store(*[IN_FLIGHT] * 4)
    assert await stored(store, Lease()) == (True, 200 + 400 + 800 + 1_600)
    assert [record.order for record in store.stored] == [
        replace(
            FIRST,
            client_order_id=client_order_id("exit", 1),
            number=1,
            position_amt=Decimal(10),
            position_ms=NOW_MS,
        )
    ]


async def test_it_waits_up_to_its_deadline_and_no_longer() -> None:
    has_one, took_ms = await stored(Store(*[IN_FLIGHT] * 100), Lease(), NOW_MS + 8_000)
    assert not has_one
    assert 8_000 <= took_ms < 8_000 + 5_000


@pytest.mark.parametrize(("hedge_mode", "ended"), [(False, "SKIPPED"), (True, "REJECTED")])
def test_a_leg_that_cannot_be_in_the_accounts_mode_is_not_told_as_flat(hedge_mode: bool, ended: str) -> None:
    rooms = rooms_with(Lease())
    rooms.account.shown = positions(hedge_mode=hedge_mode)
    progress = Progress(Decimal(5), Grant(RECORD, None), NOW_MS)  # type: ignore[arg-type]
    progress.amount, progress.last_refusal = Decimal(0), Rejected(-4061, "does not match", 400)
    sender = ExitSender(None, None, None, rooms, rooms.clock)  # type: ignore[arg-type]
    assert sender._sum_up(progress).ended.value == ended


@pytest.mark.parametrize("lost", [0, 1])
async def test_the_rest_of_an_exit_takes_back_a_lease_that_ran_out(lost: int) -> None:
    assert await stored(Store(*[NOT_LEADER] * lost), Lease()) == (True, 0)


@pytest.mark.parametrize("refusal", [NOT_LEADER, KILLED])
async def test_another_engines_lease_and_a_kill_end_it(refusal: Refusal) -> None:
    assert await stored(Store(refusal), Lease("engine-2")) == (False, 0)


async def test_a_mode_that_sends_nothing_only_asks_what_became_of_an_exit() -> None:
    rooms, follower = rooms_with(Lease()), Follower()
    rooms.ledger = {leg(): SimpleNamespace(position_amt=Decimal(10))}
    sender = ExitSender(None, None, follower, rooms, rooms.clock)  # type: ignore[arg-type]
    grant = Grant(RECORD, None)  # type: ignore[arg-type]
    fate = await sender.send(grant, Decimal(5), NOW_MS + 60_000, nothing, settle_first=True, sends=False)
    assert follower.asked == [FIRST]
    assert (fate.ended.value, fate.reason) == ("FAILED", "not_sent")
    assert "this mode sends no order" in fate.error


class Follower:
    """No query finds the order."""

    def __init__(self) -> None:
        self.asked: list[StoredOrder] = []

    async def resolve(self, order: StoredOrder, ledger_amount: Any) -> None:
        self.asked.append(order)


async def nothing() -> None:
    """Nobody waits."""


class Market:
    """An exit port that answers one order after another, and the follower that asks nothing more."""

    def __init__(self, clock: SteppedClock, answers: Callable[[ExitOrder], Outcome]) -> None:
        self._clock = clock
        self._answers = answers
        self.sent_ms: list[int] = []
        self.cancelled_ms: dict[str, int] = {}

    async def reduce_position(self, order: ExitOrder) -> Outcome:
        self.sent_ms.append(self._clock.at_ms - NOW_MS)
        return self._answers(order)

    async def first_word(self, sending: Awaitable[Outcome], _: StoredOrder) -> Outcome:
        return await sending

    async def until_final(self, order: OrderState, _: Any) -> OrderState:
        return order

    async def cancel_open_orders(self, symbol: str) -> None:
        self.cancelled_ms[symbol] = self._clock.at_ms - NOW_MS

    async def cancel_conditional_orders(self, symbol: str) -> None:
        self.cancelled_ms[f"conditional {symbol}"] = self._clock.at_ms - NOW_MS


def ended_as(*ends: tuple[OrderStatus, int]) -> Callable[[ExitOrder], Outcome]:
    """Answer with one status and executed quantity after another, and go on with the last."""
    left = list(ends)

    def answer(order: ExitOrder) -> Outcome:
        status, executed = left.pop(0) if len(left) > 1 else left[0]
        return Accepted(
            OrderState(
                leg=order.leg,
                side=order.side,
                order_id=7,
                client_order_id=order.client_order_id,
                status=status,
                quantity=order.quantity,
                executed_quantity=Decimal(executed),
                avg_price=None,
                update_time_ms=NOW_MS,
            )
        )

    return answer


async def sent(answers: Callable[[ExitOrder], Outcome], deadline_s: int) -> tuple[Fate, Market]:
    rooms = rooms_with(Lease())
    rooms.mirror = SimpleNamespace(keep=lambda record, claim: None)
    rooms.book = SimpleNamespace(exposure=lambda plan_id: None)
    rooms.keys = SimpleNamespace(order_answered=lambda outcome: None)
    market = Market(rooms.clock, answers)
    sender = ExitSender(market, ClaimStep(Store(), rooms, None), market, rooms, rooms.clock)  # type: ignore[arg-type]
    grant = Grant(RECORD, None)  # type: ignore[arg-type]
    fate = await sender.send(grant, Decimal(5), NOW_MS + deadline_s * 1000, nothing)
    return fate, market


async def test_orders_that_the_market_takes_nothing_of_are_spread_over_the_time_an_exit_has() -> None:
    fate, market = await sent(ended_as((OrderStatus.EXPIRED, 0)), 300)
    assert (fate.ended.value, fate.reason, fate.error) == ("REJECTED", "no_fill", "EXPIRED")
    assert market.sent_ms[:5] == [0, 200, 600, 1_400, 3_000]
    assert market.sent_ms[-1] > 290_000


async def test_a_fill_lets_the_rest_follow_at_once() -> None:
    answers = ended_as((OrderStatus.EXPIRED, 0), (OrderStatus.EXPIRED, 2), (OrderStatus.FILLED, 3))
    fate, market = await sent(answers, 300)
    assert (fate.ended.value, market.sent_ms) == ("FILLED", [0, 200, 200])


async def test_inc_30_resting_orders_that_hold_the_position_go_once_it_cannot_just_be_gone() -> None:
    fate, market = await sent(lambda order: Rejected(-2022, "ReduceOnly Order is rejected.", 400), 8)
    assert (fate.ended.value, market.sent_ms) == ("REJECTED", [0, 200, 600, 1_400, 3_000, 6_200])
    symbol = leg().symbol
    assert market.cancelled_ms == {symbol: 3_000, f"conditional {symbol}": 6_200}
