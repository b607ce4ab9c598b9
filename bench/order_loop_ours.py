"""Our order client: the exchange's entry port, as the pipeline uses it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
from decimal import Decimal
from typing import Any

import structlog
import uvloop
from order_loop import QUANTITY, SYMBOL, serve

from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.order import Accepted, Claimed, OpenOrder, client_order_id
from quantum_trader.domain.trading import Leg, Side
from quantum_trader.exchange.binance import connect
from quantum_trader.exchange.settings import ExchangeSettings

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
_numbers = itertools.count(1)


async def main(url: str, transport: str, key: str, secret: str) -> None:
    settings: dict[str, Any] = {"rest_url": url, "api_key": key, "api_secret": secret}
    if transport == "ws":
        settings |= {"orders_over_ws": True, "ws_api_url": url.replace("http://", "ws://") + "/ws-fapi/v1"}
    exchange = connect(ExchangeSettings(**settings), SystemClock())
    await exchange.clock.measure()
    exchange.start()
    while exchange.ws_api is not None and not exchange.ws_api.is_ready:  # noqa: ASYNC110 -- no event tells
        await asyncio.sleep(0.01)

    async def send(side: str) -> None:
        plan_id = f"loop-{next(_numbers)}"
        order = OpenOrder(
            Leg(SYMBOL),
            Side(side),
            Decimal(QUANTITY),
            client_order_id(plan_id),
            exchange.clock.signing_time_ms(),
        )
        outcome = await exchange.entry.open_position(Claimed.granted(order, plan_id, 1))
        assert isinstance(outcome, Accepted), outcome

    await serve(send)


uvloop.run(main(*sys.argv[1:5]))
