"""What BSC's orders did, according to the exchange: none opens, all are MARKET, each is a full close.

The order itself says how it was sent. Whether it was for the whole position says the position before
it, which is walked back to from the live one through the account's trades. Orders that are one part
of a close larger than the largest market order carry exactly that largest quantity.

Trades may lag behind, and a fill while all this is read shifts every amount: where trades and position do
not fit together, a size that looks wrong is not judged. A FAIL takes BSC's authority away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from quantum_trader.bsc.closing import CLIENT_ORDER_ID_PREFIX
from quantum_trader.bsc.findings import Finding, Verdict, judged
from quantum_trader.bsc.opened import is_settled
from quantum_trader.bsc.reading import Reads
from quantum_trader.domain.order import AccountTrade
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.margin_reads import MarginPosition, PastOrder

NAME = "exit-only"
JUST_BEFORE_MS = 30_000
"""A position may change between the look and the order, with slow answers and tries between them.

Each size within this time is accepted.
"""


@dataclass(frozen=True, slots=True)
class History:
    """What the exchange says of a period."""

    orders: Sequence[PastOrder]
    trades: dict[str, Sequence[AccountTrade]]
    positions: Sequence[MarginPosition]
    largest: dict[str, Decimal]
    to_ms: int
    moved: frozenset[Leg] = frozenset()
    """Legs whose position changed while their trades were read."""


async def exit_only(reads: Reads, from_ms: int, to_ms: int) -> Finding:
    """Judge every order with BSC's prefix of a period; INCONCLUSIVE where it cannot be read."""
    try:
        history = await _read(reads, from_ms, to_ms)
    except ExchangeError as failed:
        return Finding(NAME, Verdict.INCONCLUSIVE, f"the order history cannot be read: {failed}")
    problems = [problem for order in history.orders for problem in problems_of(order, history)]
    doubtful = [order.state.client_order_id for order in history.orders if _is_doubtful(order, history)]
    evidence = {"orders": [_shown(order) for order in history.orders], "from_ms": from_ms, "to_ms": to_ms}
    fine = f"{len(history.orders)} orders, each a MARKET close of a whole position"
    if doubtful and not problems:
        found = f"trades and position do not fit together yet: {', '.join(doubtful)}"
        return Finding(NAME, Verdict.INCONCLUSIVE, found, evidence)
    return judged(NAME, problems, fine, **evidence)


async def _read(reads: Reads, from_ms: int, to_ms: int) -> History:
    every = await reads.orders(from_ms, to_ms)
    orders = [order for order in every if order.state.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)]
    symbols = sorted({order.state.leg.symbol for order in orders})
    before = await reads.positions() if symbols else ()
    trades = {symbol: await reads.trades(symbol, from_ms - JUST_BEFORE_MS) for symbol in symbols}
    after = await reads.positions() if symbols else ()
    largest = {}
    for symbol in symbols:
        limit = await reads.market_quantity(symbol)
        largest[symbol] = limit.round_down(limit.maximum) if limit.maximum.is_finite() else limit.maximum
    return History(orders, trades, after, largest, to_ms, _moved(before, after))


def _moved(before: Sequence[MarginPosition], after: Sequence[MarginPosition]) -> frozenset[Leg]:
    amounts = [{(each.leg, each.amount, each.update_time_ms) for each in read} for read in (before, after)]
    return frozenset(leg for leg, _, _ in amounts[0] ^ amounts[1])


def problems_of(order: PastOrder, history: History) -> list[str]:
    """Return what is wrong with one order of BSC."""
    name, problems = order.state.client_order_id, []
    if order.type != "MARKET":
        problems.append(f"{name} is {order.type}, not MARKET")
    if not _only_reduces(order):
        problems.append(f"{name} may open: {order.state.side} without reduceOnly on {order.state.leg.key}")
    if not _is_full(order, history) and _is_certain(order, history):
        problems.append(f"{name} is no full close: {order.state.quantity} of {order.state.leg.key}")
    return problems


def _only_reduces(order: PastOrder) -> bool:
    closing = {PositionSide.LONG: Side.SELL, PositionSide.SHORT: Side.BUY}.get(order.state.leg.side)
    return order.reduce_only if closing is None else order.state.side is closing


def _is_full(order: PastOrder, history: History) -> bool:
    if order.state.quantity == history.largest[order.state.leg.symbol]:
        return True
    sizes = [amount * -order.state.side.sign for amount in _amounts_before(order, history)]
    return any(0 < size <= order.state.quantity for size in sizes)


def _is_doubtful(order: PastOrder, history: History) -> bool:
    return not _is_full(order, history) and not _is_certain(order, history)


def _is_certain(order: PastOrder, history: History) -> bool:
    """Whether the trades hold all that the order filled, and lead to the position as it stands."""
    leg = order.state.leg
    trades = [trade for trade in history.trades[leg.symbol] if trade.leg == leg]
    own = sum((trade.quantity for trade in trades if trade.order_id == order.state.order_id), Decimal(0))
    if leg in history.moved or own != order.state.executed_quantity:
        return False
    live = [each for each in history.positions if each.leg == leg]
    if not live and trades:  # a flat leg whose newest trade opened it has a close that is not listed yet
        return trades[-1].side is order.state.side
    return all(is_settled(each, trades, history.to_ms) for each in live)


def _amounts_before(order: PastOrder, history: History) -> list[Decimal]:
    """Return the signed amounts that the leg had just before the order: in the end and shortly before."""
    leg = order.state.leg
    amount = _live_amount(leg, history)
    amounts: list[Decimal] = []
    own_fills = 0
    for trade in reversed([trade for trade in history.trades[leg.symbol] if trade.leg == leg]):
        is_own = trade.order_id == order.state.order_id
        own_fills += is_own
        is_before = not is_own and (own_fills > 0 or trade.time_ms <= order.created_ms)
        if is_before:
            amounts.append(amount)
            if trade.time_ms < order.created_ms - JUST_BEFORE_MS:
                return amounts
        amount -= trade.side.sign * trade.quantity
    return [*amounts, amount]


def _live_amount(leg: Leg, history: History) -> Decimal:
    return sum((position.amount for position in history.positions if position.leg == leg), Decimal(0))


def _shown(order: PastOrder) -> dict[str, Any]:
    return {
        "client_order_id": order.state.client_order_id,
        "symbol": order.state.leg.key,
        "side": order.state.side.value,
        "type": order.type,
        "quantity": str(order.state.quantity),
        "executed": str(order.state.executed_quantity),
        "reduce_only": order.reduce_only,
        "created_ms": order.created_ms,
    }
