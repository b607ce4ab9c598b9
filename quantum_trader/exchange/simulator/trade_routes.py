"""Public endpoints about what others trade and hold (BINANCE.md 8.1)."""

from __future__ import annotations

from typing import Final

from quantum_trader.exchange.simulator.bars import DAY_MS, HOUR_MS
from quantum_trader.exchange.simulator.calls import Call, Route, Security
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.parameters import limit, optional_integer
from quantum_trader.exchange.simulator.replies import Body, plain
from quantum_trader.exchange.simulator.trade_tape import TRADES_A_SECOND, TapeTrade, second_of, trades_between

_ROWS: Final = 500
_ROWS_MAX: Final = 1000
_SECOND_MS: Final = 1000


def aggregate_trades(call: Call) -> list[Body]:
    """``GET /fapi/v1/aggTrades``: from an id or a time on, else the newest; ascending."""
    spec, count = call.spec(), limit(call.params, _ROWS, _ROWS_MAX)
    from_id, start_ms = optional_integer(call.params, "fromId"), optional_integer(call.params, "startTime")
    end_ms = min(call.now_ms, optional_integer(call.params, "endTime") or call.now_ms)
    if start_ms is not None and end_ms - start_ms > HOUR_MS:
        raise RefusedError(-1127)
    width_ms = (-(-count // TRADES_A_SECOND) + 2) * _SECOND_MS
    if from_id is not None:
        start_ms = second_of(from_id)
    first_ms = (end_ms - width_ms if start_ms is None else start_ms) // _SECOND_MS * _SECOND_MS
    last_ms = min(call.now_ms, first_ms + width_ms + _SECOND_MS)
    rows = [
        _trade_row(trade)
        for trade in trades_between(call.venue.market, spec, first_ms, last_ms)
        if trade.trade_id >= (from_id or 0) and (start_ms or 0) <= trade.time_ms <= end_ms
    ]
    return rows[-count:] if start_ms is None else rows[:count]


def _trade_row(trade: TapeTrade) -> Body:
    return {
        "a": trade.trade_id,
        "p": plain(trade.price),
        "q": plain(trade.quantity),
        "nq": plain(trade.quantity),
        "f": trade.trade_id,
        "l": trade.trade_id,
        "T": trade.time_ms,
        "m": trade.buyer_is_maker,
    }


def open_interest(call: Call) -> Body:
    """``GET /fapi/v1/openInterest``: half of what was traded in the last day."""
    spec = call.spec()
    day = call.venue.market.window(spec.symbol, call.now_ms, DAY_MS)
    return {
        "symbol": spec.symbol,
        "openInterest": plain(day.volume // 2 * spec.step),
        "time": call.now_ms,
    }


ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("GET", "/fapi/v1/aggTrades"): Route(Security.NONE, aggregate_trades, 20, ("symbol",)),
    ("GET", "/fapi/v1/openInterest"): Route(Security.NONE, open_interest, 1, ("symbol",)),
}
