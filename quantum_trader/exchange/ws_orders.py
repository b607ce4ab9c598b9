"""Orders over the WebSocket API while it is connected, and over REST while it is not."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import structlog

from quantum_trader.exchange.endpoints import Endpoint
from quantum_trader.exchange.replies import Reply
from quantum_trader.exchange.rest import Params, Transport
from quantum_trader.exchange.weight import Priority
from quantum_trader.exchange.ws_api import WsApi

log = structlog.get_logger()


class OrdersOverWs:
    """A transport that sends orders over the WebSocket API and everything else over another.

    An order for which there is no live connection goes over the other one, because an exit must not
    wait for a socket. That is settled before the first byte; an order is never sent both ways.
    """

    def __init__(self, ws_api: WsApi, rest: Transport) -> None:
        self._ws_api = ws_api
        self._rest = rest

    def send(
        self,
        endpoint: Endpoint,
        params: Params = (),
        *,
        priority: Priority,
        weight: int | None = None,
    ) -> Coroutine[Any, Any, Reply]:
        """Send one request; raises as ``Transport.send`` does."""
        if not endpoint.ws_method:
            return self._rest.send(endpoint, params, priority=priority, weight=weight)
        if self._ws_api.is_ready:
            return self._ws_api.send(endpoint, params, priority=priority)
        log.warning("order_goes_over_rest", why="the WebSocket API is not connected")
        return self._rest.send(endpoint, params, priority=priority, weight=weight)
