"""What an address of a venue looks like: a word that file, BSC and exchange client share."""

from __future__ import annotations

from urllib.parse import urlsplit

REST_SCHEMES = ("https", "http")
SOCKET_SCHEMES = ("wss", "ws")


def endpoint_problem(url: str, schemes: tuple[str, str]) -> str:
    """Return why ``url`` is no endpoint, and what one looks like; "" if it is one."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:  # a port that is no number, a bracket too many
        is_one = False
    if is_one and "@" not in parts.netloc and not parts.query and not parts.fragment:
        return ""
    looks = " or ".join(f"{scheme}://host[:port][/path]" for scheme in schemes)
    return f"must look like {looks}, without user, password and query"
