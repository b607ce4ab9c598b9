"""Public endpoints (BINANCE.md 8.1): what any client may ask without a key."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from quantum_trader.domain.trading import Side
from quantum_trader.exchange.simulator.bars import DAY_MS, INTERVALS_MS, Bar
from quantum_trader.exchange.simulator.book import Level, levels
from quantum_trader.exchange.simulator.calls import Call, Route, Security, Weight
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.market import FUNDING_INTERVAL_MS, KLINES_MAX
from quantum_trader.exchange.simulator.parameters import Params, limit, optional_integer
from quantum_trader.exchange.simulator.replies import Body, plain, usdt
from quantum_trader.exchange.simulator.symbols import SymbolSpec, exchange_info_row
from quantum_trader.exchange.simulator.trade_tape import first_trade_id

_DEPTH_WEIGHTS: Final = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
_KLINE_WEIGHTS: Final = ((100, 1), (500, 2), (1001, 5), (KLINES_MAX + 1, 10))
_FUNDING_ROWS_MAX: Final = 1000
_DIGITS_MAX: Final = 9
_PREMIUM_PARTS: Final = 6  # of a candle, between which its high and low are looked for
_INTEREST_RATE: Final = "0.00010000"


def ping(call: Call) -> Body:  # noqa: ARG001 -- a handler answers a call
    """``GET /fapi/v1/ping``."""
    return {}


def time(call: Call) -> Body:
    """``GET /fapi/v1/time``."""
    return {"serverTime": call.now_ms}


def exchange_info(call: Call) -> Body:
    """``GET /fapi/v1/exchangeInfo``: always every symbol, as on the real venue."""
    return {
        "timezone": "UTC",
        "serverTime": call.now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": call.limits.rows(),
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [exchange_info_row(spec) for spec in call.venue.specs.values()],
    }


def premium_index(call: Call) -> Body | list[Body]:
    """``GET /fapi/v1/premiumIndex``, one or all."""
    return _one_or_all(call, premium_row)


def premium_row(call: Call, spec: SymbolSpec) -> Body:
    """One row of ``GET /fapi/v1/premiumIndex``."""
    quote = call.venue.market.quote(spec.symbol, call.now_ms)
    next_funding_ms = (call.now_ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS
    return {
        "symbol": spec.symbol,
        "markPrice": usdt(quote.mark),
        "indexPrice": usdt(quote.index_price),
        "estimatedSettlePrice": usdt(quote.index_price),
        "lastFundingRate": usdt(call.venue.market.funding_rate(spec.symbol, call.now_ms)),
        "interestRate": _INTEREST_RATE,
        "nextFundingTime": next_funding_ms,
        "time": call.now_ms,
    }


def depth(call: Call) -> Body:
    """``GET /fapi/v1/depth``; -1130 above 1000 rows, -4021 for a number that is not on offer."""
    spec, count = call.spec(), _depth_limit(call.params)
    quote = call.venue.market.quote(spec.symbol, call.now_ms)
    terms = call.venue.terms

    def side(taker: Side) -> list[list[str]]:
        return [level_row(row) for row in levels(spec, quote, taker, terms.depth_usdt, count)]

    return {
        "lastUpdateId": call.now_ms,
        "E": call.now_ms,
        "T": call.now_ms,
        "bids": side(Side.SELL),
        "asks": side(Side.BUY),
    }


def level_row(level: Level) -> list[str]:
    """Price and quantity of one level of the book."""
    return [plain(level.price), plain(level.quantity)]


def _depth_limit(params: Params) -> int:
    count = limit(params, 500, 1000)
    if count not in _DEPTH_WEIGHTS:
        raise RefusedError(-4021, limit=count)
    return count


def klines(call: Call) -> list[list[Any]]:
    """``GET /fapi/v1/klines``."""
    spec = call.spec()
    return [kline_row(bar, spec, call.now_ms) for bar in _bars(call, spec)]


def price_klines(call: Call) -> list[list[Any]]:
    """``GET /fapi/v1/markPriceKlines`` and ``indexPriceKlines``: no volumes.

    The path is the last price's; the few millionths between last and mark are left out.
    """
    spec = call.spec("pair" if "pair" in call.params else "symbol")
    return [kline_row(bar._replace(volume=0), spec, call.now_ms) for bar in _bars(call, spec)]


def premium_klines(call: Call) -> list[list[Any]]:
    """``GET /fapi/v1/premiumIndexKlines``: how far the mark is from the index; no volumes."""
    spec = call.spec()
    return [_premium_row(call, spec, bar) for bar in _bars(call, spec)]


def _premium_row(call: Call, spec: SymbolSpec, bar: Bar) -> list[Any]:
    length_ms = min(bar.end_ms, call.now_ms) - bar.open_ms
    moments = [bar.open_ms + length_ms * part // _PREMIUM_PARTS for part in range(_PREMIUM_PARTS + 1)]
    premiums = [call.venue.market.premium(spec.symbol, at_ms) for at_ms in moments]
    prices = (premiums[0], max(premiums), min(premiums), premiums[-1])
    taken = trade_count(bar, call.now_ms)
    return [bar.open_ms, *map(usdt, prices), "0", bar.end_ms - 1, "0", taken, "0", "0", "0"]


def _bars(call: Call, spec: SymbolSpec) -> list[Bar]:
    interval = call.params.get("interval", "")
    if interval not in INTERVALS_MS:
        raise RefusedError(-1120)
    window = (optional_integer(call.params, "startTime"), optional_integer(call.params, "endTime"))
    count = limit(call.params, 500, KLINES_MAX)
    return call.venue.market.klines(spec.symbol, interval, call.now_ms, count, window)


def kline_row(bar: Bar, spec: SymbolSpec, now_ms: int) -> list[Any]:
    """The twelve columns of a candle, as far as it has come at ``now_ms``."""
    volume = bar.volume * spec.step
    typical = (bar.open + bar.close) * spec.tick / 2
    taker = volume * Decimal("0.5") // spec.step * spec.step
    return [
        bar.open_ms,
        plain(bar.open * spec.tick),
        plain(bar.high * spec.tick),
        plain(bar.low * spec.tick),
        plain(bar.close * spec.tick),
        plain(volume),
        bar.end_ms - 1,
        plain(volume * typical),
        trade_count(bar, now_ms),
        plain(taker),
        plain(taker * typical),
        "0",
    ]


def trade_count(bar: Bar, now_ms: int) -> int:
    """How many trades a reported candle has had by ``now_ms``."""
    return first_trade_id(min(bar.end_ms, now_ms)) - first_trade_id(bar.open_ms)


def ticker_price(call: Call) -> Body | list[Body]:
    """``GET /fapi/v2/ticker/price`` and v1."""
    return _one_or_all(call, _price_row)


def _price_row(call: Call, spec: SymbolSpec) -> Body:
    last = call.venue.market.quote(spec.symbol, call.now_ms).last
    return {"symbol": spec.symbol, "price": plain(last), "time": call.now_ms}


def book_ticker(call: Call) -> Body | list[Body]:
    """``GET /fapi/v1/ticker/bookTicker``."""
    return _one_or_all(call, book_row)


def book_row(call: Call, spec: SymbolSpec) -> Body:
    """One row of ``GET /fapi/v1/ticker/bookTicker``."""
    quote = call.venue.market.quote(spec.symbol, call.now_ms)
    depth_usdt = call.venue.terms.depth_usdt
    bid = levels(spec, quote, Side.SELL, depth_usdt, 1)[0]
    ask = levels(spec, quote, Side.BUY, depth_usdt, 1)[0]
    return {
        "symbol": spec.symbol,
        "bidPrice": plain(bid.price),
        "bidQty": plain(bid.quantity),
        "askPrice": plain(ask.price),
        "askQty": plain(ask.quantity),
        "time": call.now_ms,
        "lastUpdateId": call.now_ms,
    }


def ticker_24h(call: Call) -> Body | list[Body]:
    """``GET /fapi/v1/ticker/24hr``."""
    return _one_or_all(call, day_row)


def day_row(call: Call, spec: SymbolSpec) -> Body:
    """One row of ``GET /fapi/v1/ticker/24hr``."""
    day = call.venue.market.window(spec.symbol, call.now_ms, DAY_MS)
    first, last = day.open * spec.tick, day.close * spec.tick
    volume = day.volume * spec.step
    first_id, next_id = first_trade_id(call.now_ms - DAY_MS), first_trade_id(call.now_ms)
    average = (first + last) / 2
    return {
        "symbol": spec.symbol,
        "priceChange": plain(last - first),
        "priceChangePercent": f"{(last - first) / first * 100:.3f}",
        "weightedAvgPrice": f"{average:.{spec.price_precision}f}",
        "lastPrice": plain(last),
        "lastQty": plain(spec.step),
        "openPrice": plain(first),
        "highPrice": plain(day.high * spec.tick),
        "lowPrice": plain(day.low * spec.tick),
        "volume": plain(volume),
        "quoteVolume": f"{volume * average:.2f}",
        "openTime": call.now_ms - DAY_MS,
        "closeTime": call.now_ms,
        "firstId": first_id,
        "lastId": next_id - 1,
        "count": next_id - first_id,
    }


def funding_rate(call: Call) -> list[Body]:
    """``GET /fapi/v1/fundingRate``: past fundings, ascending."""
    symbols = [call.spec().symbol] if call.params.get("symbol") else list(call.venue.specs)
    count = limit(call.params, 100, _FUNDING_ROWS_MAX)
    start_ms = optional_integer(call.params, "startTime")
    end_ms = min(call.now_ms, optional_integer(call.params, "endTime") or call.now_ms)
    newest_ms = end_ms // FUNDING_INTERVAL_MS * FUNDING_INTERVAL_MS
    periods = -(-count // len(symbols))
    first_ms = newest_ms - (periods - 1) * FUNDING_INTERVAL_MS
    if start_ms is not None:
        first_ms = max(first_ms, -(-start_ms // FUNDING_INTERVAL_MS) * FUNDING_INTERVAL_MS)
    due = range(first_ms, newest_ms + 1, FUNDING_INTERVAL_MS)
    return [_funding_row(call, symbol, at_ms) for at_ms in due for symbol in symbols][:count]


def _funding_row(call: Call, symbol: str, at_ms: int) -> Body:
    market = call.venue.market
    return {
        "symbol": symbol,
        "fundingTime": at_ms,
        "fundingRate": usdt(market.funding_rate(symbol, at_ms - 1)),
        "markPrice": usdt(market.quote(symbol, at_ms).mark),
        "rateType": "Regular",
    }


def funding_info(call: Call) -> list[Body]:  # noqa: ARG001 -- a handler answers a call
    """``GET /fapi/v1/fundingInfo``: only symbols with adjusted terms, of which there are none."""
    return []


def _one_or_all(call: Call, row: Callable[[Call, SymbolSpec], Body]) -> Body | list[Body]:
    if call.params.get("symbol"):
        return row(call, call.spec())
    return [row(call, spec) for spec in call.venue.specs.values()]


def _weight(one: int, everything: int) -> Weight:
    return lambda params: one if params.get("symbol") else everything


def _depth_weight(params: Params) -> int:
    return _DEPTH_WEIGHTS.get(_number(params, 500), 2)


def _kline_weight(params: Params) -> int:
    count = _number(params, 500)
    return next((weight for below, weight in _KLINE_WEIGHTS if count < below), 10)


def _number(params: Params, default: int) -> int:
    text = params.get("limit", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS_MAX else default


def _public(handler: Callable[[Call], Any], weight: Weight = 1, *required: str) -> Route:
    return Route(Security.NONE, handler, weight, required)


ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("GET", "/fapi/v1/ping"): _public(ping),
    ("GET", "/fapi/v1/time"): _public(time),
    ("GET", "/api/v3/ping"): _public(ping),
    ("GET", "/api/v3/time"): _public(time),
    ("GET", "/fapi/v1/exchangeInfo"): _public(exchange_info),
    ("GET", "/fapi/v1/premiumIndex"): _public(premium_index, _weight(1, 10)),
    ("GET", "/fapi/v1/depth"): _public(depth, _depth_weight, "symbol"),
    ("GET", "/fapi/v1/klines"): _public(klines, _kline_weight, "symbol", "interval"),
    ("GET", "/fapi/v1/markPriceKlines"): _public(price_klines, _kline_weight, "symbol", "interval"),
    ("GET", "/fapi/v1/indexPriceKlines"): _public(price_klines, _kline_weight, "pair", "interval"),
    ("GET", "/fapi/v1/premiumIndexKlines"): _public(premium_klines, _kline_weight, "symbol", "interval"),
    ("GET", "/fapi/v1/ticker/price"): _public(ticker_price, _weight(1, 2)),
    ("GET", "/fapi/v2/ticker/price"): _public(ticker_price, _weight(1, 2)),
    ("GET", "/fapi/v1/ticker/bookTicker"): _public(book_ticker, _weight(2, 5)),
    ("GET", "/fapi/v1/ticker/24hr"): _public(ticker_24h, _weight(1, 40)),
    ("GET", "/fapi/v1/fundingRate"): _public(funding_rate, 0),
    ("GET", "/fapi/v1/fundingInfo"): _public(funding_info, 0),
}
