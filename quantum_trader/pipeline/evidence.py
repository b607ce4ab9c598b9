"""Gathers what is known into evidence, each reading with its own time and source."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from quantum_trader.domain import facts
from quantum_trader.domain.case import Terms
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.evidence import Evidence, Reading
from quantum_trader.domain.facts import PlanHistory, RotationUnderWay
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.trading import Leg, legs_of
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.market.live import LiveMarket
from quantum_trader.pipeline.key_trust import KeyTrust
from quantum_trader.positions.claim_book import ClaimBook
from quantum_trader.positions.ledger import Ledger
from quantum_trader.positions.live import LiveAccount
from quantum_trader.positions.order_news import OrderNews
from quantum_trader.positions.sent_orders import SentOrders
from quantum_trader.stores.cooldown_watch import CooldownWatch
from quantum_trader.stores.lease import Lease
from quantum_trader.stores.mirror import Mirror
from quantum_trader.stores.operator_state import OperatorState

MEMORY = "engine"

log = structlog.get_logger()


@dataclass(slots=True)
class Rooms:
    """Where the readings live; one engine has one of each."""

    clock: Clock
    lease: Lease
    account: LiveAccount
    market: LiveMarket
    book: ClaimBook
    ledger: Ledger
    server_clock: ServerClock
    last_open_ms: dict[Leg, int]
    sent_orders_ms: SentOrders
    mirror: Mirror
    rotation: RotationUnderWay | None = None
    keys: KeyTrust = field(default_factory=KeyTrust)
    order_news: OrderNews = field(default_factory=OrderNews)
    unresolved_since_ms: dict[str, int] = field(default_factory=dict)
    """Orders of unknown outcome, by client order id."""
    cooldowns: CooldownWatch = field(default_factory=CooldownWatch)


def gather(plan: Plan, rooms: Rooms, operator: OperatorState, history: PlanHistory | None) -> Evidence:
    """Return the evidence of this moment for ``plan``; reads memory only. ``history`` None: not known."""
    now_ms, symbol = rooms.clock.now_ms(), plan.symbol
    live, book, market = rooms.account, rooms.book, rooms.market

    offset_ms = rooms.server_clock.offset_ms if rooms.server_clock.is_measured else None

    def now(value: Any) -> Reading[Any]:
        return Reading(value, now_ms, MEMORY)

    found: dict[str, Reading[Any] | None] = {
        **operator.readings,
        facts.LEADER.name: now(rooms.lease.is_held),
        facts.KEYS_ACCEPTED.name: now(rooms.keys.is_complete),
        facts.PLAN_HISTORY.name: now(history) if history is not None else None,
        facts.RATES.name: now(book.rates(symbol, now_ms)),
        facts.CLAIMS.name: now(book.unseen(live.positions_epoch)),
        facts.CLAIMED_MARGIN_USDT.name: now(book.unseen_margin_usdt(live.account_epoch)),
        facts.LEDGER.name: now(rooms.ledger.amounts()),
        facts.HOLDINGS.name: now(rooms.ledger.holdings()),
        facts.EXITS_IN_FLIGHT.name: now(book.exit_symbols()),
        facts.ROTATION.name: now(rooms.rotation),
        facts.LEVERAGES.name: now(live.leverages),
        facts.CLOCK_OFFSET_MS.name: now(offset_ms) if offset_ms is not None else None,
        facts.ACCOUNT.name: live.account,
        facts.LAST_OPEN_MS.name: now(_last_open_ms(rooms, symbol)),
        facts.RULES.name: market.reading_of_rules(symbol),
        facts.MARK_PRICE.name: market.mark_of(symbol),
        facts.REGIME.name: market.regime_of(symbol),
        facts.CORRELATIONS.name: market.correlations_of(symbol),
        **_positions_as_read(rooms),
    }
    leverage = live.leverages.get(symbol)
    if leverage is not None:
        found[facts.LEVERAGE.name] = Reading(leverage, now_ms, "symbolConfig")
    return Evidence(now_ms, {name: reading for name, reading in found.items() if reading is not None})


def gather_positions(rooms: Rooms) -> Evidence:
    """Return the positions and their mode alone: enough to tell an exit from an open."""
    return Evidence(rooms.clock.now_ms(), _positions_as_read(rooms))


def _positions_as_read(rooms: Rooms) -> dict[str, Reading[Any]]:
    held = rooms.account.positions
    if held is None:
        return {}
    mode = Reading(held.value.hedge_mode, held.read_at_ms, held.source)
    return {facts.POSITIONS.name: held, facts.HEDGE_MODE.name: mode}


def _last_open_ms(rooms: Rooms, symbol: str) -> int | None:
    return max(filter(None, map(rooms.last_open_ms.get, legs_of(symbol))), default=None)


async def refresh_stale(rooms: Rooms, terms: Terms, symbol: str) -> list[str]:
    """Read anew what is too old to judge a plan of ``symbol`` by; return what could not be read, in words.

    A stale position read is taken anew before judging (SPEC 5), and so is one that the stream, or a refusal
    for the position mode (INC-32), has put in doubt. A read that fails leaves the old reading where it was:
    its age speaks for itself.
    """
    stale: list[Callable[[], Awaitable[None]]] = []
    now_ms = rooms.clock.now_ms()
    if not _sees_positions(rooms, terms, now_ms):
        stale.append(rooms.account.refresh_positions)
    if not _sees_mark(rooms, terms, symbol, now_ms):
        stale.append(rooms.market.refresh_marks)
    failures: list[str] = []
    for refresh in stale:
        try:
            await refresh()
        except ExchangeError as failed:
            failures.append(str(failed))
    return failures


def sees_all(rooms: Rooms, terms: Terms, symbol: str) -> bool:
    """Whether nothing is too old to judge a plan of ``symbol`` by."""
    now_ms = rooms.clock.now_ms()
    return _sees_positions(rooms, terms, now_ms) and _sees_mark(rooms, terms, symbol, now_ms)


def _sees_positions(rooms: Rooms, terms: Terms, now_ms: int) -> bool:
    return is_fresh(rooms.account.trusted_positions, now_ms, terms.position_age_ms_max)


def _sees_mark(rooms: Rooms, terms: Terms, symbol: str, now_ms: int) -> bool:
    return is_fresh(rooms.market.mark_or_absence_of(symbol), now_ms, terms.mark_age_ms_max)


async def read_rules_anew(rooms: Rooms) -> bool:
    """Read the trading rules that an order has just broken; False where they could not be read."""
    try:
        await rooms.market.refresh_rules()
    except ExchangeError as failed:
        log.warning("rules_unread", error=str(failed))
        return False
    return True


def is_fresh(reading: Reading[Any] | None, now_ms: int, age_ms_max: int) -> bool:
    """Whether there is a reading, and one that may be judged by."""
    return reading is not None and abs(now_ms - reading.read_at_ms) <= age_ms_max
