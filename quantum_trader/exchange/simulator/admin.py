"""The simulator's own controls over HTTP (``/sim/…``): faults, prices, clock, symbols, state.

For tests and drills only; the server opens them where the settings say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson

from quantum_trader.domain.trading import Leg, PositionSide
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.faults import FaultRule, Faults
from quantum_trader.exchange.simulator.gateway import Gateway, Reply, Request, json_reply
from quantum_trader.exchange.simulator.replies import plain, usdt

PREFIX: Final = "/sim/"
_OFFSET_MS_MAX: Final = 86_400_000


class Admin:
    """Answers ``/sim/…``; ``offset_ms`` is by how much the venue's clock is wrong on purpose."""

    def __init__(self, gateway: Gateway, faults: Faults) -> None:
        self._gateway = gateway
        self._faults = faults
        self.offset_ms = 0
        self._handlers: dict[tuple[str, str], Callable[[dict[str, Any], int], Any]] = {
            ("GET", "/sim/faults"): self._list_faults,
            ("POST", "/sim/faults"): self._add_faults,
            ("DELETE", "/sim/faults"): self._clear_faults,
            ("POST", "/sim/price"): self._set_price,
            ("POST", "/sim/clock"): self._set_clock,
            ("POST", "/sim/symbol"): self._amend_symbol,
            ("POST", "/sim/adl"): self._deleverage,
            ("POST", "/sim/listen-keys/expire"): self._expire_listen_keys,
            ("GET", "/sim/state"): self._state,
        }

    def handle(self, request: Request, now_ms: int) -> Reply:
        """Answer one control request; 400 with ``error`` where it makes no sense."""
        handler = self._handlers.get((request.method, request.path))
        if handler is None:
            return json_reply(404, {"error": f"no {request.method} {request.path}"}, {})
        try:
            wanted = orjson.loads(request.body) if request.body else {}
            return json_reply(200, handler(wanted, now_ms), {})
        except RefusedError as refusal:
            return json_reply(400, {"error": refusal.msg}, {})
        except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
            return json_reply(400, {"error": f"{type(error).__name__}: {error}"}, {})

    def _list_faults(self, _: dict[str, Any], __: int) -> Any:
        return {"rules": self._faults.rows(), "struck": self._faults.struck}

    def _add_faults(self, wanted: dict[str, Any], now_ms: int) -> Any:
        rules = wanted.get("rules", [wanted])
        for rule in [FaultRule.from_json(row) for row in rules]:
            self._faults.add(rule)
        return self._list_faults({}, now_ms)

    def _clear_faults(self, _: dict[str, Any], now_ms: int) -> Any:
        self._faults.clear()
        return self._list_faults({}, now_ms)

    def _set_price(self, wanted: dict[str, Any], now_ms: int) -> Any:
        """``{symbol, price[, mark]}`` pins, ``{symbol, factor}`` shocks, ``{symbol}`` releases."""
        market, symbol = self._gateway.venue.market, str(wanted["symbol"])
        if "price" in wanted:
            mark = _positive(wanted["mark"]) if "mark" in wanted else None
            market.pin(symbol, _positive(wanted["price"]), now_ms, mark)
        elif "factor" in wanted:
            market.shock(symbol, _positive(wanted["factor"]), now_ms)
        else:
            market.release(symbol, now_ms)
        quote = market.quote(symbol, now_ms)
        return {"symbol": symbol, "last": plain(quote.last), "mark": plain(quote.mark)}

    def _set_clock(self, wanted: dict[str, Any], _: int) -> Any:
        offset_ms = int(wanted["offset_ms"])
        if abs(offset_ms) > _OFFSET_MS_MAX:
            raise ValueError(f"offset_ms must be within ±{_OFFSET_MS_MAX}")
        self.offset_ms = offset_ms
        return {"offset_ms": offset_ms}

    def _amend_symbol(self, wanted: dict[str, Any], _: int) -> Any:
        """``{symbol[, status][, market_max][, notional_min]}`` changes a listed symbol."""
        specs, symbol = self._gateway.venue.specs, str(wanted["symbol"])
        spec = specs[symbol]
        specs[symbol] = replace(
            spec,
            status=str(wanted.get("status", spec.status)),
            market_max=_positive(wanted.get("market_max", spec.market_max)),
            notional_min=_positive(wanted.get("notional_min", spec.notional_min)),
        )
        return {"symbol": symbol, "status": specs[symbol].status}

    def _deleverage(self, wanted: dict[str, Any], now_ms: int) -> Any:
        """``{api_key, symbol[, position_side][, quantity]}`` auto-deleverages a position."""
        venue = self._gateway.venue
        account = venue.accounts[str(wanted["api_key"])]
        leg = Leg(str(wanted["symbol"]), PositionSide(wanted.get("position_side", "BOTH")))
        quantity = _positive(wanted["quantity"]) if "quantity" in wanted else None
        order = venue.deleverage(account, leg, now_ms, quantity)
        return {"orderId": order.order_id, "quantity": plain(order.executed), "price": plain(order.price)}

    def _expire_listen_keys(self, _: dict[str, Any], __: int) -> Any:
        self._gateway.venue.listen_keys.expire_all()
        return {}

    def _state(self, _: dict[str, Any], now_ms: int) -> Any:
        venue = self._gateway.venue
        return {
            "now_ms": now_ms,
            "offset_ms": self.offset_ms,
            "prices": {symbol: plain(venue.quote(symbol, now_ms).last) for symbol in venue.specs},
            "accounts": [
                {
                    "alias": account.alias,
                    "wallet": usdt(account.wallet),
                    "hedge_mode": account.hedge_mode,
                    "positions": {leg.key: plain(held.amount) for leg, held in account.positions.items()},
                    "open_orders": len(account.open_orders),
                    "orders": len(account.orders),
                    "trades": len(account.trades),
                }
                for account in venue.accounts.values()
            ],
        }


def _positive(number: Any) -> Decimal:
    amount = Decimal(str(number))
    if not amount.is_finite() or amount <= 0:
        raise ValueError(f"{number} must be a positive number")
    return amount
