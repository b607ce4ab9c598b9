"""Reading the timestamps that other programs write: seconds, milliseconds or ISO 8601 (SPEC 3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

SECONDS_BELOW = 100_000_000_000  # a number below this is in seconds, else in milliseconds

_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)


def read_ms(text: str) -> int:
    """Return ``text`` as ms since the epoch; a moment without a zone is UTC.

    Raises:
        ValueError: it is none of the three forms.
    """
    if _NUMBER.fullmatch(text):
        number = Decimal(text)
        return int(number * 1000) if number < SECONDS_BELOW else int(number)
    moment = datetime.fromisoformat(text)
    try:
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except OverflowError as beyond:
        raise ValueError(f"{text!r} lies beyond what a date may be") from beyond
