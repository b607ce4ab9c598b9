"""Joins the parts of one engine: restored memory, stores, and the steps of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from quantum_trader import log
from quantum_trader.config import Config
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.order import OrderState, client_order_id
from quantum_trader.domain.plan import Plan
from quantum_trader.exchange.binance import Exchange
from quantum_trader.market.live import LiveMarket
from quantum_trader.pipeline.account_news import AccountNews
from quantum_trader.pipeline.auto_disarm import AutoDisarm
from quantum_trader.pipeline.claim import ClaimStep
from quantum_trader.pipeline.consumer import Consumer
from quantum_trader.pipeline.evidence import Rooms
from quantum_trader.pipeline.exits import ExitSender
from quantum_trader.pipeline.follow import OrderFollower, Patience
from quantum_trader.pipeline.foreign_fills import ForeignFills
from quantum_trader.pipeline.judging import Steps
from quantum_trader.pipeline.live_streams import LiveStreams
from quantum_trader.pipeline.look_back import LookBack
from quantum_trader.pipeline.opens import OpenSender
from quantum_trader.pipeline.plan_orders import orders_of_plan
from quantum_trader.pipeline.reconcile import Reconciler
from quantum_trader.pipeline.recover import Recovery, restore
from quantum_trader.pipeline.reports import Reports
from quantum_trader.pipeline.rotation import RotationSaga
from quantum_trader.pipeline.rules import RulesInForce
from quantum_trader.pipeline.runner import PlanRunner
from quantum_trader.pipeline.settle import Settler
from quantum_trader.positions.claim_book import ClaimBook
from quantum_trader.positions.ledger import Ledger, LedgerEntry
from quantum_trader.positions.live import LiveAccount
from quantum_trader.positions.sent_orders import SentOrders
from quantum_trader.producers.crew import Crew
from quantum_trader.producers.joining import crew_of
from quantum_trader.producers.view import View
from quantum_trader.stores.archive import Archive
from quantum_trader.stores.claims import ClaimStore
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.lease import Lease
from quantum_trader.stores.mirror import Mirror
from quantum_trader.stores.operator import StopStore
from quantum_trader.stores.plan_stream import PlanStream
from quantum_trader.stores.positions import PositionStore
from quantum_trader.stores.rotations import RotationStore
from quantum_trader.stores.settlement import SettlementStore


@dataclass(slots=True)
class Joined:
    """The running parts of one engine."""

    database: Database
    exchange: Exchange
    rooms: Rooms
    rules: RulesInForce
    stream: PlanStream
    consumer: Consumer
    reconciler: Reconciler
    streams: LiveStreams
    reports: Reports
    crew: Crew
    lease: Lease
    account: str
    exchange_url: str
    is_first_life: bool
    """Whether ``state_dir`` knows of no order: the engine is new, or its state was replaced."""


class Joiner:
    """Builds an engine on a database, an exchange and a configuration that stand already."""

    def __init__(
        self,
        config: Config,
        database: Database,
        exchange: Exchange,
        archive: Archive,
        mirror: Mirror,
        clock: Clock,
    ) -> None:
        self._config = config
        self._mirror = mirror
        self._rules = RulesInForce(config)
        self._database = database
        self._exchange = exchange
        self._archive = archive
        self._reports = Reports(archive.keep)
        self._clock = clock
        self._keys = Keys(config.redis.namespace)

    async def join(self, account: str, lease: Lease, exchange_url: str) -> Joined:
        """Restore what a former life left, and put every part in its place."""
        database, exchange = self._database, self._exchange
        lease.another_led = False  # all that stands in memory is read from here on
        rooms = await self._rooms(lease)
        is_first_life = not (rooms.sent_orders_ms or rooms.mirror.unsettled or rooms.mirror.floor)
        lease_key = self._keys.lease(account)
        claim_store = ClaimStore(database, self._keys, lease_key)
        stream = PlanStream(
            database,
            self._keys,
            self._clock,
            bsc_required=self._config.bsc_required,
            cooldowns=rooms.cooldowns,
        )
        for symbol in self._config.symbols:
            rooms.cooldowns.watch(symbol)
        group = await stream.ensure_group(rooms.mirror.floor)
        await restore(rooms.mirror, claim_store, lease.value, self._clock.now_ms())
        await self._restore(rooms, claim_store, stream)
        settlements = SettlementStore(
            database,
            self._keys,
            lease_key,
            results_kept=self._config.streams.results_kept,
            terminal_ttl_s=self._config.gates.idempotency.terminal_ttl_s,
        )
        self._rules.on_change(lambda config: self._apply(config, stream, settlements))
        rotation_store = RotationStore(database, self._keys, lease_key)
        runner, steps, settler = self._pipeline(rooms, claim_store, stream, settlements, rotation_store)
        recovery = Recovery(
            runner, steps, exchange.reserved_account, rooms, rules=self._rules, clock=self._clock
        )
        consumer = Consumer(
            stream,
            claim_store,
            runner,
            recovery,
            rotation=steps.rotation,
            settler=settler,
            mirror=rooms.mirror,
            lease=lease,
            ledger=rooms.ledger,
            reload=lambda: self._reload(rooms, claim_store, stream),
            clock=self._clock,
            group=group,
        )
        foreign_fills = ForeignFills(
            exchange.reserved_account,
            StopStore(database, self._keys),
            stream,
            steps.auto_disarm,
            self._clock,
        )
        reconciler = Reconciler(
            PositionStore(database, self._keys), rooms, runner.lanes, foreign_fills, self._clock
        )
        streams = self._streams(rooms, reconciler, foreign_fills)
        view = View(self._rules, rooms.account, rooms.market, rooms.ledger, rooms.lease, self._clock)
        return Joined(
            database=database,
            exchange=exchange,
            rooms=rooms,
            rules=self._rules,
            stream=stream,
            consumer=consumer,
            reconciler=reconciler,
            streams=streams,
            reports=self._reports,
            crew=crew_of(view, database, self._keys),
            lease=lease,
            account=account,
            exchange_url=exchange_url,
            is_first_life=is_first_life,
        )

    def _streams(self, rooms: Rooms, reconciler: Reconciler, foreign_fills: ForeignFills) -> LiveStreams:
        doubt_mode = self._exchange.reserved_account.doubt_mode
        news = AccountNews(
            rooms,
            reconciler,
            foreign_fills,
            self._clock,
            doubt_mode=doubt_mode,
            open_orders=self._exchange.account.open_orders,
        )
        return LiveStreams(self._exchange, rooms, news, self._clock, candle_symbols=self._config.symbols)

    async def _rooms(self, lease: Lease) -> Rooms:
        positions, exchange = PositionStore(self._database, self._keys), self._exchange
        entries = {leg: LedgerEntry.from_fields(raw) for leg, raw in (await positions.ledger()).items()}
        sent = SentOrders()
        for name, sent_ms in self._archive.start().items():
            sent.setdefault(name, sent_ms)
        mirror = self._mirror
        mirror.load()
        for name, sent_ms in mirror.used_orders_ms.items():
            sent.setdefault(name, sent_ms)
        book = ClaimBook()
        return Rooms(
            clock=self._clock,
            lease=lease,
            account=LiveAccount(exchange.reserved_account, self._clock, exchange.clock.signing_time_ms),
            market=LiveMarket(exchange.market, self._clock),
            book=book,
            ledger=Ledger(entries),
            server_clock=exchange.clock,
            last_open_ms=await positions.last_opens_ms(),
            sent_orders_ms=sent,
            mirror=mirror,
        )

    async def _restore(self, rooms: Rooms, claims: ClaimStore, stream: PlanStream) -> None:
        await stream.load_cooling_symbols()
        for exposure in await claims.exposures():
            rooms.book.restore(exposure)
        for record in await claims.unsettled():
            if record.is_exit:  # keeps the reconciler off its symbol until recovery has settled it
                rooms.book.hold_exit(record.plan_id, record.order.leg.symbol)
        for symbol, plan_id, claimed_ms in await claims.rates():
            rooms.book.count_rate(symbol, plan_id, claimed_ms)
        rooms.account.expect(await claims.epoch(), max(rooms.last_open_ms.values(), default=0))

    async def _reload(self, rooms: Rooms, claims: ClaimStore, stream: PlanStream) -> None:
        """Restore memory anew after another engine has led: what it filled is in no reading of ours yet."""
        positions = PositionStore(self._database, self._keys)
        stored = await positions.ledger()
        rooms.ledger.reset({leg: LedgerEntry.from_fields(raw) for leg, raw in stored.items()})
        rooms.last_open_ms.update(await positions.last_opens_ms())
        rooms.book.clear()
        rooms.account.forget()
        await self._restore(rooms, claims, stream)

    def _pipeline(
        self,
        rooms: Rooms,
        claim_store: ClaimStore,
        stream: PlanStream,
        settlements: SettlementStore,
        rotation_store: RotationStore,
    ) -> tuple[PlanRunner, Steps, Settler]:
        config, rules, clock, exchange = self._config, self._rules, self._clock, self._exchange
        settler = Settler(settlements, rooms, rules, self._keys, clock, self._reports)
        claims = ClaimStep(claim_store, rooms, rules)
        patience = Patience(config.exchange.recv_window_ms, float(config.exchange.not_placed_lag_s))
        reads = exchange.reserved_account
        now_ms, unresolved = exchange.clock.signing_time_ms, rooms.unresolved_since_ms
        follower = OrderFollower(reads, clock, now_ms, patience, rooms.order_news, unresolved)

        rotation = RotationSaga(
            rotation_store, rooms, clock, lambda: rules.gates.active_slots.rotation_timeout_s
        )
        auto_disarm = AutoDisarm(StopStore(self._database, self._keys), config.auto_disarm, clock)
        rules.on_change(lambda changed: auto_disarm.govern(changed.auto_disarm))

        async def find_orders(plan: Plan) -> list[OrderState]:
            was_sent = rooms.sent_orders_ms.get(client_order_id(plan.plan_id)) is not None
            return await orders_of_plan(reads, plan, was_sent=was_sent)

        steps = Steps(
            claims=claims,
            opens=OpenSender(exchange.entry, claims, follower, rooms),
            exits=ExitSender(exchange.exits, claims, follower, rooms, clock),
            settler=settler,
            read_operator=stream.operator_state,
            look_back=LookBack(find_orders, stream.now_ms, rooms, clock, patience),
            follow=follower.until_final,
            rotation=rotation,
            auto_disarm=auto_disarm,
        )
        return PlanRunner(rooms, rules, steps=steps, clock=clock), steps, settler

    def _apply(self, config: Config, stream: PlanStream, settlements: SettlementStore) -> None:
        """Hand a new configuration to what is no part of a decision."""
        log.set_level(config.log.level)
        self._archive.days_kept = config.streams.archive_days
        stream.bsc_required = config.bsc_required
        settlements.keep(
            results_kept=config.streams.results_kept,
            terminal_ttl_s=config.gates.idempotency.terminal_ttl_s,
        )
