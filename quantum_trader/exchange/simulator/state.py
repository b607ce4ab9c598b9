"""The venue's accounts as JSON and back, and a file that keeps them over restarts.

Decimals are strings. Histories are cut to what a restart needs, so that saving stays cheap.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.order import OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.simulator.algo_model import AlgoOrder
from quantum_trader.exchange.simulator.events import Event
from quantum_trader.exchange.simulator.model import Account, Holding, Income, Order, SymbolSetting, Trade
from quantum_trader.exchange.simulator.venue import Venue

VERSION: Final = 1
ORDERS_SAVED_MAX: Final = 500
TRADES_SAVED_MAX: Final = 2000
INCOMES_SAVED_MAX: Final = 500
SAVE_AFTER_S: Final = 0.5
_REVIVERS: Final[dict[str, Any]] = {
    "Decimal": Decimal,
    "Side": Side,
    "PositionSide": PositionSide,
    "OrderStatus": OrderStatus,
}
Record = TypeVar("Record", Order, AlgoOrder, Trade, Income, Holding, SymbolSetting)


class StateFileError(ValueError):
    """A state file that cannot be used; the text names the file and what to do."""


def dump(venue: Venue) -> bytes:
    """Everything that a restart needs, as JSON."""
    desk = venue.desk
    return orjson.dumps(
        {
            "version": VERSION,
            "order_ids": desk.order_ids,
            "trade_ids": desk.trade_ids,
            "tran_id": desk.tran_id,
            "algo_id": desk.algo_id,
            "accounts": {key: _account(account) for key, account in venue.accounts.items()},
        },
        default=str,
    )


def load(venue: Venue, text: bytes) -> None:
    """Put the saved state into ``venue``; accounts it was not given keys for are left out.

    Raises ValueError or KeyError for anything that ``dump`` did not write.
    """
    saved = orjson.loads(text)
    if saved["version"] != VERSION:
        raise ValueError(f"version {saved['version']} is not {VERSION}")
    desk = venue.desk
    desk.order_ids.update(saved["order_ids"])
    desk.trade_ids.update(saved["trade_ids"])
    desk.tran_id = saved["tran_id"]
    desk.algo_id = saved.get("algo_id", 0)
    for key, row in saved["accounts"].items():
        if key in venue.accounts:
            _restore(venue.accounts[key], row)


def _account(account: Account) -> dict[str, Any]:
    finished = [order for key, order in account.orders.items() if key not in account.open_orders]
    return {
        "wallet": account.wallet,
        "hedge_mode": account.hedge_mode,
        "updated_ms": account.updated_ms,
        "settings": account.settings,
        "positions": [[leg.symbol, leg.side, held] for leg, held in account.positions.items()],
        "realized": [[leg.symbol, leg.side, amount] for leg, amount in account.realized.items()],
        "open_orders": list(account.open_orders.values()),
        "algos": list(account.algos.values()),
        "orders": finished[-ORDERS_SAVED_MAX:],
        "trades": _last(account.trades, TRADES_SAVED_MAX),
        "incomes": _last(account.incomes, INCOMES_SAVED_MAX),
    }


def _last(rows: Iterable[Any], count: int) -> list[Any]:
    return list(islice(reversed(list(rows)), count))[::-1]


def _restore(account: Account, row: dict[str, Any]) -> None:
    account.wallet = Decimal(row["wallet"])
    account.hedge_mode = row["hedge_mode"]
    account.updated_ms = row["updated_ms"]
    account.settings = {symbol: _revived(SymbolSetting, cell) for symbol, cell in row["settings"].items()}
    account.positions = {
        Leg(symbol, PositionSide(side)): _revived(Holding, held) for symbol, side, held in row["positions"]
    }
    account.realized = {
        Leg(symbol, PositionSide(side)): Decimal(amount) for symbol, side, amount in row.get("realized", ())
    }
    orders = [_revived(Order, cell) for cell in [*row["orders"], *row["open_orders"]]]
    for order in sorted(orders, key=lambda order: (order.created_ms, order.order_id)):
        if not order.status.is_final:
            account.open_orders[order.symbol, order.order_id] = order
        account.record(order)
    for algo in [_revived(AlgoOrder, cell) for cell in row.get("algos", ())]:
        account.record_algo(algo)
        if algo.actual_order_id and not algo.is_final:
            del account.open_algos[algo.algo_id]
            account.triggered_algos[algo.symbol, algo.actual_order_id] = algo
    account.trades.extend(_revived(Trade, cell) for cell in row["trades"])
    account.incomes.extend(_revived(Income, cell) for cell in row["incomes"])
    account.remember(account.updated_ms)


def _revived(kind: type[Record], row: dict[str, Any]) -> Record:
    known = [item for item in fields(kind) if item.name in row]  # an older file lacks what came later
    values = {item.name: _REVIVERS.get(str(item.type), _same)(row[item.name]) for item in known}
    return kind(**values)


def _same(cell: Any) -> Any:
    return cell


class StateFile:
    """Writes the venue to ``path`` soon after it changed, atomically, and reads it at start."""

    def __init__(self, path: Path, venue: Venue, clock: Clock) -> None:
        self._path, self._venue, self._clock = path, venue, clock
        self._changed = asyncio.Event()
        self._saver: asyncio.Task[None] | None = None
        # One thread: a write that runs when its task is cancelled ends before the last one begins.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state-file")

    def read(self) -> None:
        """Load the file if there is one; ``StateFileError`` where it cannot be used."""
        try:
            load(self._venue, self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateFileError(
                f"{self._path}: {error}; move the file away to start with fresh accounts"
            ) from error

    def start(self) -> None:
        """Begin to save after changes."""
        self._venue.observe(self._note)
        self._saver = asyncio.create_task(self._save_after_changes())

    async def stop(self) -> None:
        """Save a last time and end."""
        if self._saver is not None:
            self._saver.cancel()
            await asyncio.gather(self._saver, return_exceptions=True)
        await self._save()
        self._writer.shutdown(wait=False)

    def _note(self, _: Event) -> None:
        self._changed.set()

    async def _save_after_changes(self) -> None:
        while True:
            await self._changed.wait()
            await self._clock.sleep(SAVE_AFTER_S)
            self._changed.clear()
            await self._save()

    async def _save(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, self._write, dump(self._venue))

    def _write(self, text: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(self._path.suffix + ".new")
        with beside.open("wb") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(self._path)
