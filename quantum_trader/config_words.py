"""Configuration in words: its mistakes plainly put, its values shown without secrets (SPEC 12, 15)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import SecretStr

from quantum_trader.config_secrets import SECRETS
from quantum_trader.domain.result import plain
from quantum_trader.url_passwords import without_password

SET = "(set, not shown)"
_MEMBER = re.compile(r"<[\w.]+: ('[^']*')>")

# pydantic's error types → what would be right; {names} come from the error's own context.
WORDS: Mapping[str, str] = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number, without a fraction",
    "decimal_parsing": "must be a number",
    "decimal_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text, in quotes",
    "string_pattern_mismatch": "may hold only what {pattern} allows",
    "path_type": "must be the path of a folder, in quotes",
    "tuple_type": 'must be a list, like ["BTCUSDT"]',
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "model_type": "is a table with keys of its own: write [{key}] on a line by itself",
    "model_attributes_type": "is a table with keys of its own: write [{key}] on a line by itself",
}


def problem_in_words(error: Mapping[str, Any], key: str) -> str:
    """Return what is wrong with ``key`` and what would be right, without the value."""
    if error["type"] in ("enum", "literal_error"):
        return _choice_in_words(error["ctx"]["expected"])
    words = WORDS.get(error["type"])
    if words is None:
        return str(error["msg"]).removeprefix("Value error, ")
    return words.format(key=key, **error.get("ctx", {}))


def _choice_in_words(expected: str) -> str:
    """Return the choice as it is written in config.toml: pydantic shows some as ``<Mode.OFF: 'off'>``."""
    choice = _MEMBER.sub(r"\1", expected)
    return f"must be one of {choice}" if " or " in choice else f"must be {choice}"


def given_in_words(value: Any, key: str) -> str:
    """Return a refused value as it may be shown in an error."""
    if isinstance(value, Decimal) and value.is_finite():
        return plain(value)
    return repr(without_secrets(value, key))


def shown_value(config: Any, key: str) -> str:
    """Return the value of the dotted ``key`` of a configuration as it may be shown anywhere."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(str(without_secrets(each, key)) for each in value) or "[]"
    shown = without_secrets(value, key)
    if shown is None:
        return "unset"
    return str(getattr(shown, "value", shown)) or '""'


def without_secrets(value: Any, key: str) -> Any:
    """Return ``value`` without what nobody may see: secrets whole, passwords out of URLs."""
    if tuple(key.split(".")[:2]) in SECRETS:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        return SET if text else ""
    return without_password(value) if isinstance(value, str) else value
