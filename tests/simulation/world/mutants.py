"""Planted bugs: the engine with one guard taken out. Each must be found, or the simulation is too weak.

A mutant is a name, what was done, and a context in which it is done: methods replaced, or lines of
the Lua scripts. A line that is not there any more fails loudly: the mutant has to follow the code.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace
from simulation.world import redis_lua

from quantum_trader.domain.facts import PlanHistory
from quantum_trader.domain.order import OrderState, OrderStatus, Unknown
from quantum_trader.domain.plan import Action, Plan
from quantum_trader.domain.result import Ended
from quantum_trader.exchange import exit_port
from quantum_trader.gates.kill_score import KillScore
from quantum_trader.gates.kill_switch import KillSwitch
from quantum_trader.gates.latches import LatchedStops
from quantum_trader.gates.position_sanity import PositionSanity
from quantum_trader.housekeeping import Housekeeping
from quantum_trader.pipeline import intake
from quantum_trader.pipeline.consumer import Consumer
from quantum_trader.pipeline.exits import ExitSender, Progress
from quantum_trader.pipeline.follow import OrderFollower
from quantum_trader.pipeline.lanes import Lane, SymbolLanes
from quantum_trader.pipeline.look_back import LookBack, Seen
from quantum_trader.pipeline.opens import OpenSender, not_sent
from quantum_trader.pipeline.reconcile import Reconciler
from quantum_trader.pipeline.recover import Recovery
from quantum_trader.pipeline.rotation import RotationSaga
from quantum_trader.pipeline.runner import PlanRunner
from quantum_trader.positions.claim_book import ClaimBook
from quantum_trader.positions.live import LiveAccount
from quantum_trader.stores.keys import GROUP
from quantum_trader.stores.lease import Lease

Patches = Callable[[ExitStack], None]


@dataclass(frozen=True)
class Mutant:
    """One planted bug."""

    name: str
    what: str
    patches: Patches

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the bug in the engine."""
        with ExitStack() as stack:
            self.patches(stack)
            yield


def _method(owner: Any, name: str, stand_in: Any) -> Patches:
    return lambda stack: stack.enter_context(patch.object(owner, name, stand_in))


def _scripts() -> list[str]:
    folder = files("quantum_trader.stores") / "scripts"
    return [entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".lua")]


def _lua(header: str, *changes: tuple[str, str]) -> Patches:
    """Replace text in the script that begins with ``-- <header>:``, which has to be there."""

    def change(stack: ExitStack) -> None:
        before = redis_lua.edited

        def edited(text: str) -> str:
            text = before(text)
            if text.startswith(f"-- {header}:"):
                for old, new in changes:
                    text = text.replace(old, new)
            return text

        (script,) = [text for text in _scripts() if text.startswith(f"-- {header}:")]
        for old, _ in changes:
            assert old in script, f"{header}: the mutant's line is gone: {old}"

        stack.enter_context(patch.object(redis_lua, "edited", edited))

    return change


def _all(*patches: Patches) -> Patches:
    def apply(stack: ExitStack) -> None:
        for one in patches:
            one(stack)

    return apply


# -- what the mutants do instead


@asynccontextmanager
async def _no_lane(self: SymbolLanes, symbol: str, wait_s: float | None = None) -> AsyncIterator[Lane]:
    lane = Lane(asyncio.Lock())
    await lane.take()
    yield lane


_send_in_time = OpenSender._send_in_time
_run_plan = Consumer._run_plan
_settled = ClaimBook.settled
_write_status = Housekeeping.write_status


async def _send_again(self: OpenSender, grant: Any, attempts: Any) -> Any:
    grant, outcome = await _send_in_time(self, grant, attempts)
    if isinstance(outcome, Unknown):
        return await _send_in_time(self, grant, attempts)
    return grant, outcome


async def _unknown_is_failed(self: OpenSender, grant: Any, attempts: Any) -> Any:
    return not_sent("no answer", attempts)


async def _new_is_filled(self: OrderFollower, order: OrderState, *_: Any) -> OrderState:
    price = order.avg_price or Decimal(1)
    return replace(order, status=OrderStatus.FILLED, executed_quantity=order.quantity, avg_price=price)


async def _explained_by_nothing(self: OrderFollower, *_: Any) -> bool:
    return True


async def _acknowledged_first(self: Consumer, plan: Plan, operator: Any, **options: Any) -> None:
    await self._stream._redis.xack(self._stream._keys.plans, GROUP, plan.stream_id)
    await _run_plan(self, plan, operator, **options)


async def _nothing(*_: Any, **__: Any) -> None:
    """A guard that is not there."""


async def _flat_at_once(self: RotationSaga, rotation: Any) -> bool:
    return True


async def _as_last_read(self: ExitSender, progress: Progress) -> Decimal | None:
    reading = self._rooms.account.positions
    return reading.value.amount(progress.grant.record.order.leg) if reading is not None else None


def _counted_when_settled(self: ClaimBook, exposure: Any, epoch: int) -> None:
    _settled(self, exposure, epoch)
    self.count_rate(exposure.leg.symbol, exposure.plan_id, 0)


def _added_uncounted(self: ClaimBook, exposure: Any, claimed_ms: int) -> None:
    self._under_way[exposure.plan_id] = exposure


def _without_reduce_only(order: Any, window_ms: int) -> Any:
    return tuple(pair for pair in _exit_params(order, window_ms) if pair[0] != "reduceOnly")


async def _the_rest_again(self: OpenSender, grant: Any, outcome_unknown: Any) -> Any:
    fate = await _send(self, grant, outcome_unknown)
    if fate.ended is Ended.PARTIALLY_FILLED:
        await self._send_once(grant, fate.attempts)
    return fate


async def _unchecked(self: LookBack, plan: Plan, until_ms: int) -> Seen:
    return Seen(history=PlanHistory())


def _never_expired(self: PlanRunner, *_: Any, **__: Any) -> None:
    """Every plan is young."""


def _false_if_absent(fields: Any, *, closes: bool, notes: list[str]) -> bool:
    words = {**fields, "reduceOnly": fields.get("reduceOnly") or "false"}
    return _reduce_only(words, closes=closes, notes=notes)


def _all_of_it(action: Action) -> Decimal | None:
    return Decimal(1) if _close_fraction(action) is not None else None


_close_fraction = Action.close_fraction.fget
_exit_params = exit_port.exit_params
_send = OpenSender.send
_reduce_only = intake._reduce_only


async def _status_and_start_again(self: Housekeeping) -> None:
    await self._joined.database.client.delete(self._keys.kill)
    await _write_status(self)


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "no_lock",
        "nothing keeps two orders of one symbol apart",
        _all(
            _method(SymbolLanes, "hold", _no_lane),
            _method(ClaimBook, "has_unsettled", lambda self, symbol: False),
            _lua(
                "Claim",
                ("if holder and holder ~= plan_id and", "if false and"),
                ("if in_flight then", "if false then"),
            ),
        ),
    ),
    Mutant(
        "resend_on_timeout",
        "an open of unknown outcome is sent again",
        _method(OpenSender, "_send_in_time", _send_again),
    ),
    Mutant(
        "unknown_is_failed",
        "an open of unknown outcome ends as not sent",
        _method(OpenSender, "resolve", _unknown_is_failed),
    ),
    Mutant(
        "new_is_filled",
        "an accepted order counts as filled",
        _method(OrderFollower, "until_final", _new_is_filled),
    ),
    Mutant(
        "kill_not_claimed",
        "the claim does not look at the kill switch",
        _lua("Claim", ("if kill == '1' or (is_open and kill and kill ~= '0') then", "if false then")),
    ),
    Mutant(
        "claim_kept",
        "settling does not release the claim of a plan that filled nothing",
        _lua(
            "Settle",
            ("    gone = sure('HDEL', claims, plan_id)\n", ""),
            ("if from then sums", "if false then sums"),
        ),
    ),
    Mutant(
        "rate_counted_late",
        "an open is counted against the rates when it is settled, not when it is claimed",
        _all(
            _method(ClaimBook, "add", _added_uncounted),
            _method(ClaimBook, "settled", _counted_when_settled),
            _lua(
                "Claim",
                ("redis.call('ZADD', rate_symbol, ARGV[4], plan_id)", ""),
                ("redis.call('ZADD', rate_global, ARGV[4], plan_id)", ""),
            ),
        ),
    ),
    Mutant(
        "no_fencing",
        "an engine that lost the lease goes on claiming",
        _all(
            _method(Lease, "is_held", True),
            _lua("Claim", ("if held[LEASE] ~= ARGV[1] then", "if false then")),
        ),
    ),
    Mutant(
        "not_found_is_proof",
        "an order that a query does not find counts as never placed",
        _all(
            _method(OrderFollower, "_fence_ms", lambda self, order: 0),
            _method(OrderFollower, "_is_proven", lambda self, agreeing, agreed_for_ms: True),
            _method(OrderFollower, "_nothing_shows", _explained_by_nothing),
        ),
    ),
    Mutant(
        "acknowledged_first",
        "a plan is acknowledged before its result",
        _method(Consumer, "_run_plan", _acknowledged_first),
    ),
    Mutant(
        "settled_twice",
        "settling does not look at the state of the plan",
        _lua("Settle", ("elseif state ~= ARGV[3] then", "elseif false then")),
    ),
    Mutant(
        "exit_forgets_fills",
        "the next order of an exit is sized as if the former had filled nothing",
        _all(
            _method(Progress, "remaining", property(lambda self: self.asked)),
            _method(ExitSender, "_live_amount", _as_last_read),
        ),
    ),
    Mutant(
        "exit_can_open",
        "an exit goes out without reduceOnly",
        _method(exit_port, "exit_params", _without_reduce_only),
    ),
    Mutant(
        "no_epoch",
        "a filled open releases its claim before a reading shows its position",
        _all(
            _method(ClaimBook, "settled", lambda self, exposure, epoch: self.release(exposure.plan_id)),
            _method(LiveAccount, "_apply_fill", lambda self, order, mark: None),
            _lua(
                "Settle",
                (
                    "redis.call('HSET', claims, plan_id, dated(claim))",
                    "redis.call('HDEL', claims, plan_id)",
                ),
            ),
        ),
    ),
    Mutant(
        "no_recovery",
        "claims of a former life are left alone",
        _method(Recovery, "finish", _nothing),
    ),
    Mutant(
        "rotation_before_flat",
        "a rotation goes on before the exchange shows the leg flat",
        _method(RotationSaga, "_wait_until_flat", _flat_at_once),
    ),
    Mutant(
        "latches_not_claimed",
        "the claim does not look at the latches",
        _lua(
            "Claim",
            ("if held[SAFE_MODE] then", "if false then"),
            ("if held[COOLDOWN_GLOBAL] then", "if false then"),
            ("if held[COOLDOWN_SYMBOL] then", "if false then"),
        ),
    ),
    Mutant(
        "caps_not_claimed",
        "the caps are judged by the gates and not taken in the claim: check, then act",
        _lua(
            "Claim",
            ("elseif positions_room and", "elseif false and"),
            ("elseif notional_room and", "elseif false and"),
            ("elseif slots_room and", "elseif false and"),
        ),
    ),
    Mutant(
        "exits_cool_down",
        "the latches of entries bind exits",
        _method(LatchedStops, "judges_exits", True),
    ),
    Mutant(
        "kill_cleared",
        "a health check clears the operator's kill switch",
        _method(Housekeeping, "write_status", _status_and_start_again),
    ),
    Mutant(
        "ledger_not_reconciled",
        "the ledger does not take over the exchange's truth",
        _method(Reconciler, "_adopt", _nothing),
    ),
    Mutant(
        "rest_sent_again",
        "an open that was filled in part is sent again",
        _method(OpenSender, "send", _the_rest_again),
    ),
    Mutant(
        "redelivered_unchecked",
        "the exchange is not asked for the order of a redelivered plan",
        _method(LookBack, "at_the_exchange", _unchecked),
    ),
    Mutant(
        "state_not_claimed",
        "the claim does not look at the state of the plan id",
        _lua("Claim", ("if state ~= ARGV[8] then", "if false then")),
    ),
    Mutant(
        "disarm_ignored",
        "neither the gate nor the claim looks at a disarm",
        _all(
            _method(KillSwitch, "_judge_open", lambda self, case, kill: self.passes(kill=kill)),
            _lua("Claim", ("if is_open and held[DISARMED] then", "if false then")),
        ),
    ),
    Mutant(
        "partial_is_full",
        "every close action closes all",
        _method(Action, "close_fraction", property(_all_of_it)),
    ),
    Mutant(
        "absent_is_false",
        "a plan without reduceOnly is taken for an open",
        _method(intake, "_reduce_only", _false_if_absent),
    ),
    Mutant(
        "backlog_traded",
        "plans are traded however old they are",
        _method(PlanRunner, "_expired", _never_expired),
    ),
    Mutant(
        "score_binds_exits",
        "a critical kill score blocks exits",
        _method(KillScore, "judges_exits", True),
    ),
    Mutant(
        "hold_binds_exits",
        "the rules of position_sanity for opens, a reconcile hold among them, bind exits",
        _method(PositionSanity, "judges_exits", True),
    ),
)

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
