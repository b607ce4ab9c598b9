"""Market streams over real sockets: routes, subscriptions, and payloads that agree with REST."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest
from stream_clients import follow, settled

from quantum_trader.exchange.simulator.market_feed import Feed
from quantum_trader.exchange.simulator.sockets import QUEUE_MAX
from quantum_trader.exchange.simulator.stream_names import topic_of
from quantum_trader.exchange.simulator.stream_session import Frame
from quantum_trader.exchange.simulator.trade_tape import trades_between


def is_event(name: str) -> Any:
    return lambda frame: frame.get("e", frame.get("data", {}).get("e") if "data" in frame else None) == name


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("/market/ws/btcusdt@markPrice@1s", "markPriceUpdate"),
        ("/market/ws/btcusdt@kline_1m", "kline"),
        ("/market/ws/btcusdt_perpetual@continuousKline_5m", "continuous_kline"),
        ("/market/ws/btcusdt@aggTrade", "aggTrade"),
        ("/market/ws/btcusdt@ticker", "24hrTicker"),
        ("/market/ws/ethusdt@aggTrade/btcusdt@miniTicker", "24hrMiniTicker"),
        ("/public/ws/btcusdt@bookTicker", "bookTicker"),
        ("/public/ws/btcusdt@depth5@100ms", "depthUpdate"),
        ("/public/ws/btcusdt@depth", "depthUpdate"),
        ("/ws/btcusdt@bookTicker", "bookTicker"),
        ("/market/stream?streams=btcusdt@markPrice@1s/ethusdt@kline_1h", "markPriceUpdate"),
        ("/stream?streams=btcusdt@depth10", "depthUpdate"),
    ],
)
async def test_a_stream_named_in_the_url_flows(client: Any, path: str, event: str) -> None:
    stream = await follow(client, path)
    await stream.until(is_event(event))


@pytest.mark.parametrize(
    "path",
    [
        "/ws/btcusdt@kline_1m",
        "/public/ws/btcusdt@aggTrade",
        "/market/ws/btcusdt@bookTicker",
        "/private/ws/btcusdt@bookTicker",
        "/market/ws/0",
        "/market/ws/btcusdt@kline_1s",
        "/market/ws/nosuchusdt@aggTrade",
        "/market/ws/BTCUSDT@aggTrade",
    ],
)
async def test_a_wrong_route_or_name_is_silent(client: Any, path: str) -> None:
    stream = await follow(client, path)
    assert await stream.is_silent(1.2)


@pytest.mark.parametrize("path", ["/", "/market", "/market/other/x", "/nowhere/ws"])
async def test_a_path_of_no_known_form_is_not_found(client: Any, path: str) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    status, _, _ = await client.exchange_bytes("GET", path, upgrade)
    assert status == 404


async def test_subscriptions_change_while_connected(client: Any) -> None:
    stream = await follow(client, "/market/ws/0")
    name = "btcusdt@aggTrade"
    assert await stream.say("SUBSCRIBE", [name], 7) == {"result": None, "id": 7}
    await stream.until(is_event("aggTrade"))
    listed = await stream.say("LIST_SUBSCRIPTIONS", [], "x-1")
    assert listed == {"result": ["0", name], "id": "x-1"}
    assert await stream.say("UNSUBSCRIBE", [name], 8) == {"result": None, "id": 8}
    assert await stream.is_silent(1.2)


async def test_a_connection_can_be_told_to_wrap_frames(client: Any) -> None:
    stream = await follow(client, "/market/ws/btcusdt@aggTrade")
    assert (await stream.say("GET_PROPERTY", ["combined"]))["result"] is False
    assert (await stream.say("SET_PROPERTY", ["combined", True]))["result"] is None
    frame = await stream.until(lambda frame: "stream" in frame)
    assert frame["stream"] == "btcusdt@aggTrade"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 3),
        ("[]", 2),
        ('{"method":"FLY","params":[],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":-1}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":1.5}', 2),
        ('{"method":"SUBSCRIBE","params":["a",1],"id":1}', 2),
        ('{"method":"SET_PROPERTY","params":["colour",1],"id":1}', 2),
        ('{"method":"SET_PROPERTY","params":["colour",true],"id":1}', 0),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0),
    ],
)
async def test_a_control_frame_that_makes_no_sense_gets_its_code(client: Any, text: str, code: int) -> None:
    stream = await follow(client, "/market/ws")
    await stream.socket.send_str(text)
    assert (await stream.next())["code"] == code


async def test_more_than_ten_frames_in_a_second_end_the_connection(client: Any) -> None:
    stream = await follow(client, "/market/ws")
    for number in range(25):  # two windows of the clock at most
        await stream.socket.send_json({"method": "LIST_SUBSCRIPTIONS", "params": [], "id": number})
    with pytest.raises(ConnectionError, match="1008"):
        await stream.events(26)


async def test_more_streams_than_allowed_are_refused(client: Any) -> None:
    stream = await follow(client, "/market/ws")
    names = [f"s{number}usdt@aggTrade" for number in range(1025)]
    assert (await stream.say("SUBSCRIBE", names))["code"] == 2


async def test_prices_of_streams_are_those_of_rest(client: Any) -> None:
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "50000", "mark": "50010"})
    stream = await follow(client, "/market/stream?streams=btcusdt@markPrice@1s/!miniTicker@arr")
    mark = await stream.until(is_event_of_stream("btcusdt@markPrice@1s"))
    minis = await stream.until(is_event_of_stream("!miniTicker@arr"))
    book = await (await follow(client, "/public/ws/btcusdt@bookTicker")).next()
    assert Decimal(mark["data"]["p"]) == 50010
    assert [row["c"] for row in minis["data"] if row["s"] == "BTCUSDT"] == ["50000.00"]
    assert (Decimal(book["b"]), Decimal(book["a"])) == (Decimal("50000.0"), Decimal("50000.1"))


def is_event_of_stream(name: str) -> Any:
    return lambda frame: frame.get("stream") == name


async def test_all_mark_prices_come_as_one_array(client: Any) -> None:
    stream = await follow(client, "/market/ws/!markPrice@arr@1s")
    rows = await stream.next()
    assert {row["s"] for row in rows} == set(client.exchange.venue.specs)


async def test_a_still_book_still_sends_a_heartbeat(client: Any) -> None:
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "50000"})
    stream = await follow(client, "/public/ws/btcusdt@bookTicker")
    first, second = await stream.events(2)
    assert second["E"] - first["E"] >= 1000


async def test_depth_differences_form_a_chain(client: Any) -> None:
    stream = await follow(client, "/public/ws/btcusdt@depth@100ms")
    frames = [await stream.next()]
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "50000"})
    frames.append(await stream.next())
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "51000"})
    frames.append(await stream.until(lambda frame: any(size == "0" for _, size in frame["b"])))
    chain = stream.frames
    assert all(after["pu"] == before["u"] for before, after in itertools.pairwise(chain))
    assert Decimal(frames[-1]["a"][-1][0]) > 51000


async def test_a_slow_reader_is_dropped_and_holds_nobody_up(client: Any) -> None:
    await follow(client, "/public/ws/btcusdt@bookTicker")
    hub = client.exchange.server.streams.hub
    (session,) = hub.sessions
    for _ in range(QUEUE_MAX + 2):
        session.outlet.send(Frame(b"x" * 10_000, "bookTicker"))
    await settled(lambda: not hub.sessions)
    status, _, _ = await client.send("GET", "/fapi/v1/time")
    assert status == 200


def test_candles_are_made_of_the_trades(desk: Any) -> None:
    market, spec = desk.venue.market, desk.venue.specs["SOLUSDT"]
    minute_ms = desk.now_ms // 60_000 * 60_000 - 60_000
    trades = list(trades_between(market, spec, minute_ms, minute_ms + 60_000))
    row = desk.call("GET", "/fapi/v1/klines", symbol="SOLUSDT", interval="1m", startTime=minute_ms, limit=1)[
        0
    ]
    prices = [trade.price for trade in trades]
    assert [Decimal(cell) for cell in row[1:5]] == [prices[0], max(prices), min(prices), prices[-1]]
    assert Decimal(row[5]) == sum(trade.quantity for trade in trades)
    assert row[8] == len(trades) == trades[-1].trade_id - trades[0].trade_id + 1


def test_a_closed_candle_is_told_before_the_next_one(desk: Any) -> None:
    topic = topic_of("solusdt@kline_1m")
    minute_ms = desk.now_ms // 60_000 * 60_000
    feed = Feed(desk.venue, topic, minute_ms + 59_000)
    feed.due(minute_ms + 59_900)
    closed, opened = feed.due(minute_ms + 60_100)
    row = desk.call("GET", "/fapi/v1/klines", symbol="SOLUSDT", interval="1m", startTime=minute_ms, limit=1)[
        0
    ]
    assert (closed["k"]["x"], closed["k"]["t"], closed["k"]["c"]) == (True, minute_ms, row[4])
    assert (opened["k"]["x"], opened["k"]["t"]) == (False, minute_ms + 60_000)


@pytest.mark.parametrize(
    "name", ["", "@aggTrade", "btcusdt@", "btcusdt@depth7", "!ticker", "btcusdt@kline_9m"]
)
def test_a_name_that_nothing_is_served_under_has_no_topic(name: str) -> None:
    assert topic_of(name) is None
