"""What every command has, and what none needs Redis or the whole configuration for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

FAILED = 1
UNREACHABLE = 3

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="config.toml to use. [default: $QT_CONFIG, else ./config.toml where there is one]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print one line to stderr and end with ``code``."""
    click.echo(f"quantum-trader: {message}", err=True)
    sys.exit(code)
