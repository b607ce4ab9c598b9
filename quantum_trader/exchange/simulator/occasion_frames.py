"""Payloads of market streams that speak only when something has happened (BINANCE.md 11)."""

from __future__ import annotations

from quantum_trader.exchange.simulator.calls import Call
from quantum_trader.exchange.simulator.market_frames import USD_MARGINED
from quantum_trader.exchange.simulator.replies import Body, average_price, number, plain
from quantum_trader.exchange.simulator.symbols import SymbolSpec, exchange_info_row
from quantum_trader.exchange.simulator.valuation import brackets_of


def liquidations_since(call: Call, symbol: str, since_ms: int) -> list[Body]:
    """``<s>@forceOrder`` and ``!forceOrder@arr``: of each symbol the latest liquidation since then."""
    latest = {
        order.symbol: order
        for order in call.venue.liquidations
        if order.updated_ms > since_ms and symbol in ("", order.symbol)
    }
    return [
        {
            "e": "forceOrder",
            "E": call.now_ms,
            "o": {
                "s": order.symbol,
                "S": order.side.value,
                "o": order.type,
                "f": order.time_in_force,
                "q": plain(order.quantity),
                "p": plain(order.price),
                "ap": plain(average_price(order)),
                "X": order.status.value,
                "l": plain(order.executed),
                "z": plain(order.executed),
                "T": order.updated_ms,
            },
        }
        for order in latest.values()
    ]


def contract_info(call: Call, spec: SymbolSpec) -> Body:
    """``!contractInfo`` about one symbol whose status or filters were changed."""
    row = exchange_info_row(spec)
    return {
        "e": "contractInfo",
        "E": call.now_ms,
        "s": spec.symbol,
        "ps": spec.symbol,
        "ct": row["contractType"],
        "dt": row["deliveryDate"],
        "ot": row["onboardDate"],
        "cs": spec.status,
        "bks": _brackets(spec),
        "st": USD_MARGINED,
    }


def _brackets(spec: SymbolSpec) -> list[Body]:
    steps = brackets_of(spec.symbol)
    least = [step.leverage + 1 for step in steps[1:]] + [1]
    return [
        {
            "bs": step.number,
            "bnf": int(step.floor),
            "bnc": int(step.cap),
            "mmr": float(step.rate),
            "cf": number(step.cum),
            "mi": leverage_min,
            "ma": step.leverage,
        }
        for step, leverage_min in zip(steps, least, strict=True)
    ]
