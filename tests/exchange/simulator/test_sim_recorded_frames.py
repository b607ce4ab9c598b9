"""Payloads beside frames that were recorded live: the same fields, the same JSON types, one order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from stream_clients import follow, listen_key

RECORDED = Path(__file__).parents[3].parent / "shared" / "data" / "live-2024-2026"
ADDED_SINCE = {  # fields that appeared after the frames were recorded (BINANCE.md 10.2, 11)
    "markPriceUpdate": {"ap", "st"},
    "bookTicker": {"ps", "st"},
    "depthUpdate": {"ps", "st"},
    "aggTrade": {"st"},
    "ORDER_TRADE_UPDATE": {"er"},
}
STREAMS = {
    "markPriceUpdate": "/market/ws/btcusdt@markPrice@1s",
    "aggTrade": "/market/ws/btcusdt@aggTrade",
    "bookTicker": "/public/ws/btcusdt@bookTicker",
    "depthUpdate": "/public/ws/btcusdt@depth5@100ms",
    "kline": "/market/ws/btcusdt@kline_1m",
}
BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}

pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"recorded data is not at {RECORDED}")


def recorded(name: str) -> list[Any]:
    lines = (RECORDED / name).read_bytes().splitlines()
    return [orjson.loads(line)["raw"] for line in lines if line]


def shape(payload: Any) -> Any:
    """Names and JSON types; of an array, the shape of its first element."""
    if isinstance(payload, dict):
        return {name: shape(cell) for name, cell in payload.items()}
    if isinstance(payload, list):
        return [shape(payload[0])] if payload else []
    return type(payload).__name__


def without(payload: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: cell for name, cell in payload.items() if name not in names}


@pytest.mark.parametrize("event", STREAMS)
async def test_market_payloads_have_the_recorded_shape(client: Any, event: str) -> None:
    frames = [frame.get("data", frame) for frame in recorded("market_events.jsonl")]
    frame = next(frame for frame in frames if frame["e"] == event)
    ours = await (await follow(client, STREAMS[event])).next()
    added = ADDED_SINCE.get(event, set()) - set(frame)
    assert shape(without(ours, added)) == shape(frame)


async def user_frames(client: Any) -> list[Any]:
    stream = await follow(client, f"/private/ws/{await listen_key(client)}")
    await client.send("POST", "/fapi/v1/order", **BUY)
    await client.send("POST", "/fapi/v1/order", **{**BUY, "side": "SELL"}, reduceOnly="true")
    return await stream.events(8)


async def test_two_fills_come_as_the_recorded_ones_did(client: Any) -> None:
    recorded_fills = recorded("user_events.jsonl")[:8]
    ours = await user_frames(client)
    assert [frame["e"] for frame in ours] == [frame["e"] for frame in recorded_fills]
    for mine, theirs in zip(ours, recorded_fills, strict=True):
        expected, actual = shape(theirs), shape(mine)
        if "o" in actual:
            actual["o"] = without(actual["o"], {"er"})
        assert actual == expected


async def test_a_resting_order_and_its_end_have_the_recorded_shape(client: Any) -> None:
    stream = await follow(client, f"/private/ws/{await listen_key(client)}")
    resting = {**BUY, "type": "LIMIT", "timeInForce": "GTC", "price": "40000.0"}
    _, placed, _ = await client.send("POST", "/fapi/v1/order", **resting)
    await client.send("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=placed["orderId"])
    frames = recorded("user_events.jsonl")
    for ours in await stream.events(2):
        theirs = next(
            frame for frame in frames if frame.get("o", {}).get("x") == ours["o"]["x"] and "er" in frame["o"]
        )
        assert shape(ours) == shape(theirs)


async def test_a_resting_order_that_is_amended_and_then_filled_comes_as_the_recorded_one_did(
    client: Any,
) -> None:
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "50000"})
    stream = await follow(client, f"/private/ws/{await listen_key(client)}")
    resting = {**BUY, "type": "LIMIT", "timeInForce": "GTC", "price": "49000.0"}
    _, placed, _ = await client.send("POST", "/fapi/v1/order", **resting)
    changed = {"symbol": "BTCUSDT", "orderId": placed["orderId"], "side": "BUY", "quantity": "0.1"}
    await client.send("PUT", "/fapi/v1/order", **changed, price="49500.0")
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "49400"})
    ours = await stream.events(5)
    names = [(frame["e"], frame.get("o", {}).get("x")) for frame in ours]
    assert names == [
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ORDER_TRADE_UPDATE", "AMENDMENT"),
        ("TRADE_LITE", None),
        ("ACCOUNT_UPDATE", None),
        ("ORDER_TRADE_UPDATE", "TRADE"),
    ]
    frames = recorded("user_events.jsonl")
    start = next(at for at, frame in enumerate(frames) if frame.get("o", {}).get("x") == "AMENDMENT") - 1
    theirs = [frames[start], frames[start + 1], *frames[start + 3 : start + 6]]
    assert [(frame["e"], frame.get("o", {}).get("x")) for frame in theirs] == names
    for mine, recorded_frame in zip(ours, theirs, strict=True):
        assert shape(mine) == shape(recorded_frame)


async def test_funding_on_a_cross_position_has_the_recorded_shape(client: Any) -> None:
    theirs = next(
        frame for frame in recorded("user_events.jsonl") if frame.get("a", {}).get("m") == "FUNDING_FEE"
    )
    await client.send("POST", "/fapi/v1/order", **BUY)
    await client.admin("POST", "/sim/clock", {"offset_ms": 8 * 3_600_000})
    stream = await follow(client, f"/private/ws/{await listen_key(client)}")
    ours = await stream.next()
    assert ours["a"].pop("S") == "BTCUSDT"
    assert shape(ours) == shape(theirs)
