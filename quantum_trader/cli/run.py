"""``quantum-trader run``."""

from __future__ import annotations

from pathlib import Path

import click
import uvloop

from quantum_trader import log
from quantum_trader.app import App, RedisUnreachable, StartRefused
from quantum_trader.cli.common import UNREACHABLE, config_option, fail, read_config
from quantum_trader.config import ConfigError
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.embedded import EmbeddedServerError
from quantum_trader.trading_mode import config_path as resolved_path


@click.command("run")
@config_option
@click.option("--log-format", type=click.Choice(["json", "console"]), help="Overrides log.format.")
def command(config_path: Path | None, log_format: str | None) -> None:
    """Start the engine and work until SIGTERM or Ctrl-C.

    Without a configuration it runs in paper mode: an exchange and a Redis of its own, no keys, no money.
    """
    config = read_config(config_path)
    try:
        log.set_up(config.log.level, log_format or config.log.format, config.log.file)
    except (OSError, ValueError) as refused:
        problem = getattr(refused, "strerror", None) or refused
        fail(f"log.file = {config.log.file!r} cannot be used ({problem}); make it writable, or name another")
    try:
        uvloop.run(App(config, source=resolved_path(config_path)).run_until_signalled())
    except RedisUnreachable as unreachable:
        fail(str(unreachable), UNREACHABLE)
    except RedisError as lost:
        fail(f"Redis was lost during the start ({type(lost).__name__}); see that it runs", UNREACHABLE)
    except (StartRefused, ConfigError, EmbeddedServerError) as refused:
        fail(str(refused))
