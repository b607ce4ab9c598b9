"""``quantum-trader bsc run|status|audit|extend``: the watchdog alone, without Redis, pipeline or gates."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson
import structlog
import uvloop

from quantum_trader import log
from quantum_trader.bsc.audit import DAILY, WEEKLY
from quantum_trader.bsc.audit_pack import EvidenceRefused, signed_pack
from quantum_trader.bsc.auditing import Held
from quantum_trader.bsc.findings import Verdict
from quantum_trader.bsc.health import Authority
from quantum_trader.bsc.lifespan import Extension
from quantum_trader.bsc.reading import Line
from quantum_trader.bsc.records import RecordUnreadable
from quantum_trader.bsc.service import BscService, Offices, Outlet, open_offices
from quantum_trader.bsc.status import OUTDATED_MS, self_description
from quantum_trader.cli.bsc_alerts import alerting
from quantum_trader.cli.options import FAILED, UNREACHABLE, config_option, fail, json_option
from quantum_trader.credentials import Credentials, load_credentials
from quantum_trader.domain.clock import SystemClock
from quantum_trader.essentials import Essentials, load_essentials
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.rest import RestTransport
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.watch import WatchLine, watch_line, watch_transport
from quantum_trader.stores.address import paper_exchange_url
from quantum_trader.stores.keys import Keys
from quantum_trader.trading_mode import ConfigError, TradingMode
from quantum_trader.url_passwords import passwords_in

STOPPED = "STOPPED"

T = TypeVar("T")
logger = structlog.get_logger()


@click.group("bsc")
def command() -> None:
    """Run and examine BSC, the watchdog that closes positions beyond three fixed limits."""


@command.command("run")
@config_option
@click.option("--log-format", type=click.Choice(["json", "console"]), default="json", show_default=True)
def run(config_path: Path | None, log_format: str) -> None:
    """Watch alone until SIGTERM or Ctrl-C; needs the exchange and nothing else."""
    essentials = _essentials(config_path)
    log.set_up("info", log_format)
    log.hide((*essentials.alert_urls, *passwords_in(essentials.redis_url)))
    # names are looked up beside asyncio's own threads: a disk that hangs fills those, and BSC goes on
    uvloop.run(_watch(essentials, _credentials(essentials)))


@command.command("status")
@config_option
@json_option
def status(config_path: Path | None, as_json: bool) -> None:
    """Say how BSC is: 0 it sees and may close, 1 something is wrong, 3 it is not running."""
    essentials = _essentials(config_path)
    shown = _status(essentials)
    if as_json:
        click.echo(orjson.dumps(shown).decode())
    else:
        _print_status(shown)
    if shown["state"] == STOPPED:
        raise SystemExit(UNREACHABLE)
    if shown["state"] != "OK" or shown["authority"] != Authority.CONTROLLER:
        raise SystemExit(FAILED)


@command.command("audit")
@config_option
@json_option
@click.option("--weekly", is_flag=True, help="Make the pack of five proofs for a person to sign.")
def audit(config_path: Path | None, as_json: bool, weekly: bool) -> None:
    """Judge BSC now, on its records, its code and the exchange's order history: exit code 0 only for PASS."""
    essentials = _essentials(config_path)
    held = _with_offices(essentials, lambda offices: _hold(offices, WEEKLY if weekly else DAILY))
    if as_json:
        findings = [finding.as_fields() for finding in held.audit.findings]
        shown = {"verdict": held.audit.verdict.value, "file": str(held.path), "findings": findings}
        click.echo(orjson.dumps(shown).decode())
    else:
        _print_audit(held)
    if held.audit.verdict is not Verdict.PASS:
        raise SystemExit(FAILED)


@command.command("extend")
@config_option
@click.option("--days", type=int, required=True, help="Days more, 1 to 30.")
@click.option(
    "--evidence",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="JSON file of a signed weekly audit pack.",
)
def extend(config_path: Path | None, days: int, evidence: Path) -> None:
    """Let BSC close for longer, on the evidence of a signed weekly pack that passes, and passes again now."""
    essentials = _essentials(config_path)
    now_ms = SystemClock().now_ms()
    try:
        pack = signed_pack(evidence, now_ms)
    except EvidenceRefused as refused:
        fail(str(refused))
    held = _with_offices(essentials, lambda offices: _hold(offices, WEEKLY))
    if held.audit.verdict is not Verdict.PASS:
        fail(f"the five proofs do not pass any more: see {held.path.with_suffix('.md')}")
    offices = _offices(essentials, _no_line)
    try:
        extended = offices.lifespan.extend(Extension(now_ms, days, pack.digest, pack.signed_by))
    except ValueError as impossible:
        fail(f"--days: {impossible}", 2)
    except OSError as full:
        fail(f"{offices.folder} cannot be written ({full.strerror}); make room or correct its owner")
    click.echo(
        f"BSC may close for {extended.days_left(now_ms)} days more; a running one sees it at its next poll"
    )


# -- joining


def _essentials(path: Path | None) -> Essentials:
    try:
        return load_essentials(path)
    except ConfigError as problem:
        fail(str(problem))


def _credentials(essentials: Essentials) -> Credentials:
    try:
        credentials = load_credentials(essentials)
    except ConfigError as problem:
        fail(str(problem))
    if essentials.mode is not TradingMode.PAPER:
        log.hide((credentials.api_key, credentials.api_secret))
    return credentials


class _OwnLines:
    """The way to the exchange; in paper mode it follows the engine's embedded exchange from port to port."""

    def __init__(self, essentials: Essentials, credentials: Credentials) -> None:
        self._essentials = essentials
        self._credentials = credentials
        self._clock = SystemClock()
        self._url = ""
        self._line: WatchLine | None = None
        self._transports: list[RestTransport] = []

    def line(self) -> Line:
        """Return the line to where the exchange is now. Raises ``ExchangeError`` where there is none."""
        url = self._essentials.rest_url or _paper_url(self._essentials.state_dir)
        if self._line is None or url != self._url:
            self._line, self._url = self._connected(url), url
        return self._line

    def _connected(self, url: str) -> WatchLine:
        essentials, credentials = self._essentials, self._credentials
        settings = ExchangeSettings(
            rest_url=url,
            api_key=credentials.api_key,
            api_secret=credentials.api_secret,
            recv_window_ms=essentials.recv_window_ms,
            request_timeout_s=essentials.request_timeout_s,
        )
        transport = watch_transport(settings, self._clock)
        transport.expect_orders()
        self._transports.append(transport)
        return watch_line(transport, self._clock, essentials.recv_window_ms)

    async def close(self) -> None:
        """Close every connection."""
        for transport in self._transports:
            await transport.close()


def _paper_url(state_dir: Path) -> str:
    url = paper_exchange_url(state_dir)
    if url is None:
        raise ExchangeError("paper exchange", f"no engine has started one in {state_dir}")
    return url


@asynccontextmanager
async def _own_lines(essentials: Essentials, credentials: Credentials) -> AsyncIterator[_OwnLines]:
    lines = _OwnLines(essentials, credentials)
    try:
        yield lines
    finally:
        await lines.close()


def _offices(essentials: Essentials, line: Callable[[], Line]) -> Offices:
    keys = Keys(essentials.namespace)
    outlet = Outlet(essentials.redis_url, keys.bsc_events, keys.bsc_health)
    return open_offices(essentials.state_dir, line, outlet, SystemClock())


def _no_line() -> Line:
    raise ExchangeError("exchange", "not asked")


async def _watch(essentials: Essentials, credentials: Credentials) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for warning in essentials.warnings:
        logger.warning("config_passed_over", problem=warning)
    async with _own_lines(essentials, credentials) as lines:
        offices = _offices(essentials, lines.line)
        service = BscService(offices, lines.line, SystemClock(), closes=essentials.closes)
        async with alerting(essentials, offices.sink):
            service.start()
            await stop.wait()
            await service.stop()


def _with_offices(essentials: Essentials, work: Callable[[Offices], Awaitable[T]]) -> T:
    credentials = _credentials(essentials)

    async def connected() -> T:
        async with _own_lines(essentials, credentials) as lines:
            offices = _offices(essentials, lines.line)
            try:
                return await work(offices)
            finally:
                await offices.sink.flush()

    log.set_up("error", "console", to_stderr=True)
    try:
        return asyncio.run(connected())
    except OSError as full:
        fail(f"{essentials.state_dir} cannot be written ({full.strerror}); make room or correct its owner")


async def _hold(offices: Offices, kind: str) -> Held:
    now_ms = SystemClock().now_ms()
    activation = offices.lifespan.read(now_ms)
    return await offices.office.hold(kind, activation.activated_ms if activation is not None else now_ms)


# -- showing


def _status(essentials: Essentials) -> dict[str, Any]:
    now_ms = SystemClock().now_ms()
    offices = _offices(essentials, _no_line)
    try:
        shown = offices.status.read()
    except RecordUnreadable as broken:
        fail(f"{broken}; it is written anew by a running BSC")
    activation = offices.lifespan.read(now_ms)
    if shown is None:
        shown = {**self_description(), "last_good_poll_ms": None, "positions": [], "timestamp": 0, "cycle": 0}
    if now_ms - int(shown["timestamp"]) > OUTDATED_MS:
        shown["state"] = STOPPED
    if activation is not None:
        shown["authority"] = activation.authority(now_ms).value
        shown["days_left"] = activation.days_left(now_ms)
        shown["demoted_because"] = activation.demoted_because
    return {"authority": Authority.CONTROLLER.value, "days_left": 0, "state": STOPPED, **shown}


def _print_status(shown: dict[str, Any]) -> None:
    click.echo(f"{shown['state']}, {shown['authority']}, {shown['days_left']} days left")
    if shown.get("demoted_because"):
        click.echo(f"  demoted: {shown['demoted_because']}")
    for problem in shown.get("problems", ()):
        click.echo(f"  trouble: {problem}")
    for row in shown["positions"]:
        side = "" if row["position_side"] == "BOTH" else f" {row['position_side']}"
        click.echo(
            f"  {row['symbol']}{side}: amt={row['amount']} pnl={row['pnl_pct']} margin={row['margin_ratio']} "
            f"age={row['age_h']}h {row['breach'] or 'within limits'}"
        )


def _print_audit(held: Held) -> None:
    click.echo(f"{held.audit.kind} audit: {held.audit.verdict}")
    for finding in held.audit.findings:
        click.echo(f"  {finding.verdict.value:<12} {finding.name}: {finding.found}")
    click.echo(f"  written to {held.path} and {held.path.with_suffix('.md').name}")
    if held.audit.kind == WEEKLY:
        click.echo("  to sign it, read it and write your name into `signed_by` of the JSON file")
