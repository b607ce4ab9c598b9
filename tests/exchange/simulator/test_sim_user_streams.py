"""User data over real sockets: who hears it, what it says, in which order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from stream_clients import Follower, follow, listen_key

ORDER = "/fapi/v1/order"
BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
SELL = {**BUY, "side": "SELL"}
REST = {**BUY, "type": "LIMIT", "timeInForce": "GTC", "price": "48000"}


@pytest.fixture
async def listener(client: Any) -> Follower:
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "50000"})
    return await follow(client, f"/private/ws/{await listen_key(client)}")


def kinds(frames: list[Any]) -> list[str]:
    return [frame["o"]["x"] if "o" in frame else frame["e"] for frame in frames]


@pytest.mark.parametrize(
    "form",
    ["/private/ws/{key}", "/private/ws?listenKey={key}", "/private/ws?listenKey={key}&events=TRADE_LITE"],
)
async def test_each_raw_form_of_the_private_url_hears_a_fill(client: Any, form: str) -> None:
    stream = await follow(client, form.format(key=await listen_key(client)))
    await client.send("POST", ORDER, **BUY)
    assert (await stream.next())["e"] == "TRADE_LITE"


async def test_a_combined_connection_wraps_events_under_the_listen_key(client: Any) -> None:
    key = await listen_key(client)
    stream = await follow(client, f"/private/stream?listenKey={key}")
    await client.send("POST", ORDER, **BUY)
    frame = await stream.next()
    assert (frame["stream"], frame["data"]["e"]) == (key, "TRADE_LITE")


async def test_a_listen_key_can_be_subscribed_to_with_a_text_id(client: Any) -> None:
    key = await listen_key(client)
    stream = await follow(client, "/private/stream")
    assert await stream.say("SUBSCRIBE", [key], "9f-text") == {"result": None, "id": "9f-text"}
    await client.send("POST", ORDER, **BUY)
    assert (await stream.next())["stream"] == key


@pytest.mark.parametrize("form", ["/ws/{key}", "/market/ws/{key}", "/private/ws/no-such-key"])
async def test_user_data_is_silent_elsewhere(client: Any, form: str) -> None:
    stream = await follow(client, form.format(key=await listen_key(client)))
    await client.send("POST", ORDER, **BUY)
    assert await stream.is_silent()


async def test_an_event_filter_lets_only_the_named_events_pass(client: Any) -> None:
    key = await listen_key(client)
    stream = await follow(client, f"/private/ws?listenKey={key}&events=ACCOUNT_UPDATE/ORDER_TRADE_UPDATE")
    await client.send("POST", ORDER, **BUY)
    assert kinds(await stream.events(3)) == ["NEW", "ACCOUNT_UPDATE", "TRADE"]


async def test_a_taker_fill_comes_in_the_real_order_at_one_time(client: Any, listener: Follower) -> None:
    await client.send("POST", ORDER, **BUY)
    frames = await listener.events(4)
    assert kinds(frames) == ["TRADE_LITE", "NEW", "ACCOUNT_UPDATE", "TRADE"]
    assert len({frame["T"] for frame in frames}) == 1


async def test_the_wallet_moves_by_realised_pnl_less_fee(client: Any, listener: Follower) -> None:
    await client.send("POST", ORDER, **BUY)
    opened = await listener.events(4)
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "51000"})
    await client.send("POST", ORDER, **SELL)
    closed = await listener.events(4)
    before, after = (Decimal(frames[2]["a"]["B"][0]["wb"]) for frames in (opened, closed))
    fill = closed[3]["o"]
    assert after - before == Decimal(fill["rp"]) - Decimal(fill["n"])
    assert opened[2]["a"]["P"][0]["pa"] == "0.1"
    assert closed[2]["a"]["P"][0]["pa"] == "0"
    assert Decimal(closed[2]["a"]["P"][0]["cr"]) == Decimal(fill["rp"])


async def test_a_resting_fill_comes_while_nobody_calls(client: Any, listener: Follower) -> None:
    await client.send("POST", ORDER, **REST)
    assert kinds(await listener.events(1)) == ["NEW"]
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "47000"})
    frames = await listener.events(3)
    assert kinds(frames) == ["TRADE_LITE", "ACCOUNT_UPDATE", "TRADE"]
    assert frames[2]["o"]["m"] is True


async def test_a_cancelled_order_is_told(client: Any, listener: Follower) -> None:
    _, placed, _ = await client.send("POST", ORDER, **REST)
    await client.send("DELETE", ORDER, symbol="BTCUSDT", orderId=placed["orderId"])
    new, cancelled = await listener.events(2)
    assert (new["o"]["b"], cancelled["o"]["b"]) == ("4800.0", "0")
    assert (cancelled["o"]["x"], cancelled["o"]["X"]) == ("CANCELED", "CANCELED")


async def test_a_liquidation_is_told_as_calculated(client: Any, listener: Follower) -> None:
    await client.send("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=100)
    change = await listener.next()
    assert (change["e"], change["ac"]) == ("ACCOUNT_CONFIG_UPDATE", {"s": "BTCUSDT", "l": 100})
    await client.send("POST", ORDER, **{**BUY, "quantity": "15"})
    await listener.events(4)
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "40000"})
    frames = await listener.events(5)
    assert kinds(frames) == ["TRADE_LITE", "NEW", "ACCOUNT_UPDATE", "CALCULATED", "ACCOUNT_UPDATE"]
    assert frames[3]["o"]["c"].startswith("autoclose-")
    assert frames[4]["a"]["m"] == "INSURANCE_CLEAR"


async def test_a_position_near_liquidation_is_called_for_margin_once(client: Any, listener: Follower) -> None:
    await client.send("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=100)
    await client.send("POST", ORDER, **{**BUY, "quantity": "15"})
    await listener.events(5)
    await client.admin("POST", "/sim/price", {"symbol": "BTCUSDT", "price": "49700"})
    call = await listener.next()
    assert (call["e"], call["p"][0]["s"], call["p"][0]["mt"]) == ("MARGIN_CALL", "BTCUSDT", "CROSSED")


async def test_an_expired_listen_key_is_told_once_and_then_silent(client: Any, listener: Follower) -> None:
    await client.admin("POST", "/sim/listen-keys/expire")
    frame = await listener.next()
    assert set(frame) == {"e", "E", "listenKey"}
    assert frame["e"] == "listenKeyExpired"
    await client.send("POST", ORDER, **BUY)
    assert await listener.is_silent()


async def test_a_closed_listen_key_is_silent_at_once(client: Any, listener: Follower) -> None:
    await listen_key(client, "DELETE")
    await client.send("POST", ORDER, **BUY)
    assert await listener.is_silent()


async def test_another_account_hears_nothing(client: Any, listener: Follower) -> None:
    await client.send("POST", ORDER, key="key-b", secret="secret-b", **BUY)
    assert await listener.is_silent()


async def test_a_fault_doubles_frames(client: Any, listener: Follower) -> None:
    await client.fault(kind="stream_double", event="TRADE_LITE")
    await client.send("POST", ORDER, **BUY)
    assert kinds(await listener.events(3)) == ["TRADE_LITE", "TRADE_LITE", "NEW"]


async def test_a_fault_makes_frames_late(client: Any, listener: Follower) -> None:
    await client.fault(kind="stream_late", event="TRADE_LITE", ms=50)
    await client.send("POST", ORDER, **BUY)
    assert kinds(await listener.events(4)) == ["NEW", "ACCOUNT_UPDATE", "TRADE", "TRADE_LITE"]


async def test_a_fault_silences_a_connection_that_stays_open(client: Any, listener: Follower) -> None:
    await client.fault(kind="stream_silence", path="/private", ms=300)
    await client.send("POST", ORDER, **BUY)
    assert await listener.is_silent()
    await client.send("POST", ORDER, **SELL)
    assert kinds(await listener.events(4)) == ["TRADE_LITE", "NEW", "ACCOUNT_UPDATE", "TRADE"]


async def test_a_fault_drops_a_connection(client: Any, listener: Follower) -> None:
    await client.fault(kind="stream_drop", path="/private", api_key="key-a", symbol="BTCUSDT")
    await client.send("POST", ORDER, **BUY)
    with pytest.raises((ConnectionError, OSError)):
        await listener.next()
