"""ccxt's binanceusdm (REST and pro) as an order client, unmodified."""

from __future__ import annotations

import asyncio
import sys

import ccxt.pro
from order_loop import QUANTITY, serve

SYMBOL = "XRP/USDT:USDT"


async def main(url: str, transport: str, key: str, secret: str) -> None:
    exchange = ccxt.pro.binanceusdm(
        {"apiKey": key, "secret": secret, "enableRateLimit": False, "options": {"fetchCurrencies": False}}
    )
    api = exchange.urls["api"]
    for name, address in list(api.items()):
        if isinstance(address, str):
            api[name] = url + address[address.find("/", 8) :]
    api["ws"]["ws-api"]["linear"] = url.replace("http://", "ws://") + "/ws-fapi/v1"
    await exchange.load_markets()

    async def send(side: str) -> object:
        create = exchange.create_order_ws if transport == "ws" else exchange.create_order
        return await create(SYMBOL, "market", side.lower(), float(QUANTITY))

    await serve(send)


asyncio.run(main(*sys.argv[1:5]))
