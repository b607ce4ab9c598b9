"""Streams that drop, fall silent or are refused: noticed, read around, and back (INC-87, INC-88)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.house import NO_STREAMS, House, house, until

from quantum_trader import housekeeping
from quantum_trader.domain.trading import Leg, PositionSide
from quantum_trader.exchange.simulator import FaultKind

PATIENCE_S = 90


@pytest.fixture
async def following(running: House) -> House:
    """An engine whose streams are live."""
    await running.until_live()
    return running


def rooms_of(house: House) -> Any:
    """What the engine holds in memory."""
    return house.app._joined.rooms  # type: ignore[union-attr]


def amount_of(house: House, symbol: str, side: PositionSide = PositionSide.BOTH) -> Decimal:
    """The amount that the engine believes in."""
    amount: Decimal = rooms_of(house).account.positions.value.amount(Leg(symbol, side))
    return amount


def soon(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return condition()

    return holds


async def reconnected(house: House, stream: str, connections_before: int) -> None:
    """Wait until the stream was opened anew and is live."""

    def is_back() -> bool:
        status = house.streams[stream]
        return bool(status["live"]) and status["connections"] > connections_before

    await until(soon(is_back), PATIENCE_S, f"a new {stream} stream")


@pytest.mark.parametrize(("stream", "path"), [("user", "/private"), ("market", "/market")])
@pytest.mark.parametrize("kind", [FaultKind.STREAM_DROP, FaultKind.STREAM_SILENCE])
async def test_inc_87_88_a_dead_stream_is_noticed_and_comes_back(
    following: House, stream: str, path: str, kind: FaultKind
) -> None:
    before = following.streams[stream]["connections"]
    following.fault(kind, path=path, ms=60_000)
    await reconnected(following, stream, before)


async def test_inc_88_while_the_user_stream_is_dead_reads_find_what_others_traded(following: House) -> None:
    following.fault(FaultKind.STREAM_DROP, path="/private", count=100)
    await until(soon(lambda: not following.streams["user"]["live"]), PATIENCE_S, "a dead stream")
    await following.trade("XRPUSDT", "BUY", Decimal(20), "by-hand-1")
    await until(soon(lambda: amount_of(following, "XRPUSDT") == 20), PATIENCE_S, "the position")
    await until(lambda: event_of(following, "FOREIGN_ORDER"), PATIENCE_S, "the foreign order's event")
    assert (await following.close())["decision"] == "FILLED"


async def test_inc_88_while_the_market_stream_is_silent_marks_are_read(following: House) -> None:
    following.fault(FaultKind.STREAM_SILENCE, path="/market", ms=60_000, count=100)
    market = rooms_of(following).market
    await until(soon(lambda: not following.streams["market"]["live"]), PATIENCE_S, "a dead stream")
    read_at_ms = market.marks.read_at_ms
    await until(soon(lambda: market.marks.read_at_ms > read_at_ms), PATIENCE_S, "marks by a read")
    assert market.mark_of("XRPUSDT").source == "premiumIndex"
    assert (await following.open())["decision"] == "FILLED"


async def test_inc_88_a_stream_that_answers_and_tells_no_fill_is_opened_anew(following: House) -> None:
    before = following.streams["user"]["connections"]
    following.fault(FaultKind.STREAM_LATE, path="/private", event="ORDER_TRADE_UPDATE", ms=60_000, count=100)
    assert (await following.open())["decision"] == "FILLED"
    await reconnected(following, "user", before)


async def test_inc_87_an_expired_listen_key_is_replaced(following: House) -> None:
    before = following.streams["user"]["connections"]
    following.venue.venue.listen_keys.expire_all()
    await reconnected(following, "user", before)
    await following.trade("XRPUSDT", "BUY", Decimal(20), "by-hand-2")
    news = rooms_of(following).order_news
    await until(soon(lambda: news.of("by-hand-2") is not None), PATIENCE_S, "word of the order")


async def test_with_every_stream_refused_the_engine_works_on_reads(tmp_path: Path) -> None:
    async with house(tmp_path, exchange=NO_STREAMS) as running:
        assert (await running.open())["decision"] == "FILLED"
        await running.trade("ADAUSDT", "BUY", Decimal(100), "by-hand-3")
        await until(soon(lambda: amount_of(running, "ADAUSDT") == 100), PATIENCE_S, "the position")
        assert (await running.close())["decision"] == "FILLED"
        assert not any(link["live"] for link in running.streams.values())


async def test_inc_69_a_fill_of_a_symbol_that_nobody_knew_is_adopted(following: House) -> None:
    await following.trade("AVAXUSDT", "BUY", Decimal(2), "by-hand-4")
    await until(soon(lambda: amount_of(following, "AVAXUSDT") == 2), PATIENCE_S, "the position")
    ledger = rooms_of(following).ledger
    await until(soon(lambda: ledger[Leg("AVAXUSDT")].position_amt == 2), PATIENCE_S, "the ledger's adoption")


async def test_a_foreign_order_that_only_rests_is_shown_once(following: House) -> None:
    resting = {"symbol": "XRPUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "40"}
    price = following.venue.venue.quote("XRPUSDT", following.app._clock.now_ms()).last / 2
    await following.send("/fapi/v1/order", **resting, price=f"{price:.2f}", newClientOrderId="by-hand-5")
    await until(lambda: event_of(following, "FOREIGN_ORDER"), PATIENCE_S, "the foreign order's event")
    following.fault(FaultKind.STREAM_DOUBLE, path="/private", count=50)
    await following.trade("XRPUSDT", "BUY", Decimal(20), "by-hand-6")
    await until(soon(lambda: amount_of(following, "XRPUSDT") == 20), PATIENCE_S, "the position")
    assert (await following.close())["decision"] == "FILLED"
    shown = [event["client_order_id"] for event in await following.events("FOREIGN_ORDER")]
    assert sorted(shown) == ["by-hand-5", "by-hand-6"]


async def rest_by_hand(house: House, name: str) -> None:
    """Place an order far below the market, as a person with the app would."""
    price = house.venue.venue.quote("XRPUSDT", house.app._clock.now_ms()).last / 2
    resting = {"symbol": "XRPUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "40"}
    await house.send("/fapi/v1/order", **resting, price=f"{price:.2f}", newClientOrderId=name)


async def test_a_foreign_order_that_came_to_rest_while_the_stream_was_down_is_shown_when_it_is_back(
    following: House,
) -> None:
    before = following.streams["user"]["connections"]
    following.fault(FaultKind.STREAM_LATE, path="/private", event="ORDER_TRADE_UPDATE", ms=60_000, count=100)
    await rest_by_hand(following, "by-hand-7")
    following.fault(FaultKind.STREAM_DROP, path="/private")
    await reconnected(following, "user", before)
    await until(lambda: event_of(following, "FOREIGN_ORDER"), PATIENCE_S, "the foreign order's event")


async def test_a_foreign_order_that_rests_is_found_once_though_there_is_no_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "RESTING_ORDERS_EVERY_S", 0.2)
    async with house(tmp_path, exchange=NO_STREAMS) as running:
        await rest_by_hand(running, "by-hand-8")
        await until(lambda: event_of(running, "FOREIGN_ORDER"), PATIENCE_S, "the foreign order's event")
        await rest_by_hand(running, "by-hand-9")

        async def both_shown() -> bool:
            return len(await running.events("FOREIGN_ORDER")) >= 2

        await until(both_shown, PATIENCE_S, "the second order's event")
        shown = [event["client_order_id"] for event in await running.events("FOREIGN_ORDER")]
        assert sorted(shown) == ["by-hand-8", "by-hand-9"]


async def test_a_liquidation_cools_down_and_disarms_as_soon_as_it_is_told(following: House) -> None:
    await following.trade("XRPUSDT", "BUY", Decimal(20), "autoclose-77")

    async def both_set() -> bool:
        names = following.keys.disarmed, following.keys.cooldown_symbol("XRPUSDT")
        return await following.redis.exists(*names) == len(names)

    await until(both_set, PATIENCE_S, "the disarm and the cooldown")
    assert rooms_of(following).order_news.of("autoclose-77") is not None


async def test_leverage_that_was_changed_elsewhere_is_known(following: House) -> None:
    await following.send("/fapi/v1/leverage", symbol="XRPUSDT", leverage=7)
    account = rooms_of(following).account
    await until(soon(lambda: account.leverages.get("XRPUSDT") == 7), PATIENCE_S, "the leverage")


async def test_inc_65_a_mark_price_is_as_old_as_its_source_event(following: House) -> None:
    market, clock = rooms_of(following).market, following.app._clock
    await until(soon(lambda: market.mark_of("XRPUSDT").source == "stream"), PATIENCE_S, "a streamed mark")
    now_ms = clock.now_ms()
    market.take_mark("NEWUSDT", Decimal(1), now_ms - 60_000)
    market.take_mark("NEWUSDT", Decimal(2), now_ms - 90_000)
    known = market.mark_of("NEWUSDT")
    assert (known.value, known.read_at_ms) == (Decimal(1), now_ms - 60_000)


async def test_inc_32_a_position_mode_changed_while_running_is_noticed(following: House) -> None:
    assert (await following.open())["decision"] == "FILLED"
    assert (await following.close())["decision"] == "FILLED"
    await following.send("/fapi/v1/positionSide/dual", dualSidePosition="true")
    account = rooms_of(following).account
    await until(soon(lambda: account.positions.value.hedge_mode), PATIENCE_S, "hedge mode")
    assert (await following.open("XRPUSDT", side="SELL"))["decision"] == "FILLED"
    await until(soon(lambda: amount_of(following, "XRPUSDT", PositionSide.SHORT) == -20), PATIENCE_S, "it")
    assert (await following.close("XRPUSDT"))["decision"] == "FILLED"
    assert await following.ask("/fapi/v3/positionRisk") == []


async def test_inc_32_a_refusal_for_the_position_mode_puts_the_next_plan_right(following: House) -> None:
    await following.send("/fapi/v1/positionSide/dual", dualSidePosition="true")
    first = await following.open("XRPUSDT")
    second = await following.open("ADAUSDT", qty=100)
    assert first["decision"] in ("REJECTED", "FILLED")
    assert second["decision"] == "FILLED"
    assert (await following.close("ADAUSDT"))["decision"] == "FILLED"


async def event_of(house: House, name: str) -> dict[str, str] | None:
    """The first event of that name, once there is one."""
    return next(iter(await house.events(name)), None)
