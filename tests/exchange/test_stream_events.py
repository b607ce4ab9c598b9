"""Frames become records: recorded ones from the live venue, and broken ones."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from quantum_trader.domain.order import OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.errors import ReplyUnreadable
from quantum_trader.exchange.streams.market_events import ClosedCandle, MarkPrices, market_event
from quantum_trader.exchange.streams.user_events import (
    AccountUpdate,
    Answer,
    LeverageUpdate,
    ListenKeyExpired,
    MarginCall,
    OrderUpdate,
    user_event_of,
)

RECORDED = Path(__file__).parents[2].parent / "shared" / "data" / "live-2024-2026"
recorded_only = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"recorded data is not at {RECORDED}")
ORDER: dict[str, Any] = {
    "s": "XRPUSDT",
    "c": "qt-1",
    "S": "BUY",
    "q": "20",
    "ap": "0.5",
    "x": "TRADE",
    "X": "FILLED",
    "i": 7,
    "z": "20",
    "T": 1_000,
    "ps": "BOTH",
}
KLINE = {"t": 0, "T": 3_599_999, "i": "1h", "o": "1", "h": "2", "l": "1", "c": "2", "v": "9", "x": True}


def recorded(name: str) -> list[Any]:
    lines = (RECORDED / name).read_bytes().splitlines()
    return [orjson.loads(line)["raw"] for line in lines if line]


def event_of(frame: Any) -> Any:
    return user_event_of(orjson.dumps(frame))


@recorded_only
def test_every_recorded_user_frame_is_read_or_known_not_to_matter() -> None:
    frames = recorded("user_events.jsonl")
    read = [event_of(frame) for frame in frames]
    kinds = {"ORDER_TRADE_UPDATE": OrderUpdate, "ACCOUNT_UPDATE": AccountUpdate}
    for frame, event in zip(frames, read, strict=True):
        wanted = kinds.get(frame["e"])
        assert event is None if wanted is None else isinstance(event, wanted)
    assert sum(isinstance(event, OrderUpdate) for event in read) >= 8
    assert sum(isinstance(event, AccountUpdate) for event in read) >= 8


@recorded_only
def test_a_recorded_fill_carries_its_price_and_quantity() -> None:
    events = [event_of(frame) for frame in recorded("user_events.jsonl")]
    orders = [event.order for event in events if isinstance(event, OrderUpdate)]
    placed, filled = orders[0], orders[1]
    assert (placed.status, placed.executed_quantity, placed.avg_price) == (OrderStatus.NEW, 0, None)
    assert (filled.status, filled.executed_quantity) == (OrderStatus.FILLED, Decimal("0.002"))
    assert filled.avg_price == Decimal("91739.9")
    assert (filled.leg, filled.side) == (Leg("BTCUSDT"), Side.BUY)


@recorded_only
def test_recorded_hedge_rows_name_their_legs() -> None:
    events = [event_of(frame) for frame in recorded("user_events.jsonl")]
    amounts: dict[Leg, Decimal] = {}
    for event in events:
        if isinstance(event, AccountUpdate):
            amounts |= event.amounts
    assert amounts[Leg("ETHUSDC", PositionSide.SHORT)] == Decimal("-0.473")
    assert {leg.side for leg in amounts if leg.symbol == "SLXUSDT"} == set(PositionSide)


@recorded_only
def test_recorded_market_frames_are_read_and_an_open_candle_is_none_yet() -> None:
    frames = recorded("market_events.jsonl")
    assert [market_event(frame) for frame in frames] == [None] * len(frames)
    mark = next(frame["data"] for frame in frames if "markPrice" in frame.get("stream", ""))
    event = market_event([mark])
    assert isinstance(event, MarkPrices)
    assert event.by_symbol["BTCUSDT"].price == Decimal("68005.80802899")
    assert event.by_symbol["BTCUSDT"].event_ms == 1771263510000


def test_marks_leave_out_coin_margined_symbols_and_prices_of_nothing() -> None:
    rows = [
        {"e": "markPriceUpdate", "E": 5, "s": "A", "p": "1.5", "st": 1},
        {"e": "markPriceUpdate", "E": 5, "s": "B", "p": "2.5", "st": 2},
        {"e": "markPriceUpdate", "E": 5, "s": "C", "p": "0.00000000"},
    ]
    event = market_event({"stream": "!markPrice@arr@1s", "data": rows})
    assert isinstance(event, MarkPrices)
    assert set(event.by_symbol) == {"A"}


def test_only_a_candle_that_is_closed_is_told() -> None:
    frame = {"e": "kline", "E": 1, "s": "A", "k": {**KLINE, "s": "A"}}
    event = market_event(frame)
    assert isinstance(event, ClosedCandle)
    assert (event.symbol, event.interval, event.candle.close) == ("A", "1h", 2)
    assert market_event({**frame, "k": {**KLINE, "x": False}}) is None


def test_the_other_user_events() -> None:
    call = {"e": "MARGIN_CALL", "E": 1, "p": [{"s": "A", "ps": "LONG"}]}
    assert event_of(call) == MarginCall((Leg("A", PositionSide.LONG),))
    changed = {"e": "ACCOUNT_CONFIG_UPDATE", "ac": {"s": "A", "l": 7}}
    assert event_of(changed) == LeverageUpdate("A", 7)
    assert event_of({"e": "ACCOUNT_CONFIG_UPDATE", "ai": {"j": True}}) is None
    assert event_of({"e": "listenKeyExpired", "E": 1, "listenKey": "k"}) == ListenKeyExpired()
    assert event_of({"result": ["k"], "id": 1}) == Answer()
    assert event_of({"e": "AN_EVENT_TO_COME", "x": 1}) is None


BROKEN = [
    (field, value)
    for field in sorted(set(ORDER) - {"x"})
    for value in (None, "", "nonsense", True, [], "NaN")
    if field not in ("s", "c") or not value or not isinstance(value, str)
]


@pytest.mark.parametrize(("field", "value"), BROKEN)
def test_an_order_that_cannot_be_read_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(ReplyUnreadable, match=rf"o\.{field}:"):
        event_of({"e": "ORDER_TRADE_UPDATE", "E": 1, "T": 1, "o": {**ORDER, field: value}})


@pytest.mark.parametrize(
    "frame",
    [
        *(b"", b"{", b"[]", b"7", b'"x"', b"\xff", b'{"e": 7}', b'{"e": "ORDER_TRADE_UPDATE"}'),
        *(b'{"e": "MARGIN_CALL", "p": %s}' % legs for legs in (b"{}", b'[{"s": "\xff", "ps": "LONG"}]')),
        b'{"e": "ACCOUNT_UPDATE", "a": {"m": "ORDER", "P": [{"s": "\xff", "ps": "LONG", "pa": "1"}]}}',
        b'{"e": "ACCOUNT_CONFIG_UPDATE", "ac": {"s": "\xff", "l": 1}}',
    ],
)
def test_frames_that_are_no_events_are_unreadable_and_never_a_crash(frame: bytes) -> None:
    with pytest.raises(ReplyUnreadable):
        user_event_of(frame)
