"""The files that start BSC alone: they wait for no Redis, and never give it up (SPEC 10)."""

from __future__ import annotations

import re
from configparser import RawConfigParser
from pathlib import Path

import click
import pytest

from quantum_trader.bsc.guard import EXIT_CODE
from quantum_trader.cli import main

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture
def unit() -> RawConfigParser:
    parser = RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((DEPLOY / "quantum-trader-bsc.service").read_text())
    return parser


@pytest.fixture
def service() -> str:
    """The compose file's lines about BSC."""
    found = re.search(r"^  bsc:\n(?:    .*\n)+", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)
    assert found is not None
    return re.sub(r"^ *#.*\n", "", found[0], flags=re.MULTILINE)


def test_inc104_the_unit_waits_for_the_network_and_for_nothing_else(unit: RawConfigParser) -> None:
    wanted = {unit["Unit"][name] for name in ("Wants", "After")}
    assert wanted == {"network-online.target"}
    assert not {"Requires", "BindsTo", "Requisite", "PartOf"} & set(unit["Unit"])


def test_inc104_the_compose_service_waits_for_nothing(service: str) -> None:
    assert "depends_on" not in service
    assert "restart: always" in service


def test_inc105_the_unit_starts_it_again_however_often_it_ends(unit: RawConfigParser) -> None:
    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert str(EXIT_CODE) not in unit["Service"].get("SuccessExitStatus", "")
    assert "RestartPreventExitStatus" not in unit["Service"]


def test_the_commands_of_both_files_exist(unit: RawConfigParser, service: str) -> None:
    for words in (unit["Service"]["ExecStart"].split()[1:3], ["bsc", "run"], ["bsc", "status"]):
        group = main.get_command(click.Context(main), words[0])
        assert isinstance(group, click.Group)
        assert words[1] in group.commands
    assert "command: [bsc, run]" in service
    assert "[CMD, quantum-trader, bsc, status]" in service
