"""python-binance, unmodified (BINANCE.md 13.3)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from binance import AsyncClient, BinanceSocketManager
from binance.base_client import BaseClient
from probes import API_KEY, API_SECRET, SYMBOL, Probe, expect, run

LIMIT = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}


def point_at(url: str) -> None:
    """Move every address of the client to ``url``; it has to happen before one is made."""
    sockets = url.replace("http://", "ws://")
    BaseClient.API_URL = f"{url}/api"
    BaseClient.FUTURES_URL = f"{url}/fapi"
    BaseClient.FUTURES_DATA_URL = f"{url}/futures/data"
    BaseClient.WS_FUTURES_URL = f"{sockets}/ws-fapi/v1"
    BinanceSocketManager.FSTREAM_URL = f"{sockets}/"


async def main(url: str, probe: Probe) -> None:
    """Every feature once."""
    point_at(url)
    client = await AsyncClient.create(API_KEY, API_SECRET)
    try:
        await rest(client, probe)
        await streams(client, probe)
        await ws_api(client, probe)
    finally:
        await client.close_connection()


async def far_below(client: Any) -> str:
    last = Decimal((await client.futures_symbol_ticker(symbol=SYMBOL))["price"])
    return str((last * Decimal("0.9")).quantize(Decimal("0.1")))


async def rest(client: Any, probe: Probe) -> None:
    async def markets() -> None:
        symbols = (await client.futures_exchange_info())["symbols"]
        expect(SYMBOL in {row["symbol"] for row in symbols}, "BTCUSDT is listed")

    async def market_data() -> None:
        expect(len(await client.futures_klines(symbol=SYMBOL, interval="1m", limit=5)) == 5, "candles")
        expect((await client.futures_order_book(symbol=SYMBOL, limit=5))["bids"], "book")
        expect((await client.futures_mark_price(symbol=SYMBOL))["markPrice"], "mark price")
        expect(await client.futures_aggregate_trades(symbol=SYMBOL), "trades")
        expect(await client.futures_open_interest(symbol=SYMBOL), "open interest")
        expect((await client.futures_ticker(symbol=SYMBOL))["lastPrice"], "day statistics")

    async def account() -> None:
        expect((await client.futures_account())["totalWalletBalance"], "account")
        expect((await client.futures_account_balance())[0]["asset"] == "USDT", "balance")
        expect(isinstance(await client.futures_position_information(), list), "positions")

    async def leverage() -> None:
        reply = await client.futures_change_leverage(symbol=SYMBOL, leverage=7)
        expect(reply["leverage"] == 7, "leverage")

    async def market_order() -> None:
        order = await client.futures_create_order(
            symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.01", newOrderRespType="RESULT"
        )
        expect(order["status"] == "FILLED", "filled")
        (row,) = await client.futures_position_information(symbol=SYMBOL)
        expect(Decimal(row["positionAmt"]) == Decimal("0.01"), "position after the fill")
        await client.futures_create_order(
            symbol=SYMBOL, side="SELL", type="MARKET", quantity="0.01", reduceOnly="true"
        )
        expect(await client.futures_account_trades(symbol=SYMBOL), "own trades")

    async def limit_order() -> None:
        price = await far_below(client)
        order = await client.futures_create_order(**LIMIT, price=price)
        named = {"symbol": SYMBOL, "orderId": order["orderId"]}
        expect((await client.futures_get_order(**named))["status"] == "NEW", "resting")
        expect(len(await client.futures_get_open_orders(symbol=SYMBOL)) == 1, "open orders")
        changed = await client.futures_modify_order(**named, side="BUY", quantity="0.02", price=price)
        expect(changed["origQty"] == "0.02", "amended")
        expect((await client.futures_cancel_order(**named))["status"] == "CANCELED", "cancelled")

    async def conditional_order() -> None:
        price = await far_below(client)
        order = await client.futures_create_order(
            symbol=SYMBOL, side="SELL", type="STOP_MARKET", quantity="0.01", stopPrice=price
        )
        expect(order["algoStatus"] == "NEW", "waiting")
        expect(await client.futures_get_open_algo_orders(), "open conditional orders")
        await client.futures_cancel_algo_order(algoId=order["algoId"])

    await probe.check("load markets", markets)
    await probe.check("market data", market_data)
    await probe.check("account and positions", account)
    await probe.check("set leverage", leverage)
    await probe.check("place a market order", market_order)
    await probe.check("place, query, amend, cancel a limit order", limit_order)
    await probe.check("conditional order", conditional_order)


async def streams(client: Any, probe: Probe) -> None:
    manager = BinanceSocketManager(client)

    async def market() -> None:
        async with manager.futures_multiplex_socket([f"{SYMBOL.lower()}@markPrice@1s"]) as stream:
            expect((await stream.recv())["data"]["e"] == "markPriceUpdate", "mark price")
        async with manager.kline_futures_socket(SYMBOL, "1m") as stream:
            expect((await stream.recv())["e"] == "continuous_kline", "candles")
        async with manager.aggtrade_futures_socket(SYMBOL) as stream:
            frame = await stream.recv()
            expect(frame.get("data", frame)["e"] == "aggTrade", "trades")

    async def book() -> None:
        async with manager.futures_depth_socket(SYMBOL) as stream:
            frame = await stream.recv()
            expect(frame.get("data", frame)["e"] == "depthUpdate", "book")

    async def user() -> None:
        async with manager.futures_user_socket() as stream:
            await client.futures_create_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.01")
            kinds = [(await stream.recv())["e"] for _ in range(4)]
            expect(
                kinds == ["TRADE_LITE", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"],
                f"events {kinds}",
            )
            await client.futures_create_order(
                symbol=SYMBOL, side="SELL", type="MARKET", quantity="0.01", reduceOnly="true"
            )

    await probe.check("market streams", market)
    await probe.check("order book stream", book)
    await probe.check("user stream", user)


async def ws_api(client: Any, probe: Probe) -> None:
    async def orders() -> None:
        order = await client.ws_futures_create_order(**LIMIT, price=await far_below(client))
        named = {"symbol": SYMBOL, "orderId": order["orderId"]}
        expect((await client.ws_futures_get_order(**named))["status"] == "NEW", "resting")
        expect((await client.ws_futures_cancel_order(**named))["status"] == "CANCELED", "cancelled")
        expect((await client.ws_futures_get_order_book(symbol=SYMBOL))["bids"], "book")

    await probe.check("WebSocket API", orders)


if __name__ == "__main__":
    run(main)
