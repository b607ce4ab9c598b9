"""The ledger: what the engine believes it holds. It follows the exchange, which is the truth (SPEC 8)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation

from msgspec import Struct
from msgspec.structs import replace

from quantum_trader.domain.facts import Holding
from quantum_trader.domain.order import OrderState
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.result import plain
from quantum_trader.domain.trading import ZERO, Leg, Position, Positions
from quantum_trader.positions.live import entry_after

SOURCE_FILL = "fill"  # a fill of ours opened what the leg holds
SOURCE_EXCHANGE = "exchange"  # somebody else did, and it was adopted
ENTRY_TOLERANCE = Decimal("0.0001")  # of the entry price
DIGITS_MAX = 30
COUNTED_MAX = 10_000


class LedgerEntry(Struct, frozen=True, gc=False):
    """``quantum:position:ledger:<leg>``; amount signed in base asset, price in quote asset, times in ms."""

    position_amt: Decimal = ZERO
    avg_entry_price: Decimal = ZERO
    opened_at: int = 0
    confidence: str = ""
    last_order_id: str = ""
    last_plan_id: str = ""
    last_update_ts: int = 0
    source: str = ""

    def as_fields(self) -> dict[str, str]:
        """Return the entry as the hash stores it."""
        return {
            "position_amt": plain(self.position_amt),
            "avg_entry_price": plain(self.avg_entry_price),
            "opened_at": str(self.opened_at),
            "confidence": self.confidence,
            "last_order_id": self.last_order_id,
            "last_plan_id": self.last_plan_id,
            "last_update_ts": str(self.last_update_ts),
            "source": self.source,
        }

    def holds_as_much_as(self, other: LedgerEntry) -> bool:
        """Whether both say the same of the position: its amount, and its entry price unless it is flat."""
        if self.position_amt != other.position_amt:
            return False
        return self.position_amt == 0 or self.avg_entry_price == other.avg_entry_price

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> LedgerEntry:
        """Read a stored entry; unreadable numbers count as 0, and reconciling sets them right."""
        return cls(
            position_amt=_decimal(fields.get("position_amt")),
            avg_entry_price=_decimal(fields.get("avg_entry_price")),
            opened_at=int(_decimal(fields.get("opened_at"))),
            confidence=fields.get("confidence", ""),
            last_order_id=fields.get("last_order_id", ""),
            last_plan_id=fields.get("last_plan_id", ""),
            last_update_ts=int(_decimal(fields.get("last_update_ts"))),
            source=fields.get("source", ""),
        )


class Ledger:
    """Entries by leg, in memory; the store writes what this computes."""

    def __init__(self, entries: Mapping[Leg, LedgerEntry] | None = None) -> None:
        self._entries: dict[Leg, LedgerEntry] = dict(entries or {})
        self._amounts = {leg: entry.position_amt for leg, entry in self._entries.items()}
        self._holdings = {leg: _holding(entry) for leg, entry in self._entries.items() if entry.position_amt}
        self.unsure: set[Leg] = set()  # what stands in Redis may be another entry
        self._contested: dict[Leg, LedgerEntry] = {}
        self._counted: OrderedDict[tuple[str, int], None] = OrderedDict()

    def __getitem__(self, leg: Leg) -> LedgerEntry:
        return self._entries.get(leg, LedgerEntry())

    def amounts(self) -> Mapping[Leg, Decimal]:
        """Return the signed amount of every leg in the ledger, as of now."""
        return self._amounts

    def holdings(self) -> Mapping[Leg, Holding]:
        """Return since when, and with which confidence, every live leg is held, as of now."""
        return self._holdings

    def contest(self, leg: Leg, stored: LedgerEntry) -> None:
        """Let the amount that somebody else wrote to Redis count until the exchange's is adopted.

        Who opened the position, when and how sure is not taken from there: nobody makes a position
        ours by writing a key.
        """
        self._contested[leg] = stored
        self._amounts = {**self._amounts, leg: stored.position_amt}

    def said(self, leg: Leg) -> LedgerEntry:
        """Return the leg's entry as it counts now: what somebody else wrote, or the ledger's own."""
        return self._contested.get(leg) or self[leg]

    def replace(self, leg: Leg, entry: LedgerEntry) -> None:
        """Take over ``entry`` after it was stored; what was handed out before stays as it was."""
        self._entries[leg] = entry
        self._contested.pop(leg, None)
        self._amounts = {**self._amounts, leg: entry.position_amt}
        self._holdings = {**self._holdings, leg: _holding(entry)}
        if not entry.position_amt:
            del self._holdings[leg]

    def reset(self, entries: Mapping[Leg, LedgerEntry]) -> None:
        """Take over what stands in Redis in the place of everything."""
        self._entries = dict(entries)
        self._amounts = {leg: entry.position_amt for leg, entry in entries.items()}
        self._holdings = {leg: _holding(entry) for leg, entry in entries.items() if entry.position_amt}
        self.unsure.clear()
        self._contested.clear()
        self._counted.clear()

    def count(self, orders: Iterable[OrderState]) -> None:
        """Remember whose fills the entries hold: an order may be settled again where Redis lost that."""
        for order in orders:
            self._counted[order.leg.symbol, order.order_id] = None
            if len(self._counted) > COUNTED_MAX:
                self._counted.popitem(last=False)

    def holds(self, order: OrderState) -> bool:
        """Whether the fill of ``order`` is in its leg's entry already."""
        return (order.leg.symbol, order.order_id) in self._counted

    def doubt_stored(self) -> None:
        """Have every entry written again: Redis may have lost the newest of them."""
        self.unsure.update(self._entries)

    def after_fill(self, order: OrderState, plan: Plan, before: LedgerEntry | None = None) -> LedgerEntry:
        """Return the leg's entry after the fill of ``order``, from ``before`` or the ledger's own."""
        before = before or self[order.leg]
        amount = before.position_amt + order.side.sign * order.executed_quantity
        price = order.avg_price if order.avg_price is not None else before.avg_entry_price
        opens = not _goes_on(before.position_amt, amount) and amount != 0
        return LedgerEntry(
            position_amt=amount,
            avg_entry_price=entry_after(before.position_amt, before.avg_entry_price, amount, price),
            opened_at=order.update_time_ms if opens else before.opened_at,
            confidence=plain(plan.confidence) if opens else before.confidence,
            last_order_id=str(order.order_id),
            last_plan_id=plan.plan_id,
            last_update_ts=order.update_time_ms,
            source=SOURCE_FILL if opens else before.source,
        )

    def differences(
        self, positions: Positions, now_ms: int, *, busy_symbols: Iterable[str]
    ) -> dict[Leg, LedgerEntry]:
        """Return, for each leg that differs from the exchange or is contested, the entry with its truth.

        Symbols with an order under way are left out: their fills are about to be settled.
        """
        busy = frozenset(busy_symbols)
        legs = {leg for leg in (*self._entries, *positions) if leg.symbol not in busy}
        return {
            leg: _adopt(self[leg], positions.get(leg), now_ms)
            for leg in legs
            if leg in self._contested or _differs(self[leg], positions.get(leg))
        }


def _differs(entry: LedgerEntry, held: Position | None) -> bool:
    """Whether the exchange shows another amount, or entry price, than the ledger has.

    At the same amount another price says that the position was closed and opened again, or that a
    fill was told at a rounded price. Below the tolerance both have rounded the same price.
    """
    if held is None or entry.position_amt != held.amount:
        return entry.position_amt != (held.amount if held is not None else 0)
    return abs(entry.avg_entry_price - held.entry_price) > held.entry_price * ENTRY_TOLERANCE


def _adopt(entry: LedgerEntry, held: Position | None, now_ms: int) -> LedgerEntry:
    if held is None:
        return replace(
            entry, position_amt=ZERO, avg_entry_price=ZERO, last_update_ts=now_ms, source=SOURCE_EXCHANGE
        )
    adopted = replace(
        entry, position_amt=held.amount, avg_entry_price=held.entry_price, last_update_ts=now_ms
    )
    if _goes_on(entry.position_amt, held.amount):
        return adopted
    return replace(adopted, opened_at=held.update_time_ms, confidence="", source=SOURCE_EXCHANGE)


def _goes_on(before: Decimal, after: Decimal) -> bool:
    """Whether it is still the same position: who opened it, when and how sure then stays as it was."""
    return before * after > 0


def _holding(entry: LedgerEntry) -> Holding:
    return Holding(entry.opened_at, _known(entry.confidence), entry.source == SOURCE_FILL)


def _known(confidence: str) -> Decimal | None:
    return _decimal(confidence) if confidence else None


def _decimal(text: str | None) -> Decimal:
    try:
        number = Decimal(text or "0")
    except InvalidOperation:
        return ZERO
    return number if number.is_finite() and number.adjusted() < DIGITS_MAX else ZERO
