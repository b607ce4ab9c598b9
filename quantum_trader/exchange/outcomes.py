"""What a reply, or its absence, says about an order: the border to the four outcomes (BINANCE.md 4).

*Unknown is not failed*: an order counts as rejected only on a definite answer, and as not sent only
on proof that no byte left. Everything else is Unknown. Rules, first match first:

1. 2xx with a readable order, and it is ours: Accepted; any other 2xx: Unknown.
2. A text that says the state is unknown, on any status: Unknown.
3. 5xx: Unknown, but for the three texts of HTTP 503 that say the order was not taken (text first,
   then -1008, which has no other meaning).
4. A code that leaves the state open (codes.py): Unknown.
5. 4xx that is known to refuse, or 4xx with a listed code: Rejected. Anything else: Unknown.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from dataclasses import dataclass

from quantum_trader.domain.order import Accepted, ExitOrder, NotSent, OpenOrder, Outcome, Rejected, Unknown
from quantum_trader.exchange.codes import Refusal, refusal_of
from quantum_trader.exchange.endpoints import NEW_ORDER
from quantum_trader.exchange.errors import ExchangeError, ExchangeUnreachable, HeldBack, ReplyUnreadable
from quantum_trader.exchange.order_replies import order_state_in
from quantum_trader.exchange.replies import Complaint, Reply, complaint_of

_REFUSING_STATUSES = frozenset({400, 401, 403, 404, 405, 413, 414, 415, 418, 429, 431, 451})
_CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 600)
_TIMED_OUT, _UNAVAILABLE = 408, 503
_THROTTLED = -1008
_ENDPOINT = str(NEW_ORDER)


@dataclass(frozen=True, slots=True)
class _DefiniteText:
    """A text of HTTP 503 that proves the order was not taken, and the code it stands for."""

    pattern: re.Pattern[str]
    code: int


_DEFINITE_TEXTS = (
    _DefiniteText(re.compile(r"(503 )?service unavailable\."), 0),
    _DefiniteText(re.compile(r"internal error; unable to process your request\b.*"), -1001),
    _DefiniteText(re.compile(r"request throttled by system-level protection\b.*"), _THROTTLED),
)
_UNKNOWN_TEXTS = (
    "unknown error, please check your request or try again later",
    "request occur unknown error",
    "execution status unknown",
)


async def outcome_of_sending(sending: Awaitable[Reply], order: OpenOrder | ExitOrder) -> Outcome:
    """Await ``sending`` and say what became of ``order``. Raises nothing the exchange can cause."""
    try:
        reply = await sending
    except ExchangeError as error:
        return outcome_of_failure(error)
    return outcome_of_reply(reply, order)


def outcome_of_failure(error: ExchangeError) -> NotSent | Unknown:
    """Return NotSent where no byte can have left, else Unknown."""
    if isinstance(error, HeldBack):
        return NotSent(error.reason)
    if isinstance(error, ExchangeUnreachable) and not error.may_have_been_sent:
        return NotSent(error.reason)
    return Unknown(error.reason)


def outcome_of_reply(reply: Reply, order: OpenOrder | ExitOrder) -> Accepted | Rejected | Unknown:
    """Return what ``reply`` says about ``order``."""
    if reply.is_success:
        return _outcome_of_success(reply, order)
    return outcome_of_complaint(reply.status, complaint_of(reply.body))


def outcome_of_complaint(http_status: int, complaint: Complaint) -> Rejected | Unknown:
    """Return what an error says about the order it answers; shared by every way of sending orders."""
    texts = [phrase.lower() for phrase in complaint.phrases]
    if any(unknown in text for text in texts for unknown in _UNKNOWN_TEXTS):
        return _unknown(http_status, complaint)
    if http_status in _SERVER_ERRORS:
        return _outcome_of_server_error(http_status, complaint, texts)
    if http_status == _TIMED_OUT or refusal_of(complaint.code) is Refusal.UNSETTLED:
        return _unknown(http_status, complaint)
    listed = http_status in _CLIENT_ERRORS and refusal_of(complaint.code) is not Refusal.UNLISTED
    if listed or http_status in _REFUSING_STATUSES:
        return _rejected(http_status, complaint, complaint.code)
    return _unknown(http_status, complaint)


def _outcome_of_success(reply: Reply, order: OpenOrder | ExitOrder) -> Accepted | Unknown:
    try:
        state = order_state_in(_ENDPOINT, reply.body)
    except ReplyUnreadable as error:
        return Unknown(f"HTTP {reply.status}, {error.reason}")
    if (state.client_order_id, state.leg, state.side) != (order.client_order_id, order.leg, order.side):
        return Unknown(f"HTTP {reply.status}, the reply is about another order: {state.client_order_id}")
    return Accepted(state)


def _outcome_of_server_error(http_status: int, complaint: Complaint, texts: list[str]) -> Rejected | Unknown:
    if http_status != _UNAVAILABLE:
        return _unknown(http_status, complaint)
    for definite in _DEFINITE_TEXTS:
        if any(definite.pattern.fullmatch(text) for text in texts):
            return _rejected(http_status, complaint, complaint.code or definite.code)
    if complaint.code == _THROTTLED:
        return _rejected(http_status, complaint, _THROTTLED)
    return _unknown(http_status, complaint)


def _rejected(http_status: int, complaint: Complaint, code: int) -> Rejected:
    return Rejected(code, complaint.message or f"HTTP {http_status}", http_status)


def _unknown(http_status: int, complaint: Complaint) -> Unknown:
    said = f" code {complaint.code}" if complaint.code else ""
    return Unknown(f"HTTP {http_status}{said} {complaint.message}".rstrip())
