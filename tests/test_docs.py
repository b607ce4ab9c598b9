"""What the pages promise: keys that exist, commands that exist, links that lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from quantum_trader.cli import COMMANDS, main
from quantum_trader.config import config_leaves

ROOT = Path(__file__).resolve().parent.parent
NOT_HERE = {"heat", "alerts"}  # commands of their own rooms
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
EARLIER = (
    "GOV_MAX_OPEN_POSITIONS",
    "GOV_MAX_NOTIONAL_PER_TRADE_USDT",
    "GOV_MAX_TOTAL_NOTIONAL_USDT",
    "GOV_SYMBOL_COOLDOWN_SECONDS",
    "GOV_ACTIVE_SLOTS_",
    "GOV_ROTATION_",
    "GOV_MAX_CORRELATION",
    "GOV_MAX_MARGIN_USAGE_PCT",
    "P33_",
    "P26_MODE",
    "APPLY_MODE",
    "MAX_POSITION_SIZE_USD",
)


def test_every_earlier_name_has_its_successor_and_every_successor_exists() -> None:
    page = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
    for name in EARLIER:
        assert f"`{name}" in page, name
    keys = {".".join(leaf) for leaf in config_leaves()}
    successors = re.findall(r"^\| `\w+` \| `([a-z0-9_.]+)` \|", page, re.MULTILINE)
    assert len(successors) >= 15
    assert [key for key in successors if key not in keys] == []


def test_every_key_stands_in_the_reference() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for leaf in config_leaves():
        assert "QT_" + "__".join(part.upper() for part in leaf) in page


def test_the_file_names_its_schema_for_editors() -> None:
    first = (ROOT / "config.toml").read_text(encoding="utf-8").splitlines()[0]
    assert (ROOT / first.removeprefix("#:schema ")).is_file()
    assert tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))["mode"] == "paper"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?<!/)quantum-trader ([a-z]+)\b(?!-)", page.read_text(encoding="utf-8")))
    assert named <= set(COMMANDS) | NOT_HERE, named - set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_listed_command_loads_and_explains_itself(name: str) -> None:
    command = main.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.help
    assert command.name == name


def test_the_shell_completes_commands() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from quantum_trader.cli import main; main(prog_name='quantum-trader')"],
        env={
            **os.environ,
            "_QUANTUM_TRADER_COMPLETE": "bash_complete",
            "COMP_WORDS": "quantum-trader ver",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.stdout.strip() == "plain,verify"
