"""Sending the one order of an open: at most one accepted, ever (SPEC 7.3, 7.6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import replace

from quantum_trader.domain.order import Accepted, NotSent, OrderState, Outcome, Rejected, Unknown
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.result import Ended
from quantum_trader.exchange.codes import Refusal as Refused
from quantum_trader.exchange.codes import refusal_of
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.ports import EntryPort
from quantum_trader.pipeline.claim import ClaimStep, Grant
from quantum_trader.pipeline.evidence import Rooms, read_rules_anew
from quantum_trader.pipeline.fate import Fate, fate_of_order
from quantum_trader.pipeline.follow import OrderFollower
from quantum_trader.stores.claims import Refusal

SIGNED_ANEW_WITHIN_MS = 5_000


class OpenSender:
    """Sends a granted open and follows it to its end."""

    def __init__(self, entry: EntryPort, claims: ClaimStep, follower: OrderFollower, rooms: Rooms) -> None:
        self._entry = entry
        self._claims = claims
        self._follower = follower
        self._rooms = rooms

    async def send(self, grant: Grant, outcome_unknown: Callable[[], Awaitable[None]]) -> Fate:
        """Send the granted order once; ``outcome_unknown`` is awaited before a long wait for certainty."""
        attempts: list[dict[str, Any]] = []
        failed = await self._set_leverage(grant)
        if failed is not None:
            return failed
        grant, outcome = await self._send_in_time(grant, attempts)
        if isinstance(outcome, Accepted):
            return fate_of_order(await self._follower.until_final(outcome.order, outcome_unknown), attempts)
        if isinstance(outcome, Rejected):
            await self._learn_from(refusal_of(outcome.code))
            return rejected(outcome, attempts)
        if isinstance(outcome, NotSent):
            return not_sent(outcome.reason, attempts)
        await outcome_unknown()
        return await self.resolve(grant, attempts)

    async def _learn_from(self, refusal: Refused) -> None:
        """Have what the refusal contradicts read anew, for the next plan: this one is not sent again."""
        if refusal is Refused.POSITION_MODE:
            self._rooms.account.doubt()
        elif refusal is Refused.PRECISION:
            await read_rules_anew(self._rooms)

    async def resolve(self, grant: Grant, attempts: list[dict[str, Any]]) -> Fate:
        """Find out what became of an order of unknown outcome; never sends."""
        order = grant.record.order
        found = await self._follower.resolve(order, lambda: self._rooms.ledger[order.leg].position_amt)
        if found is not None:
            return fate_of_order(found, attempts)
        return Fate(Ended.FAILED, Reason.NOT_PLACED.value, attempts=attempts)

    async def _send_in_time(self, grant: Grant, attempts: list[dict[str, Any]]) -> tuple[Grant, Outcome]:
        """Send; after -1021 or -5028, which prove non-execution, sign anew once (SPEC 7.3).

        Not where the order was late indeed, as the engine or Redis stood still: it was judged by what was
        true then.
        """
        outcome = await self._send_once(grant, attempts)
        if not isinstance(outcome, Rejected) or refusal_of(outcome.code) is not Refused.TIME:
            return grant, outcome
        age_ms = abs(self._rooms.clock.now_ms() - grant.record.decided_at_ms)
        if age_ms > SIGNED_ANEW_WITHIN_MS:
            return grant, _given_up(outcome, f"it was judged {age_ms} ms ago")
        if not await self._rooms.server_clock.resync():
            return grant, outcome
        later = replace(grant.record.order, timestamp_ms=self._rooms.server_clock.signing_time_ms())
        amended = await self._claims.amend(grant, later, [])
        if isinstance(amended, Refusal):
            return grant, _given_up(outcome, amended.reason)
        return amended, await self._send_once(amended, attempts)

    async def _send_once(self, grant: Grant, attempts: list[dict[str, Any]]) -> Outcome:
        if grant.claimed is None:
            raise AssertionError("an exit came to the sender of opens")
        if not self._claims.mirror(grant):
            return NotSent("state_dir cannot be written: an order that is not mirrored there is not sent")
        sending = self._entry.open_position(grant.claimed)
        outcome = await self._follower.first_word(sending, grant.record.order)
        self._rooms.keys.order_answered(outcome)
        attempts.append(attempt_record(grant, outcome))
        return outcome

    async def _set_leverage(self, grant: Grant) -> Fate | None:
        wanted, symbol = grant.decision.plan.leverage, grant.record.order.leg.symbol
        if wanted is None or self._rooms.account.leverages.get(symbol) == wanted:
            return None
        positions = self._rooms.account.positions
        if positions is None or positions.value.of_symbol(symbol):
            return _leverage_not_set("the symbol has a position; leverage changes only while flat")
        try:
            await self._entry.set_leverage(symbol, wanted)
        except ExchangeError as failed:
            self._rooms.keys.change_failed(failed)
            self._rooms.account.forget_leverage(symbol)  # it may have been set all the same
            return _leverage_not_set(str(failed))
        self._rooms.account.know_leverage(symbol, wanted)
        return None


def _given_up(outcome: Rejected, why: str) -> Rejected:
    return replace(outcome, message=f"{outcome.message} Not sent again: {why}")


def _leverage_not_set(error: str) -> Fate:
    return Fate(Ended.FAILED, Reason.LEVERAGE_NOT_SET.value, gate="send", error=error, bytes_sent=False)


def rejected(outcome: Rejected, attempts: list[dict[str, Any]], **sums: Any) -> Fate:
    """Return the fate of a definite refusal by the exchange."""
    return Fate(
        Ended.REJECTED,
        Reason.EXCHANGE_REJECTED.value,
        error=f"{outcome.code} {outcome.message}".strip(),
        attempts=attempts,
        rejected_code=outcome.code,
        **sums,
    )


def not_sent(reason: str, attempts: list[dict[str, Any]], **sums: Any) -> Fate:
    """Return the fate of an order of which not one byte left."""
    return Fate(
        Ended.FAILED, Reason.NOT_SENT.value, error=reason, attempts=attempts, bytes_sent=False, **sums
    )


def recovered_record(grant: Grant) -> dict[str, Any]:
    """Return the send of a former life as it stands in the trace: nobody heard its reply."""
    return attempt_record(grant, Unknown("the engine stopped, or lost Redis, before its outcome was known"))


def found_record(order: OrderState) -> dict[str, Any]:
    """Return a send that the exchange alone still tells of, as it stands in the trace."""
    return {
        "client_order_id": order.client_order_id,
        "side": order.side,
        "qty": order.quantity,
        "timestamp": order.created_ms or order.update_time_ms,
        "outcome": Accepted.__name__,
        "order_id": order.order_id,
        "status": order.status,
    }


def attempt_record(grant: Grant, outcome: Outcome) -> dict[str, Any]:
    """Return one send as it stands in the trace."""
    order = grant.record.order
    record: dict[str, Any] = {
        "client_order_id": order.client_order_id,
        "side": order.side,
        "qty": order.quantity,
        "timestamp": order.timestamp_ms,
        "outcome": type(outcome).__name__,
    }
    if isinstance(outcome, Accepted):
        return record | {"order_id": outcome.order.order_id, "status": outcome.order.status}
    if isinstance(outcome, Rejected):
        return record | {"code": outcome.code, "message": outcome.message, "http_status": outcome.http_status}
    return record | {"reason": outcome.reason}
