"""Which ``redis.url`` can be used at all, known before anything connects (SPEC 12)."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qs, urlsplit

from quantum_trader.sentinel_address import SCHEME, SentinelAddress

EMBEDDED = "embedded"
SCHEMES = ("redis://", "rediss://", "unix://")


def redis_url_problem(url: str) -> str:
    """Return what is wrong with the URL and what would be right, without the URL; "" if nothing."""
    if url == EMBEDDED:
        return ""
    if url.startswith(SCHEME):
        return _sentinel_problem(url)
    if not url.startswith(SCHEMES):
        return 'must be "embedded" or start with redis://, rediss://, unix:// or redis+sentinel://'
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # most often the rest of a password
        return (
            'has no valid host and port; in a password, write "/" as %2F, "?" as %3F, "#" as %23, "@" as %40'
        )
    return (
        "" if _database(parts).isdecimal() else "must name a database by its number, like redis://host:6379/0"
    )


def _database(parts: SplitResult) -> str:
    in_path = "" if parts.scheme == "unix" else parts.path.strip("/")
    return parse_qs(parts.query).get("db", [in_path])[0] or "0"


def _sentinel_problem(url: str) -> str:
    try:
        SentinelAddress.from_url(url)
    except ValueError as wrong:
        return str(wrong)
    return ""
