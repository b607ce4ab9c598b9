"""The few ways in which the exchange fails to answer a read or to confirm a change.

Orders never raise these: they return an ``Outcome`` (outcomes.py). Bodies and headers are kept
whole; the transport has taken key and signature out of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from quantum_trader.exchange.codes import Refusal, refusal_of
from quantum_trader.exchange.replies import Reply, complaint_of

if TYPE_CHECKING:
    from quantum_trader.exchange.weight import Throttle

_UNAUTHORIZED = 401
_SERVER_ERRORS = range(500, 600)
_KEY_CODES = frozenset({-1002, -1022, -2014, -2015, -2017, -4056, -4057})
_KEY_ADVICE = (
    "check that the key has futures permission, that this machine's IP is on its allowlist, "
    "and that it is not a testnet key on the live exchange or the other way round"
)
_SIGNATURE_ADVICE = "the secret does not belong to the key, or is of another kind (HMAC, Ed25519, RSA)"
_SIGNATURE_INVALID = -1022


class ExchangeError(Exception):
    """The exchange gave no usable answer; ``endpoint`` is the method and path that was asked."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"{endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason


class HeldBack(ExchangeError):
    """The request was not sent: its share of the rate limits is used up, or a ban is running."""

    def __init__(self, endpoint: str, reason: str, *, retry_after_s: float) -> None:
        super().__init__(endpoint, f"held back: {reason}")
        self.retry_after_s = retry_after_s


class ExchangeUnreachable(ExchangeError):
    """The connection failed. ``may_have_been_sent`` is False only where no byte can have left."""

    def __init__(self, endpoint: str, reason: str, *, may_have_been_sent: bool) -> None:
        super().__init__(endpoint, reason)
        self.may_have_been_sent = may_have_been_sent


class ReplyUnreadable(ExchangeError):
    """A reply lacks ``field``, or holds something there that cannot be it."""

    def __init__(self, endpoint: str, field: str, problem: str) -> None:
        super().__init__(endpoint, f"unreadable reply: {field}: {problem}")
        self.field = field


class ExchangeRefused(ExchangeError):
    """The exchange answered with an error; ``code`` is 0 where the body carried none."""

    def __init__(self, endpoint: str, reply: Reply, advice: str = "") -> None:
        complaint = complaint_of(reply.body)
        said = f"HTTP {reply.status} code {complaint.code} {complaint.message}".rstrip()
        super().__init__(endpoint, f"{said} ({advice})" if advice else said)
        self.code = complaint.code
        self.message = complaint.message
        self.http_status = reply.status
        self.body = reply.body
        self.headers: Mapping[str, str] = reply.headers

    @property
    def refusal(self) -> Refusal:
        """What the code means."""
        return refusal_of(self.code)

    @property
    def may_be_asked_again(self) -> bool:
        """Whether repeating the same read may help: server trouble, not a wrong request."""
        return self.http_status in _SERVER_ERRORS or self.refusal in (Refusal.UNSETTLED, Refusal.TRANSIENT)


class KeyRefused(ExchangeRefused):
    """Key, signature, IP or permission: the text advises what to check."""


class ExchangeThrottled(ExchangeRefused):
    """HTTP 429, 418 or 403: wait ``retry_after_s`` seconds; ``banned`` stops exits as well."""

    def __init__(self, endpoint: str, reply: Reply, throttle: Throttle) -> None:
        super().__init__(endpoint, reply)
        self.retry_after_s = throttle.duration_s
        self.banned = throttle.banned


def error_of(endpoint: str, reply: Reply, throttle: Throttle | None) -> ExchangeRefused:
    """Return the error that a reply other than 2xx stands for."""
    if throttle is not None:
        return ExchangeThrottled(endpoint, reply, throttle)
    advice = key_advice(complaint_of(reply.body).code, reply.status)
    return KeyRefused(endpoint, reply, advice) if advice else ExchangeRefused(endpoint, reply)


def key_advice(code: int, http_status: int) -> str:
    """Return what to check where a refusal is about key, signature, IP or permission; "" where it is not."""
    if http_status != _UNAUTHORIZED and code not in _KEY_CODES:
        return ""
    return _SIGNATURE_ADVICE if code == _SIGNATURE_INVALID else _KEY_ADVICE
