"""``quantum-trader alerts test``."""

from __future__ import annotations

from pathlib import Path

import click

from quantum_trader.alerts.sinks import AlertsUnusable, apprise_sinks
from quantum_trader.cli.common import FAILED, config_option, fail, json_option, print_json, read_config

TITLE = "Quantum Trader: test"
BODY = "This is what an alert looks like. Nothing has happened."


@click.group("alerts")
def command() -> None:
    """Try out who is told when a person is needed."""


@command.command("test")
@config_option
@json_option
def test(config_path: Path | None, as_json: bool) -> None:
    """Send one message to every address of alerts.urls, and say which accepted it."""
    urls = [url.get_secret_value() for url in read_config(config_path).alerts.urls]
    if not urls:
        fail("alerts.urls is not set; put Apprise URLs into QT_ALERTS__URLS or QT_ALERTS__URLS_FILE")
    try:
        sinks = apprise_sinks(urls)
    except AlertsUnusable as unusable:
        fail(str(unusable))
    rows = [
        {"address": number, "kind": url.partition(":")[0], "problem": send(TITLE, BODY, False)}
        for number, (url, send) in enumerate(zip(urls, sinks, strict=True), 1)
    ]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            click.echo(f"{row['address']} ({row['kind']}): {row['problem'] or 'accepted'}")
    if any(row["problem"] for row in rows):
        raise SystemExit(FAILED)
