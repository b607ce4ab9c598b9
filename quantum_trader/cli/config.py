"""``quantum-trader config check | show | schema``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from quantum_trader.cli.common import config_option, fail, json_option, print_json, read_config
from quantum_trader.config import Config, ConfigError, config_leaves, origin_of
from quantum_trader.credentials import LIVE_NAMES, TESTNET_NAMES, load_credentials


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
        {"key": ".".join(leaf), "value": _value(config, leaf), "origin": origin_of(leaf, config_path)}
        for leaf in config_leaves()
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
    width = max(len(row["key"]) for row in rows)
    for row in rows:
        click.echo(f"{row['key']:<{width}}  {row['value']!s:<32}  {row['origin']}")


@command.command("schema")
def schema() -> None:
    """Print the JSON schema of config.toml, for editors."""
    print_json(Config.model_json_schema())


def _value(config: Config, leaf: tuple[str, ...]) -> Any:
    """Return a value as it may be shown: a URL loses its password."""
    value: Any = config.model_dump(mode="json")
    for part in leaf:
        value = value[part]
    if isinstance(value, str) and "@" in value and "://" in value:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://[redacted]@{rest.rpartition('@')[2]}"
    return value
