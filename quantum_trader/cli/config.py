"""``quantum-trader config check | show | schema``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from quantum_trader.cli.common import (
    config_option,
    connected,
    engine_status,
    fail,
    json_option,
    print_json,
    read_config,
    run_async,
)
from quantum_trader.config import Config, ConfigError, config_leaves, origin_of
from quantum_trader.config_words import shown_value
from quantum_trader.credentials import LIVE_NAMES, TESTNET_NAMES, load_credentials
from quantum_trader.essentials import load_reach
from quantum_trader.stores.connection import RedisError

KEY_WIDTH = 42
VALUE_WIDTH = 22


@click.group("config")
def command() -> None:
    """Check and show the configuration."""


@command.command("check")
@config_option
@json_option
def check(config_path: Path | None, as_json: bool) -> None:
    """Say whether the engine would start with this configuration."""
    config = read_config(config_path)
    try:
        load_credentials(config)
    except ConfigError as problem:
        fail(str(problem))
    if as_json:
        print_json({"ok": True, "mode": config.mode, "config_hash": config.hash})
    else:
        click.echo(f"fine: mode {config.mode}, config hash {config.hash}")


@command.command("show")
@config_option
@json_option
def show(config_path: Path | None, as_json: bool) -> None:
    """Print every value in force and where it comes from. Secrets show only whether they are set."""
    config = read_config(config_path)
    rows = [
        {"key": key, "value": shown_value(config, key), "origin": origin_of(leaf, config_path)}
        for leaf in config_leaves()
        for key in (".".join(leaf),)
    ]
    rows += [
        {
            "key": name,
            "value": "set" if os.environ.get(name) or os.environ.get(name + "_FILE") else "not set",
            "origin": "environment",
        }
        for name in (*LIVE_NAMES, *TESTNET_NAMES)
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['key']:<{KEY_WIDTH}} {row['value']!s:<{VALUE_WIDTH}} {row['origin']}")
    click.echo(f"\nconfig hash {config.hash}{_running_note(config_path, config.hash)}")


def _running_note(config_path: Path | None, here: str) -> str:
    """Say whether a running engine goes by the same values: it may have refused an edit."""
    try:
        status = run_async(connected(load_reach(config_path), engine_status))
    except (RedisError, OSError):
        return ""
    if status is None:
        return "; no engine runs"
    if status["config_hash"] == here:
        return ": the running engine has the same"
    return f"; the RUNNING ENGINE HAS ANOTHER: {status['config_hash']} (`quantum-trader verify` says more)"


@command.command("schema")
@config_option
@json_option
def schema(config_path: Path | None, as_json: bool) -> None:
    """Print the JSON schema of config.toml, for editors: JSON anyway, and the same for every file."""
    del config_path, as_json
    print_json(Config.model_json_schema())
