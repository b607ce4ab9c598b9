"""The official SDK as an order client, unmodified; its WebSocket API signs with Ed25519 and logs on."""

from __future__ import annotations

import asyncio
import sys

from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketAPI
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
    DerivativesTradingUsdsFutures,
)
from order_loop import QUANTITY, SYMBOL, serve


async def main(url: str, transport: str, key: str, secret: str, key_file: str) -> None:
    sdk = DerivativesTradingUsdsFutures(
        config_rest_api=ConfigurationRestAPI(
            api_key=key, api_secret=secret, base_path=url, timeout=5000, retries=0
        ),
        config_ws_api=ConfigurationWebSocketAPI(
            api_key=key, private_key=key_file, stream_url=url.replace("http://", "ws://") + "/ws-fapi/v1"
        ),
    )
    order = {"symbol": SYMBOL, "type": "MARKET", "quantity": float(QUANTITY)}
    if transport == "rest":

        async def send(side: str) -> object:
            return sdk.rest_api.new_order(side=side, **order).data()

        await serve(send)
        return
    connection = await sdk.websocket_api.create_connection()

    async def send_over_socket(side: str) -> object:
        return await connection.new_order(side=side, **order)

    await serve(send_over_socket)


asyncio.run(main(*sys.argv[1:6]))
