"""The one place where the parts are joined; start, run, stop (DESIGN: rooms and floors)."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from quantum_trader import __version__, log
from quantum_trader.bsc.service import BscService, Outlet, open_offices
from quantum_trader.bsc.status import thresholds
from quantum_trader.concurrency import end_tasks
from quantum_trader.config import Config, TradingMode, load_config
from quantum_trader.credentials import Credentials, load_credentials
from quantum_trader.domain.clock import Clock, SystemClock
from quantum_trader.domain.result import plain
from quantum_trader.exchange.binance import Exchange, connect
from quantum_trader.exchange.errors import ExchangeError, KeyRefused
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.simulator import AccountSettings, EmbeddedExchange, SimulatorSettings
from quantum_trader.garbage import QuietGarbage
from quantum_trader.housekeeping import Housekeeping
from quantum_trader.joining import Joined, Joiner
from quantum_trader.pipeline.former_orders import remember_former_orders
from quantum_trader.pipeline.upkeep import Upkeep
from quantum_trader.reload import Reloader
from quantum_trader.stores import archive, mirror
from quantum_trader.stores.address import note_paper_exchange
from quantum_trader.stores.archive import Archive
from quantum_trader.stores.codec import encode
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.embedded import EmbeddedServer
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.lease import TTL_MS, Lease
from quantum_trader.stores.mirror import Mirror
from quantum_trader.stores.persistence import volatility_of
from quantum_trader.trading_mode import endpoints_on
from quantum_trader.url_passwords import passwords_in, without_password
from quantum_trader.web.service import WebService

RETRY_PAUSE_S = 1.0
DRAIN_S = 30.0

logger = structlog.get_logger()


class StartRefused(Exception):
    """The engine does not start; the text is one line that says why and what to do."""


class RedisUnreachable(StartRefused):
    """Redis does not answer."""


class App:
    """One engine: one account, one Redis, one exchange."""

    def __init__(self, config: Config, clock: Clock | None = None, source: Path | None = None) -> None:
        """``source`` is the file that ``config`` came from; edits of it are taken over."""
        self.config = config
        self._source = source
        self._reloader: Reloader | None = None
        self._clock = clock or SystemClock()
        self._keys = Keys(config.redis.namespace)
        self._started_s = self._clock.monotonic_s()
        self._server: EmbeddedServer | None = None
        self._paper: EmbeddedExchange | None = None
        self._archive = Archive(config.state_dir, config.streams.archive_days)
        self._mirror = Mirror.on_disk(config.state_dir)
        self._upkeep: Upkeep | None = None
        self._bsc: BscService | None = None
        self._consuming: asyncio.Task[None] | None = None
        self._database: Database | None = None
        self._exchange: Exchange | None = None
        self._exchange_url = ""
        self._joined: Joined | None = None
        self._garbage = QuietGarbage()
        self.web = WebService(lambda: self.config_in_force, self._archive, self._clock)

    @property
    def config_in_force(self) -> Config:
        """What the engine goes by now: an edit, or dry_run by hand, may have replaced what it began with."""
        return self._joined.rules.config if self._joined is not None else self.config

    @property
    def joined(self) -> Joined | None:
        """The running parts, once they are joined."""
        return self._joined

    @property
    def paper(self) -> EmbeddedExchange | None:
        """The embedded exchange of paper mode, once started."""
        return self._paper

    # -- life

    async def run_until_signalled(self) -> None:
        """Start, work until SIGTERM or SIGINT, stop cleanly.

        Raises:
            StartRefused, ConfigError, EmbeddedServerError: the engine cannot start.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        starting = asyncio.create_task(self.start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._garbage.start()
                await stopping
            else:
                await end_tasks([starting])
        finally:
            stopping.cancel()
            self._garbage.stop()
            await self.stop()

    def _hang_up(self) -> None:
        log.reopen_file()
        self.reload()

    def reload(self) -> None:
        """Have the configuration read again; before the start is over there is nothing to replace."""
        if self._reloader is not None:
            self._reloader.request()

    async def start(self) -> None:
        """Join the parts, take the lease, read the first facts, and begin to consume."""
        self.config.state_dir.mkdir(parents=True, exist_ok=True)
        is_first_life = not _had_an_engine(self.config.state_dir)
        log.hide(passwords_in(self.config.redis.url))
        await self.web.start()
        credentials = load_credentials(self.config)
        log.hide((credentials.api_key, credentials.api_secret) if self._is_real else ())
        self._database = await self._open_database()
        self._exchange = connect(await self._exchange_settings(credentials), self._clock)
        self._start_bsc(self._exchange, self._database.url)
        self._exchange.start()
        await self._database.load_scripts()
        account = await self._wait_for_account(self._exchange)
        lease = Lease(self._database, self._keys, account, _owner(), self._clock)
        await self._take_lease(lease)
        joiner = Joiner(self.config, self._database, self._exchange, self._archive, self._mirror, self._clock)
        self._joined = joined = await joiner.join(account, lease, self._exchange_url)
        housekeeping = Housekeeping(self.config, joined, self._clock)
        await self._read_first_facts(joined, housekeeping)
        if is_first_life:
            self._warn_of_open_positions(joined)
        await self._announce(joined)
        await housekeeping.write_status()
        self.web.attach(joined, housekeeping)
        self._upkeep = Upkeep(housekeeping.chores(), joined.rooms, self._clock)
        self._upkeep.start()
        joined.streams.start()
        self._reloader = Reloader(self._source, self._load, joined.rules, joined.stream.publish, self._clock)
        self._reloader.start()
        self._consuming = asyncio.create_task(joined.consumer.run(), name="consumer")
        joined.crew.start()
        logger.info("ready", after_s=round(self._clock.monotonic_s() - self._started_s, 3))

    async def stop(self) -> None:
        """No new decisions; orders in flight are settled; state is stored; the lease is given back."""
        if self._reloader is not None:
            await self._reloader.stop()
        if self._joined is not None:
            await self._stop_deciding(self._joined)
        await self.web.stop()
        self._archive.close()
        self._mirror.close()
        if self._bsc is not None:
            await self._bsc.stop()
        if self._exchange is not None:
            await self._exchange.close()
        if self._paper is not None:
            await self._paper.stop()
        if self._database is not None:
            await self._database.close()
        if self._server is not None:
            await self._server.stop()
        if self._joined is not None:  # a start that was refused says why, and nothing after it
            logger.info("stopped")

    async def _stop_deciding(self, joined: Joined) -> None:
        await joined.crew.stop()
        joined.consumer.stop()
        if self._consuming is not None:
            await asyncio.gather(self._consuming, return_exceptions=True)
        await joined.consumer.drain(DRAIN_S)
        joined.reports.make_all()
        await joined.streams.stop()
        if self._upkeep is not None:
            await self._upkeep.stop()
        with suppress(RedisError):
            await joined.lease.release()
            await joined.database.client.delete(self._keys.engine_status, self._keys.execution)

    # -- joining

    def _load(self) -> Config:
        return load_config(self._source)

    @property
    def _is_real(self) -> bool:
        return self.config.mode is not TradingMode.PAPER

    async def _open_database(self) -> Database:
        url = self.config.redis.url
        if url == "embedded":
            self._server = EmbeddedServer(self.config.state_dir, self._clock)
            url = await self._server.start()
        database = Database(url)
        try:
            await database.ping()
            problem = await volatility_of(database)
        except (RedisError, OSError) as unreachable:
            await database.close()
            raise RedisUnreachable(
                f"Redis at {without_password(url)} does not answer ({type(unreachable).__name__}); "
                "start it, or set redis.url"
            ) from None
        if problem and self.config.mode in (TradingMode.TESTNET, TradingMode.LIVE):
            if not self.config.redis.allow_volatile:
                await database.close()
                raise StartRefused(f"{problem}; or accept it with redis.allow_volatile = true")
            logger.warning("redis_volatile", problem=problem)
        database.open_lanes()
        return database

    def _start_bsc(self, exchange: Exchange, url: str) -> None:
        """Watch from before the engine has an account until after its last order (SPEC 10)."""
        config = self.config
        if not config.bsc.enabled:
            return
        line = exchange.watch_line(self._clock, config.exchange.recv_window_ms)
        outlet = Outlet(url, self._keys.bsc_events, self._keys.bsc_health)
        offices = open_offices(config.state_dir, lambda: line, outlet, self._clock)
        self.web.view.listen_to_bsc(offices.sink)
        self._bsc = BscService(offices, lambda: line, self._clock, closes=config.sends_orders)
        self._bsc.start()

    async def _exchange_settings(self, credentials: Credentials) -> ExchangeSettings:
        config, endpoints = self.config, self.config.endpoints
        if not endpoints.rest_url:
            endpoints = endpoints_on(await self._start_paper_exchange(credentials))
        self._exchange_url = without_password(endpoints.rest_url)
        return ExchangeSettings(
            rest_url=endpoints.rest_url,
            ws_api_url=endpoints.ws_api_url,
            stream_url=endpoints.stream_url,
            orders_over_ws=config.exchange.order_transport == "ws",
            api_key=credentials.api_key,
            api_secret=credentials.api_secret,
            recv_window_ms=config.exchange.recv_window_ms,
            request_timeout_s=float(config.exchange.request_timeout_s),
        )

    async def _start_paper_exchange(self, credentials: Credentials) -> str:
        paper = self.config.paper
        settings = SimulatorSettings(
            port=paper.port,
            seed=paper.seed,
            speed=paper.speed,
            accounts=(AccountSettings(credentials.api_key, credentials.api_secret, paper.balance_usdt),),
            klines=tuple(Path(path) for path in paper.klines),
            state_file=self.config.state_dir / "paper-account.json",
            admin=False,
        )
        self._paper = EmbeddedExchange(settings, self._clock)
        try:
            url = await self._paper.start()
        except (OSError, ValueError) as unusable:  # the port is taken; a candle file that is none
            raise StartRefused(f"the paper exchange does not start: {unusable}; see [paper]") from None
        note_paper_exchange(self.config.state_dir, url)
        return url

    # -- starting

    async def _wait_for_account(self, exchange: Exchange) -> str:
        """Return the account's code, waiting for an exchange that does not answer yet."""
        told = False
        while True:
            try:
                await exchange.clock.measure()
                return await exchange.account.account_id()
            except KeyRefused as refused:
                raise StartRefused(
                    f"the exchange refuses the API key of mode {self.config.mode}: {refused}"
                ) from None
            except ExchangeError as unreachable:
                if not told:
                    logger.warning("exchange_unreachable", error=str(unreachable), retry_s=RETRY_PAUSE_S)
                    told = True
                await self._clock.sleep(RETRY_PAUSE_S)

    async def _take_lease(self, lease: Lease) -> None:
        """Take the lease; a crashed engine's runs out within its TTL, a living one's does not."""
        deadline_s = self._clock.monotonic_s() + TTL_MS / 1000 + RETRY_PAUSE_S
        while holder := await lease.renew():
            if self._clock.monotonic_s() >= deadline_s:
                raise StartRefused(
                    f"another engine ({holder.rpartition(':')[0]}) trades this account; stop it first"
                )
            await self._clock.sleep(RETRY_PAUSE_S / 4)

    async def _read_first_facts(self, joined: Joined, housekeeping: Housekeeping) -> None:
        """Read what every decision needs; what fails now is tried again beside the plans."""
        rooms = joined.rooms
        reads = (
            rooms.market.refresh_rules(),
            rooms.market.refresh_marks(),
            rooms.account.refresh_positions(),
            rooms.account.refresh_account(),
            rooms.account.refresh_leverages(),
            housekeeping.refresh_klines(),
        )
        for failed in await asyncio.gather(*reads, return_exceptions=True):
            if isinstance(failed, ExchangeError):
                logger.warning("first_read_failed", error=str(failed))
            elif isinstance(failed, BaseException):
                raise failed
        if joined.is_first_life:
            await remember_former_orders(joined.exchange.account, rooms, self.config.symbols)
        try:
            await joined.reconciler.reconcile()
        except ExchangeError as failed:
            logger.warning("first_read_failed", error=str(failed))

    def _warn_of_open_positions(self, joined: Joined) -> None:
        """Say that this account was traded by something whose state is not here (SPEC 11)."""
        reading = joined.rooms.account.positions
        if reading is None or not reading.value:
            return
        logger.warning(
            "fresh_state_dir",
            state_dir=str(self.config.state_dir),
            positions={leg.key: plain(held.amount) for leg, held in reading.value.items()},
            meaning="no engine ran with this state_dir, yet the account holds positions: they are adopted "
            "and watched, but former decisions, unsettled orders and BSC's lifespan are not known",
            cure="if an engine traded this account before: stop, put its state_dir back, start again",
        )

    async def _announce(self, joined: Joined) -> None:
        client = joined.database.client
        if self.config.mode is TradingMode.PAPER and not await client.exists(self._keys.policy):
            seeded: Any = {"universe_symbols": encode(list(self.config.symbols)), "policy_version": "paper"}
            await client.hset(self._keys.policy, mapping=seeded)
        logger.info(
            "engine_started",
            version=__version__,
            mode=self.config.mode,
            config_hash=self.config.hash,
            account=joined.account,
            exchange=self._exchange_url,
            redis=without_password(self.config.redis.url),
            state_dir=str(self.config.state_dir),
            symbols=self.config.symbols,
            limits=_limits_in_force(self.config),
        )


def _limits_in_force(config: Config) -> dict[str, Any]:
    """Return every limit by the table that sets it, gates by name; BSC's three stand in code alone."""
    return {
        **config.gates.model_dump(mode="json"),
        "intake": config.intake.model_dump(mode="json"),
        "auto_disarm": config.auto_disarm.model_dump(mode="json"),
        "bsc": {"enabled": config.bsc.enabled, "required": config.bsc_required, **thresholds()},
    }


def _had_an_engine(state_dir: Path) -> bool:
    """Whether an engine was ever joined there; BSC alone and a refused start leave other files."""
    return any((state_dir / name).exists() for name in (archive.FILE_NAME, mirror.FILE_NAME))


def _owner() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
