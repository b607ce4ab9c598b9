"""ccxt's binanceusdm, REST and pro, unmodified (BINANCE.md 13.2)."""

from __future__ import annotations

import asyncio
from typing import Any

import ccxt.pro
from probes import API_KEY, API_SECRET, Probe, expect, run

SYMBOL = "BTC/USDT:USDT"


def client(url: str) -> Any:
    """An instance whose every address is on ``url``."""
    exchange = ccxt.pro.binanceusdm(
        {"apiKey": API_KEY, "secret": API_SECRET, "options": {"fetchCurrencies": False}}
    )
    api = exchange.urls["api"]
    for name, address in list(api.items()):
        if isinstance(address, str):
            api[name] = url + address[address.find("/", 8) :]
    sockets = url.replace("http://", "ws://")
    api["ws"]["linear"] = f"{sockets}/ws"
    api["ws"]["ws-api"]["linear"] = f"{sockets}/ws-fapi/v1"
    return exchange


async def main(url: str, probe: Probe) -> None:
    """Every feature once."""
    exchange = client(url)
    try:
        await rest(exchange, probe)
        await streams(exchange, probe)
        await ws_api(exchange, probe)
    finally:
        await exchange.close()


async def rest(exchange: Any, probe: Probe) -> None:
    async def markets() -> None:
        await exchange.load_markets()
        expect(exchange.market(SYMBOL)["precision"]["price"] == 0.1, "tick of BTCUSDT")

    async def market_data() -> None:
        expect((await exchange.fetch_ticker(SYMBOL))["last"] > 0, "last price")
        expect(len(await exchange.fetch_ohlcv(SYMBOL, "1m", limit=5)) == 5, "candles")
        expect((await exchange.fetch_order_book(SYMBOL, 5))["bids"], "book")
        expect(await exchange.fetch_trades(SYMBOL, limit=5), "trades")
        expect((await exchange.fetch_funding_rate(SYMBOL))["fundingRate"] is not None, "funding")

    async def account() -> None:
        expect((await exchange.fetch_balance())["USDT"]["free"] > 0, "balance")
        expect(isinstance(await exchange.fetch_positions(), list), "positions")

    async def leverage() -> None:
        expect(int((await exchange.set_leverage(7, SYMBOL))["leverage"]) == 7, "leverage")

    async def market_order() -> None:
        order = await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        expect(order["status"] == "closed", f"status {order['status']}")
        (position,) = await exchange.fetch_positions([SYMBOL])
        expect(position["contracts"] == 0.01, "position after the fill")
        await exchange.create_order(SYMBOL, "market", "sell", 0.01, params={"reduceOnly": True})
        expect(await exchange.fetch_my_trades(SYMBOL), "own trades")

    async def limit_order() -> None:
        price = await far_below(exchange)
        order = await exchange.create_order(SYMBOL, "limit", "buy", 0.01, price)
        expect((await exchange.fetch_order(order["id"], SYMBOL))["status"] == "open", "open")
        expect(len(await exchange.fetch_open_orders(SYMBOL)) == 1, "open orders")
        changed = await exchange.edit_order(order["id"], SYMBOL, "limit", "buy", 0.02, price)
        expect(changed["amount"] == 0.02, "amended")
        await exchange.cancel_order(order["id"], SYMBOL)
        expect((await exchange.fetch_order(order["id"], SYMBOL))["status"] == "canceled", "cancelled")

    async def conditional_order() -> None:
        trigger = await far_below(exchange)
        order = await exchange.create_order(
            SYMBOL, "market", "sell", 0.01, params={"stopLossPrice": trigger, "reduceOnly": True}
        )
        open_ones = await exchange.fetch_open_orders(SYMBOL, params={"trigger": True})
        expect([one["id"] for one in open_ones] == [order["id"]], "open conditional orders")
        await exchange.cancel_order(order["id"], SYMBOL, params={"trigger": True})

    await probe.check("load markets", markets)
    await probe.check("market data", market_data)
    await probe.check("account and positions", account)
    await probe.check("set leverage", leverage)
    await probe.check("place a market order", market_order)
    await probe.check("place, query, amend, cancel a limit order", limit_order)
    await probe.check("conditional order", conditional_order)


async def far_below(exchange: Any) -> float:
    ticker = await exchange.fetch_ticker(SYMBOL)
    return float(exchange.price_to_precision(SYMBOL, ticker["last"] * 0.9))


async def streams(exchange: Any, probe: Probe) -> None:
    async def market() -> None:
        expect((await exchange.watch_ticker(SYMBOL))["last"] > 0, "ticker")
        # Its default, <symbol>@trade, is silent on the real venue too.
        expect(await exchange.watch_trades(SYMBOL, params={"name": "aggTrade"}), "trades")
        expect(await exchange.watch_ohlcv(SYMBOL, "1m"), "candles")
        expect((await exchange.watch_mark_price(SYMBOL))["markPrice"] > 0, "mark price")
        expect((await exchange.watch_bids_asks([SYMBOL])), "best bid and ask")

    async def book() -> None:
        expect((await exchange.watch_order_book(SYMBOL))["bids"], "book")

    async def user() -> None:
        orders = asyncio.ensure_future(exchange.watch_orders(SYMBOL))
        await asyncio.sleep(1.5)  # the client says nowhere when it has begun to listen
        await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        expect((await orders)[0]["symbol"] == SYMBOL, "order update")
        positions = asyncio.ensure_future(exchange.watch_positions([SYMBOL]))
        await asyncio.sleep(1.5)
        await exchange.create_order(SYMBOL, "market", "sell", 0.01, params={"reduceOnly": True})
        expect(await positions, "position update")

    await probe.check("market streams", market)
    await probe.check("order book stream", book)
    await probe.check("user stream", user)


async def ws_api(exchange: Any, probe: Probe) -> None:
    async def orders() -> None:
        price = await far_below(exchange)
        order = await exchange.create_order_ws(SYMBOL, "limit", "buy", 0.01, price)
        await exchange.cancel_order_ws(order["id"], SYMBOL)

    await probe.check("WebSocket API", orders)


if __name__ == "__main__":
    run(main)
