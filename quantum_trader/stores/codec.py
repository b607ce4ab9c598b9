"""JSON of keys, streams and logs: Decimal as plain strings, money for scripts in micro-USDT."""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import orjson

from quantum_trader.domain.result import plain

MICRO = 1_000_000
_dumps = orjson.dumps  # every plan asks for it a dozen times


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON; Decimals become plain decimal strings.

    Raises:
        TypeError: something in it has no JSON form.
    """
    try:
        return _dumps(value, _default)
    except TypeError:  # a key that is no plain text: rare, and the option for it slows every other value down
        return orjson.dumps(value, default=_default, option=orjson.OPT_NON_STR_KEYS)


def encode_text(value: Any) -> str:
    """Return ``value`` as JSON text."""
    return encode(value).decode()


def decode(text: bytes | str) -> Any:
    """Return the value that ``text`` encodes; raises ``ValueError`` for broken JSON."""
    return orjson.loads(text)


def decode_as_written(text: bytes | str) -> Any:
    """Return the value that ``text`` encodes, with every number as the text that stands there.

    Raises:
        ValueError: broken JSON, nested deeper than anyone needs, or text that no UTF-8 can hold.
    """
    try:
        value = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        encode(value)
    except (RecursionError, TypeError) as impossible:
        raise ValueError(f"no usable JSON: {impossible}") from None
    return value


def micro_up(amount_usdt: Decimal) -> int:
    """Return USDT as whole micro-USDT, rounded up: for what is taken."""
    return int((amount_usdt * MICRO).to_integral_value(rounding=ROUND_CEILING))


def micro_down(amount_usdt: Decimal) -> int:
    """Return USDT as whole micro-USDT, rounded down: for what is left."""
    return int((amount_usdt * MICRO).to_integral_value(rounding=ROUND_FLOOR))


def from_micro(amount: float) -> Decimal:
    """Return whole micro-USDT, as a script may have written them, in USDT."""
    return Decimal(int(amount)) / MICRO


def _default(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, (frozenset, set, tuple)):
        return sorted(value) if isinstance(value, (frozenset, set)) else list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
