"""Closing by hand: straight at the exchange, without Redis, engine or kill switch (SPEC 13, INC-33).

Only the exit-only port is in reach here, as for BSC: an order by `close` or `flatten` cannot open anything.
What a read at the end shows is what counts: a position that it still lists is left, whatever was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from quantum_trader import log
from quantum_trader.bsc.closing import Closed, Closer, NotClosed
from quantum_trader.cli.options import FAILED, UNREACHABLE, fail
from quantum_trader.credentials import Credentials, load_credentials
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.result import plain
from quantum_trader.essentials import Essentials, load_essentials
from quantum_trader.exchange.errors import ExchangeError, KeyRefused
from quantum_trader.exchange.margin_reads import MarginPosition
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.watch import WatchLine, watch_line, watch_transport
from quantum_trader.stores.address import paper_exchange_url
from quantum_trader.stores.codec import encode_text
from quantum_trader.trading_mode import ConfigError, TradingMode

CLIENT_ORDER_ID_PREFIX = "op-"
AT_ONCE_MAX = 5

Wanted = Callable[[MarginPosition], bool]


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of one position; ``left`` is what the last read shows of it, in base asset, signed."""

    position: MarginPosition
    outcome: Closed | NotClosed
    left: Decimal

    @property
    def name(self) -> str:
        """The position as people call it."""
        leg = self.position.leg
        return leg.symbol if leg.side == "BOTH" else f"{leg.symbol} {leg.side}"

    def as_record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "symbol": self.position.leg.symbol,
            "position_side": self.position.leg.side.value,
            "side": self.position.side_to_close.value,
            "qty": plain(abs(self.position.amount)),
            "closed": self.left == 0,
            "left": plain(self.left),
            "error": "" if self.left == 0 else _trouble(self.outcome),
            "filled_qty": plain(self.outcome.quantity) if isinstance(self.outcome, Closed) else "",
            "client_order_ids": list(self.outcome.client_order_ids),
        }

    def in_words(self) -> str:
        """Return it as one line."""
        wish = f"{self.position.side_to_close} {plain(abs(self.position.amount))}"
        if self.left == 0:
            return f"✓ {self.name}: closed ({wish})"
        return f"✗ {self.name}: {plain(self.left)} left: {_trouble(self.outcome)}"


def close_wanted(config_path: Path | None, wanted: Wanted, *, nothing: str, as_json: bool) -> None:
    """Close every live position that is ``wanted``, say what became of each; exit code 1 if any is left."""
    essentials = essentials_of(config_path)
    credentials = credentials_of(essentials)
    if not essentials.closes:
        fail(
            "mode dry_run sends no order, closes included; to close for real: "
            "`QT_MODE=live QT_CONFIRM_LIVE=true quantum-trader …`"
        )
    tell: Callable[[str], None] = (lambda _: None) if as_json else click.echo
    try:
        endings = asyncio.run(_close(essentials, credentials, wanted, tell))
    except KeyRefused as refused:
        fail(f"the exchange refuses the API key: {refused}; `quantum-trader doctor` says why")
    except ExchangeError as unreachable:
        fail(
            f"the exchange does not answer: {unreachable}; try again, or close it on its own page",
            UNREACHABLE,
        )
    if as_json:
        click.echo(encode_text({"positions": [ending.as_record() for ending in endings]}))
    elif not endings:
        click.echo(nothing)
    left = [ending.name for ending in endings if ending.left != 0]
    if left:
        fail(f"still open: {', '.join(left)}; run it again, or close on the exchange's own page", FAILED)


async def _close(
    essentials: Essentials, credentials: Credentials, wanted: Wanted, tell: Callable[[str], None]
) -> list[Ending]:
    async with own_line(essentials, credentials) as line:
        await line.clock.measure()
        live = [position for position in await line.reads.positions() if wanted(position)]
        read_at_ms = line.clock.signing_time_ms()
        for position in live:
            tell(f"→ {position.leg.key}: {position.side_to_close} {plain(abs(position.amount))}, all of it")
        outcomes = await _send(line, live, read_at_ms)
        held = {each.leg: each.amount for each in await line.reads.positions()} if live else {}
    endings = [
        Ending(position, outcome, held.get(position.leg, Decimal(0)))
        for position, outcome in zip(live, outcomes, strict=True)
    ]
    for ending in endings:
        tell(ending.in_words())
    return endings


async def _send(
    line: WatchLine, positions: Sequence[MarginPosition], read_at_ms: int
) -> list[Closed | NotClosed]:
    turns = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(position: MarginPosition) -> Closed | NotClosed:
        async with turns:
            return await Closer(line, position, read_at_ms, SystemClock(), CLIENT_ORDER_ID_PREFIX).close()

    return list(await asyncio.gather(*(one(position) for position in positions)))


@asynccontextmanager
async def own_line(essentials: Essentials, credentials: Credentials) -> AsyncIterator[WatchLine]:
    """Yield a line to the exchange of this command's own; raises ``ExchangeError`` without an address."""
    settings = ExchangeSettings(
        rest_url=essentials.rest_url or _paper_url(essentials.state_dir),
        api_key=credentials.api_key,
        api_secret=credentials.api_secret,
        recv_window_ms=essentials.recv_window_ms,
        request_timeout_s=essentials.request_timeout_s,
    )
    transport = watch_transport(settings, SystemClock())
    try:
        yield watch_line(transport, SystemClock(), essentials.recv_window_ms)
    finally:
        await transport.close()


def _paper_url(state_dir: Path) -> str:
    url = paper_exchange_url(state_dir)
    if url is None:
        raise ExchangeError(
            "paper exchange", f"it lives inside the engine, and none ever ran with state_dir {state_dir}"
        )
    return url


def essentials_of(config_path: Path | None) -> Essentials:
    """Return what reaching the exchange needs, or end with its problems; the rest may be broken."""
    try:
        essentials = load_essentials(config_path)
    except ConfigError as problem:
        fail(f"{problem}; or set QT_MODE and QT_STATE_DIR in the environment")
    for warning in essentials.warnings:
        click.echo(f"warning: {warning}", err=True)
    return essentials


def credentials_of(essentials: Essentials) -> Credentials:
    """Return the mode's keys, kept out of every line from now on, or end with what is missing."""
    try:
        credentials = load_credentials(essentials)
    except ConfigError as problem:
        fail(str(problem))
    log.set_up("critical", "console", to_stderr=True)
    if essentials.mode is not TradingMode.PAPER:
        log.hide((credentials.api_key, credentials.api_secret))
    return credentials


def _trouble(outcome: Closed | NotClosed) -> str:
    return outcome.reason if isinstance(outcome, NotClosed) else "a position stands there again"
