"""``quantum-trader``: thin commands over the engine's parts. Each loads only what it needs."""

from __future__ import annotations

import importlib

import click

from quantum_trader import __version__

COMMANDS = {
    "run": "Start the engine and work until SIGTERM or Ctrl-C.",
    "submit": "Put a plan on the stream.",
    "why": "Explain what became of a plan, or the last decisions on a symbol.",
    "status": "Say whether the engine runs and works.",
    "kill": "Halt trading from the next plan on: everything, or opens only.",
    "resume": "Clear the kill switch.",
    "arm": "Let the engine open again after it disarmed itself.",
    "doctor": "Check everything the engine needs, and say the cure of what is wrong.",
    "config": "Check and show the configuration.",
    "bsc": "Run and examine the watchdog.",
    "alerts": "Try out who is told when a person is needed.",
    "simulator": "Run the embedded exchange alone.",
}


class _Commands(click.Group):
    """Imports a command's module when it is asked for, so that each starts fast."""

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
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="quantum-trader")
def main() -> None:
    """Execution-safety engine for programmatic traders of Binance USDⓈ-M Futures.

    Exit codes: 0 fine, 1 a check failed, 2 usage, 3 Redis or the engine cannot be reached.
    """
