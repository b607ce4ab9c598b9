"""Writes what is generated from the code: config.toml and docs/reasons.md (``make docs``)."""

from __future__ import annotations

import json
import textwrap
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from quantum_trader.config import Config
from quantum_trader.domain.reasons import Reason

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 96

CONFIG_HEAD = """\
# Quantum Trader. Every key stands here with its default; delete what you do not change.
# The environment wins over this file: QT_<TABLE>__<KEY>, e.g. QT_GATES__FUND_CAPS__MAX_OPEN_POSITIONS=5.
# API keys never stand here: see README.md.
"""

REASONS_HEAD = """\
# Reasons

Every result names a `reason`, and the `gate` that gave it. `quantum-trader why PLAN_ID` prints the same
words.
This page is generated from `quantum_trader/domain/reasons.py` by `make docs`.

Two families carry a name: `invalid_<field>` (gate `intake`: the plan's field cannot be accepted; `error`
says what is allowed) and `decision_<value>` (the plan does not say `EXECUTE`, so nothing was done).
"""


def config_text() -> str:
    """Return config.toml: every key with its comment and default."""
    return CONFIG_HEAD + "\n" + "\n".join(_table(Config, ())).strip() + "\n"


def reasons_text() -> str:
    """Return docs/reasons.md: every reason by gate, with meaning and cure."""
    parts = [REASONS_HEAD]
    for gate in dict.fromkeys(reason.gate for reason in Reason):
        rows = [f"| `{one.value}` | {one.meaning} | {one.cure} |" for one in Reason if one.gate == gate]
        parts.append(
            "\n".join([f"## {gate or 'any'}\n", "| reason | means | what to do |", "|---|---|---|", *rows])
        )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _table(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    tables: list[tuple[str, type[BaseModel]]] = []
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            tables.append((key, field.annotation))
            continue
        value = _literal(field.get_default(call_default_factory=True))
        lines += _comment(field.description or "")
        lines.append(f"# {key} = false" if value is None else f"{key} = {value}")
    if lines and path:
        summary = (model.__doc__ or "").strip().split("\n")[0].replace("``", "")
        lines = [*_comment(summary), f"[{'.'.join(path)}]", *lines]
    if lines:
        lines.append("")
    for key, table in tables:
        lines += _table(table, (*path, key))
    return lines


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH)]


def _literal(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, Decimal)):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps(str(value))


if __name__ == "__main__":
    (ROOT / "config.toml").write_text(config_text(), encoding="utf-8")
    (ROOT / "docs" / "reasons.md").write_text(reasons_text(), encoding="utf-8")
