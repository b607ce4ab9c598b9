"""Text parameters of a request, turned into numbers and words, or refused with their code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from quantum_trader.exchange.simulator.errors import RefusedError, missing

Params = Mapping[str, str]

# Plain notation only: a float-formatted 1e-05 is malformed, not a small number (BINANCE.md 13.5).
_DECIMAL: Final = re.compile(r"-?[0-9]{1,24}(\.[0-9]{1,24})?")
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_BOOLEANS: Final = {"true": True, "false": False}


def required(params: Params, name: str) -> str:
    """The parameter's text; -1102 where it is absent or empty."""
    text = params.get(name, "")
    if not text:
        raise missing(name)
    return text


def decimal(params: Params, name: str) -> Decimal:
    """A mandatory decimal in plain notation; -1102 otherwise."""
    text = required(params, name)
    if not _DECIMAL.fullmatch(text):
        raise missing(name)
    return Decimal(text)


def integer(params: Params, name: str) -> int:
    """A mandatory integer; -1102 otherwise."""
    text = required(params, name)
    if not _INTEGER.fullmatch(text):
        raise missing(name)
    return int(text)


def optional_integer(params: Params, name: str) -> int | None:
    """An integer, or None where the parameter is absent or empty; -1102 where malformed."""
    return integer(params, name) if params.get(name) else None


def boolean(params: Params, name: str, *, default: bool = False) -> bool:
    """``true``/``false`` in any case; -1102 for anything else."""
    text = params.get(name, "")
    if not text:
        return default
    known = _BOOLEANS.get(text.lower())
    if known is None:
        raise missing(name)
    return known


def limit(params: Params, default: int, maximum: int) -> int:
    """The ``limit`` parameter within 1…``maximum``; -1130 outside."""
    count = optional_integer(params, "limit")
    if count is None:
        return default
    if not 1 <= count <= maximum:
        raise RefusedError(-1130, name="limit")
    return count
