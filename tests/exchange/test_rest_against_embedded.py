"""The client against the embedded exchange, over sockets."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest
from msgspec import structs

from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.order import Accepted, Claimed, ExitOrder, OpenOrder, OrderStatus, Rejected
from quantum_trader.domain.trading import Leg, Side
from quantum_trader.exchange.binance import Exchange, connect
from quantum_trader.exchange.codes import Refusal, refusal_of
from quantum_trader.exchange.errors import KeyRefused
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.simulator.embedded import EmbeddedExchange
from quantum_trader.exchange.simulator.settings import AccountSettings, SimulatorSettings

BITCOIN = Leg("BTCUSDT")


@pytest.fixture
async def embedded_url() -> AsyncIterator[str]:
    accounts = (AccountSettings("paper", "paper"),)
    embedded = EmbeddedExchange(SimulatorSettings(accounts=accounts), SystemClock())
    yield await embedded.start()
    await embedded.stop()


@pytest.fixture
async def settings(embedded_url: str) -> ExchangeSettings:
    return ExchangeSettings(embedded_url, "paper", "paper")


@pytest.fixture
async def venue(settings: ExchangeSettings) -> AsyncIterator[Exchange]:
    exchange = connect(settings, SystemClock())
    yield exchange
    await exchange.close()


def _open(venue: Exchange, client_order_id: str, quantity: str = "0.002") -> Claimed:
    timestamp_ms = venue.clock.signing_time_ms()
    order = OpenOrder(BITCOIN, Side.BUY, Decimal(quantity), client_order_id, timestamp_ms)
    return Claimed.granted(order, "plan-1", 1)


def _exit(venue: Exchange, client_order_id: str, quantity: str = "0.002") -> ExitOrder:
    timestamp_ms = venue.clock.signing_time_ms()
    return ExitOrder(BITCOIN, Side.SELL, Decimal(quantity), client_order_id, timestamp_ms)


async def test_a_position_is_opened_found_traced_and_closed(venue: Exchange) -> None:
    await venue.clock.measure()
    started_ms = venue.clock.signing_time_ms()
    await venue.entry.set_leverage("BTCUSDT", 5)
    opened = await venue.entry.open_position(_open(venue, "qt-1"))
    assert isinstance(opened, Accepted)
    assert opened.order.status is OrderStatus.FILLED
    assert (await venue.account.leverages())["BTCUSDT"] == 5
    assert (await venue.account.positions()).amount(BITCOIN) == Decimal("0.002")
    found = await venue.account.order("BTCUSDT", "qt-1")
    assert found is not None
    assert found.avg_price
    assert await venue.account.client_order_id_of("BTCUSDT", found.order_id) == "qt-1"
    await venue.exits.cancel_open_orders("BTCUSDT")
    assert isinstance(await venue.exits.reduce_position(_exit(venue, "qt-2")), Accepted)
    assert BITCOIN not in await venue.account.positions()
    trades = await venue.account.trades("BTCUSDT", started_ms - 1_000)
    assert sum(trade.side.sign * trade.quantity for trade in trades) == 0
    assert {trade.order_id for trade in trades} >= {found.order_id}


async def test_an_exit_on_a_flat_symbol_is_refused_for_the_state_of_the_position(venue: Exchange) -> None:
    outcome = await venue.exits.reduce_position(_exit(venue, "qt-1"))
    assert isinstance(outcome, Rejected)
    assert refusal_of(outcome.code) is Refusal.POSITION_STATE


async def test_an_order_signed_with_an_old_timestamp_is_refused_for_its_time(venue: Exchange) -> None:
    late = structs.replace(_exit(venue, "qt-1"), timestamp_ms=venue.clock.signing_time_ms() - 60_000)
    outcome = await venue.exits.reduce_position(late)
    assert isinstance(outcome, Rejected)
    assert refusal_of(outcome.code) is Refusal.TIME
    assert await venue.account.order("BTCUSDT", "qt-1") is None


async def test_an_order_beyond_the_margin_counts_as_a_margin_failure(venue: Exchange) -> None:
    await venue.entry.set_leverage("BTCUSDT", 1)
    outcome = await venue.entry.open_position(_open(venue, "qt-1", "50"))
    assert isinstance(outcome, Rejected)
    assert refusal_of(outcome.code) is Refusal.MARGIN


async def test_every_read_has_an_answer(venue: Exchange) -> None:
    rules = await venue.market.symbol_rules()
    marks = await venue.market.mark_prices()
    assert rules["BTCUSDT"].is_trading
    assert rules["BTCUSDT"].market_quantity.step > 0
    assert marks["BTCUSDT"] > 0
    candles = await venue.market.klines("BTCUSDT", "1h", 100)
    assert [candle.open_time_ms for candle in candles] == sorted(candle.open_time_ms for candle in candles)
    assert len(candles) == 100
    assert (await venue.account.account()).available_balance == 10_000
    assert await venue.account.account_id() == await venue.reserved_account.account_id()
    assert (await venue.account.account_config()).can_trade
    assert not await venue.account.is_hedge_mode()


async def test_a_wrong_secret_is_told_with_advice(settings: ExchangeSettings) -> None:
    stranger = connect(replace(settings, api_secret="wrong"), SystemClock())
    with pytest.raises(KeyRefused, match="does not belong to the key"):
        await stranger.account.account()
    await stranger.close()
