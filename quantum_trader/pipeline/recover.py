"""After a crash, or a lost reply: settle with the exchange what is claimed (SPEC 7.8).

Each claimed plan is finished on what was stored of it before anything was sent. Nothing new is
decided about it: an open is only asked for; an exit goes on to its effect, up to its own deadline.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import count

import structlog
from msgspec.structs import replace

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.decision import Decision
from quantum_trader.domain.intention import Effect, Intention
from quantum_trader.domain.order import OrderState, client_order_id
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.verdict import Verdict
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.ports import AccountReads
from quantum_trader.pipeline.claim import Grant
from quantum_trader.pipeline.evidence import Rooms
from quantum_trader.pipeline.intake import read_entry
from quantum_trader.pipeline.judging import Steps
from quantum_trader.pipeline.opens import recovered_record
from quantum_trader.pipeline.plan_orders import LOOK_BACK_MS, filled_numbers, says_no_symbol
from quantum_trader.pipeline.rules import RulesInForce
from quantum_trader.pipeline.runner import PlanRunner
from quantum_trader.positions.live import READS_LAG_S
from quantum_trader.stores.claims import ClaimStore, PlanRecord
from quantum_trader.stores.codec import decode
from quantum_trader.stores.mirror import Mirror
from quantum_trader.stores.operator_state import OperatorState

RETRY_PAUSE_S = 1.0
ASKED_AGAIN_S = 0.5

log = structlog.get_logger()


class Recovery:
    """Finishes claimed plans that this process did not claim, or does not know to have claimed."""

    def __init__(
        self,
        runner: PlanRunner,
        steps: Steps,
        account: AccountReads,
        rooms: Rooms,
        *,
        rules: RulesInForce,
        clock: Clock,
    ) -> None:
        self._runner = runner
        self._steps = steps
        self._account = account
        self._rooms = rooms
        self._rules = rules
        self._clock = clock

    def obey(self, operator: OperatorState) -> None:
        """Send nothing any more where an operator wants it."""
        self._rules.obey(operator)

    async def finish(self, record: PlanRecord) -> None:
        """Bring the claimed plan of ``record`` to its one result."""
        plan = read_entry(
            record.stream_id, {name.encode(): value.encode() for name, value in record.fields.items()}
        )
        if not isinstance(plan, Plan):
            raise TypeError(f"claimed plan {record.plan_id} cannot be read back")
        log.warning("plan_recovered", plan_id=record.plan_id, client_order_id=record.order.client_order_id)
        record = await self._as_far_as_it_got(record, plan.stream_ms) if record.is_exit else record
        grant = Grant(record, _decision_of(plan, record))

        async def outcome_unknown() -> None:
            await self._runner.unlock(grant)

        await outcome_unknown()  # exits of the symbol do not wait for what became of it (SPEC 5)
        if record.is_exit:
            self._rooms.book.hold_exit(record.plan_id, record.order.leg.symbol)
            fate = await self._steps.exits.send(
                grant,
                record.asked,
                record.decided_at_ms + self._rules.ages.exit_ms,
                outcome_unknown,
                earlier=await self._earlier_orders(record),
                settle_first=True,
                sends=self._rules.sends_orders,
            )
        else:
            fate = await self._steps.opens.resolve(grant, [recovered_record(grant)])
        await self._runner.finish(grant, plan, fate, record.decided_at_ms)

    async def _as_far_as_it_got(self, record: PlanRecord, delivered_ms: int) -> PlanRecord:
        """Return the record of an exit with every order of it that was sent: Redis may have lost the newest.

        ``state_dir`` names those that were sent on this machine, the exchange those that filled.
        """
        order = record.order
        known = {*await self._filled_numbers(record, delivered_ms), *self._numbers_sent(record)}
        newer = sorted(number for number in known if number > order.number)
        if not newer:
            return record
        *earlier, last = (client_order_id(record.plan_id, number) for number in newer)
        no_later_ms = min(order.timestamp_ms, delivered_ms - LOOK_BACK_MS)  # whatever bears its name is it
        return replace(
            record,
            order=replace(order, client_order_id=last, number=newer[-1], timestamp_ms=no_later_ms),
            settled_orders=[*record.settled_orders, order.client_order_id, *earlier],
        )

    def _numbers_sent(self, record: PlanRecord) -> Iterator[int]:
        """Yield the numbers after the stored order's that ``state_dir`` knows."""
        for number in count(record.order.number + 1):
            if self._rooms.sent_orders_ms.get(client_order_id(record.plan_id, number)) is None:
                return
            yield number

    async def _filled_numbers(self, record: PlanRecord, delivered_ms: int) -> list[int]:
        """Return the numbers of the exit's orders that filled since its plan came, asked for until told.

        Not since the stored order's time: our clock may have been wrong when that was written.
        """
        order, since_ms = record.order, delivered_ms - LOOK_BACK_MS
        while True:
            try:
                return await filled_numbers(self._account, order.leg.symbol, record.plan_id, since_ms)
            except ExchangeError as failed:
                if says_no_symbol(failed):
                    return []
                log.warning("order_query_failed", client_order_id=order.client_order_id, error=str(failed))
            await self._clock.sleep(RETRY_PAUSE_S)

    async def _earlier_orders(self, record: PlanRecord) -> list[OrderState]:
        """Return the settled orders of an exit, asked for until the exchange answers.

        One that is not found at first may have ended a moment ago: queries lag.
        """
        found: list[OrderState] = []
        lag_until_s = self._clock.monotonic_s() + READS_LAG_S
        for name in record.settled_orders:
            order = await self._ask(record.order.leg.symbol, name)
            while order is None and self._clock.monotonic_s() < lag_until_s:
                await self._clock.sleep(ASKED_AGAIN_S)
                order = await self._ask(record.order.leg.symbol, name)
            if order is not None:
                found.append(order)
        return found

    async def _ask(self, symbol: str, client_order_id: str) -> OrderState | None:
        while True:
            try:
                return await self._account.order(symbol, client_order_id)
            except ExchangeError as failed:
                if says_no_symbol(failed):
                    return None
                log.warning("order_query_failed", client_order_id=client_order_id, error=str(failed))
            await self._clock.sleep(RETRY_PAUSE_S)


async def restore(mirror: Mirror, claims: ClaimStore, lease_value: str, now_ms: int) -> None:
    """Put back what Redis has lost of plans that may have sent an order (INC-18).

    Raises:
        RedisError: it does not answer; what was put back is found there by the next call.
    """
    for held in mirror.unsettled:
        plan_id = held.record.plan_id
        state = await claims.restore(lease_value, held.record, held.claim)
        if state == "terminal":
            mirror.settle(plan_id, now_ms)
        elif state != "claimed":
            log.critical("plan_not_restored", plan_id=plan_id, state=state)


def _decision_of(plan: Plan, record: PlanRecord) -> Decision:
    intention = Intention(
        leg=record.order.leg,
        is_exit=record.is_exit,
        side=record.order.side,
        effect=Effect(record.effect) if record.effect else None,
        quantity=Decimal(record.asked),
    )
    return Decision(
        plan=plan,
        intention=intention,
        verdicts=tuple(Verdict.from_record(verdict) for verdict in decode(record.verdicts)),
        decided_at_ms=record.decided_at_ms,
        config_hash=record.config_hash,
        quantity=record.asked,
    )
