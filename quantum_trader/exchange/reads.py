"""Reads: signed where needed, repeated within bounds, decoded. Never used for what changes anything."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.codes import Refusal
from quantum_trader.exchange.endpoints import Endpoint, Security
from quantum_trader.exchange.errors import ExchangeError, ExchangeRefused, ExchangeUnreachable, error_of
from quantum_trader.exchange.fields import decoded
from quantum_trader.exchange.rest import Params, RestTransport
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.exchange.weight import Priority, throttle_of

_ATTEMPTS_MAX = 3
_BACKOFF_FIRST_S = 0.2
_NO_PARAMS: Params = ()


def random_share() -> float:
    """Return a random number in [0, 1), so that clients do not all come back at once."""
    return secrets.randbelow(1_000) / 1_000


class Reader:
    """Asks until there is an answer, at most three times; ``priority`` says from whose budget."""

    def __init__(
        self,
        transport: RestTransport,
        server_clock: ServerClock,
        clock: Clock,
        *,
        recv_window_ms: int,
        priority: Priority,
        jitter: Callable[[], float] = random_share,
    ) -> None:
        self._transport = transport
        self._server_clock = server_clock
        self._clock = clock
        self._recv_window_ms = recv_window_ms
        self._priority = priority
        self._jitter = jitter

    async def read(
        self, endpoint: Endpoint, params: Params = _NO_PARAMS, *, weight: int | None = None
    ) -> Any:
        """Return the decoded JSON of a 2xx reply.

        Repeated after 0.2 s and 0.4 s (with jitter) when the connection failed or the exchange had
        trouble of its own; once, after measuring the clock, on -1021. A throttle is not waited for.

        Raises ``ExchangeError``.
        """
        resynced = False
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            try:
                return await self.read_once(endpoint, params, weight=weight)
            except ExchangeError as error:
                if attempt == _ATTEMPTS_MAX:
                    raise
                if _is_about_time(error) and not resynced and await self._server_clock.resync():
                    resynced = True
                elif _may_pass(error):
                    await self._back_off(attempt)
                else:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def read_once(
        self, endpoint: Endpoint, params: Params = _NO_PARAMS, *, weight: int | None = None
    ) -> Any:
        """Return the decoded JSON of a 2xx reply to a single request. Raises ``ExchangeError``."""
        if endpoint.security is Security.SIGNED:
            params = (*params, *timing_params(self._recv_window_ms, self._server_clock.signing_time_ms()))
        reply = await self._transport.send(endpoint, params, priority=self._priority, weight=weight)
        if not reply.is_success:
            raise error_of(str(endpoint), reply, throttle_of(reply, self._server_clock.signing_time_ms()))
        return decoded(str(endpoint), reply.body)

    async def _back_off(self, attempt: int) -> None:
        longest_s = _BACKOFF_FIRST_S * 2 ** (attempt - 1)
        await self._clock.sleep(longest_s * (0.5 + self._jitter() / 2))


def timing_params(recv_window_ms: int, timestamp_ms: int) -> Params:
    """Return what every signed request carries last but its signature."""
    return ("recvWindow", str(recv_window_ms)), ("timestamp", str(timestamp_ms))


def _is_about_time(error: ExchangeError) -> bool:
    return isinstance(error, ExchangeRefused) and error.refusal is Refusal.TIME


def _may_pass(error: ExchangeError) -> bool:
    if isinstance(error, ExchangeRefused):
        return error.may_be_asked_again
    return isinstance(error, ExchangeUnreachable)
