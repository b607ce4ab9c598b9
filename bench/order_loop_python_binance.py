"""python-binance as an order client, unmodified."""

from __future__ import annotations

import asyncio
import sys

from binance import AsyncClient
from binance.base_client import BaseClient
from order_loop import QUANTITY, SYMBOL, serve


async def main(url: str, transport: str, key: str, secret: str) -> None:
    BaseClient.FUTURES_URL = f"{url}/fapi"
    BaseClient.WS_FUTURES_URL = url.replace("http://", "ws://") + "/ws-fapi/v1"
    client = AsyncClient(key, secret)
    order = {"symbol": SYMBOL, "type": "MARKET", "quantity": QUANTITY, "newOrderRespType": "RESULT"}

    async def send(side: str) -> object:
        if transport == "ws":
            return await client.ws_futures_create_order(side=side, **order)
        return await client.futures_create_order(side=side, **order)

    await serve(send)


asyncio.run(main(*sys.argv[1:5]))
