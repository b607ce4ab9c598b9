"""``quantum-trader``: thin commands over the engine's parts. Each loads only what it needs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from quantum_trader import __version__
from quantum_trader.cli.usage import in_one_line

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Run it": {
        "run": "Start the engine and work until SIGTERM or Ctrl-C.",
        "demo": "See all of it in two minutes, on play money.",
        "doctor": "Check everything the engine needs, each with its cure.",
        "submit": "Put a plan on the stream.",
    },
    "Ask it": {
        "status": "Whether the engine runs and works.",
        "why": "Why nothing trades; what became of a plan; what stops a symbol.",
        "positions": "What the exchange and the ledger hold, and BSC's limits.",
        "heat": "What the portfolio heat makes of proposed closes.",
        "lag": "How far the engine is behind, and what could not be read.",
        "verify": "Check the running engine's promises one by one.",
    },
    "Stop it": {
        "kill": "Halt everything, or opens only, from the next plan on.",
        "resume": "Clear the kill switch.",
        "close": "Close one symbol, straight at the exchange.",
        "flatten": "Close everything, straight at the exchange.",
        "arm": "Let the engine open again after it disarmed itself.",
        "latches": "Show the stops that are set; clear cooldowns and safe mode.",
        "mode": "Show the mode; go to dry_run without a restart.",
    },
    "Set it up": {
        "config": "Check, show and describe the configuration.",
        "bsc": "Run and examine the watchdog.",
        "alerts": "Try out who is told when a person is needed.",
        "simulator": "Run the embedded exchange alone.",
    },
}
COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}


class _Commands(click.Group):
    """Imports a command's module when it is asked for, so that each starts fast; words usage errors."""

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        with in_one_line():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        log = importlib.import_module("quantum_trader.log")  # not for --help, which must be fast
        with in_one_line(), log.aside():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"quantum_trader.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, commands[name]) for name in commands], col_max=12)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="quantum-trader")
def main() -> None:
    """Execution-safety engine for programmatic traders of Binance USDⓈ-M Futures.

    Exit codes: 0 fine, 1 a check failed, 2 usage, 3 Redis or the engine cannot be reached.
    """
