"""Gathers what is known into evidence, each reading with its own time and source."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from quantum_trader.domain import facts
from quantum_trader.domain.case import Terms
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.evidence import Evidence, Fact, Reading
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
REDIS = "redis"

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
    now_ms = rooms.clock.now_ms()
    readings: dict[str, Reading[Any]] = {}

    def put(fact: Fact[Any], value: Any, read_at_ms: int = now_ms, source: str = MEMORY) -> None:
        readings[fact.name] = Reading(value, read_at_ms, source)

    put(facts.KILL, operator.kill, operator.read_at_ms, REDIS)
    put(facts.LATCHES, operator.latches, operator.read_at_ms, REDIS)
    put(facts.POLICY, operator.policy, operator.read_at_ms, REDIS)
    put(facts.BSC, operator.bsc, operator.read_at_ms, REDIS)
    put(facts.LEADER, rooms.lease.is_held)
    put(facts.KEYS_ACCEPTED, rooms.keys.is_complete)
    if history is not None:
        put(facts.PLAN_HISTORY, history)
    put(facts.RATES, rooms.book.rates(plan.symbol, now_ms))
    put(facts.CLAIMS, rooms.book.unseen(rooms.account.positions_epoch))
    put(facts.CLAIMED_MARGIN_USDT, rooms.book.unseen_margin_usdt(rooms.account.account_epoch))
    put(facts.LEDGER, rooms.ledger.amounts())
    put(facts.HOLDINGS, rooms.ledger.holdings())
    put(facts.EXITS_IN_FLIGHT, rooms.book.exit_symbols())
    put(facts.ROTATION, rooms.rotation)
    put(facts.LEVERAGES, rooms.account.leverages)
    if rooms.server_clock.is_measured:
        put(facts.CLOCK_OFFSET_MS, rooms.server_clock.offset_ms)
    _put_positions(rooms, readings)
    _put_account(plan, rooms, readings)
    _put_market(plan, rooms, readings)
    return Evidence(now_ms, readings)


def gather_positions(rooms: Rooms) -> Evidence:
    """Return the positions and their mode alone: enough to tell an exit from an open."""
    readings: dict[str, Reading[Any]] = {}
    _put_positions(rooms, readings)
    return Evidence(rooms.clock.now_ms(), readings)


def _put_positions(rooms: Rooms, readings: dict[str, Reading[Any]]) -> None:
    held = rooms.account.positions
    if held is not None:
        readings[facts.POSITIONS.name] = held
        hedge_mode = held.value.hedge_mode
        readings[facts.HEDGE_MODE.name] = Reading(hedge_mode, held.read_at_ms, held.source)


def _put_account(plan: Plan, rooms: Rooms, readings: dict[str, Reading[Any]]) -> None:
    live = rooms.account
    if live.account is not None:
        readings[facts.ACCOUNT.name] = live.account
    leverage = live.leverages.get(plan.symbol)
    if leverage is not None:
        readings[facts.LEVERAGE.name] = Reading(leverage, rooms.clock.now_ms(), "symbolConfig")
    last_ms = max(filter(None, map(rooms.last_open_ms.get, legs_of(plan.symbol))), default=None)
    readings[facts.LAST_OPEN_MS.name] = Reading(last_ms, rooms.clock.now_ms(), MEMORY)


def _put_market(plan: Plan, rooms: Rooms, readings: dict[str, Reading[Any]]) -> None:
    market = rooms.market
    if market.rules is not None:
        rules = market.rules_of(plan.symbol)
        readings[facts.RULES.name] = Reading(rules, market.rules.read_at_ms, market.rules.source)
    mark = market.mark_of(plan.symbol)
    if mark is not None:
        readings[facts.MARK_PRICE.name] = mark
    regime = market.regime_of(plan.symbol)
    if regime is not None:
        readings[facts.REGIME.name] = regime
    correlations = market.correlations_of(plan.symbol)
    if correlations is not None:
        readings[facts.CORRELATIONS.name] = correlations


async def refresh_stale(rooms: Rooms, terms: Terms, symbol: str) -> list[str]:
    """Read anew what is too old to judge a plan of ``symbol`` by; return what could not be read, in words.

    A stale position read is taken anew before judging (SPEC 5), and so is one that the stream, or a refusal
    for the position mode (INC-32), has put in doubt. A read that fails leaves the old reading where it was:
    its age speaks for itself.
    """
    now_ms = rooms.clock.now_ms()
    failures: list[str] = []
    stale: tuple[tuple[Reading[Any] | None, int, Callable[[], Awaitable[None]]], ...] = (
        (rooms.account.trusted_positions, terms.position_age_ms_max, rooms.account.refresh_positions),
        (rooms.market.mark_or_absence_of(symbol), terms.mark_age_ms_max, rooms.market.refresh_marks),
    )
    for reading, age_ms_max, refresh in stale:
        if is_fresh(reading, now_ms, age_ms_max):
            continue
        try:
            await refresh()
        except ExchangeError as failed:
            failures.append(str(failed))
    return failures


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
    return reading is not None and reading.age_ms(now_ms) <= age_ms_max
