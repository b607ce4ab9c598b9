"""Stream ids such as ``1795000000000-0``: milliseconds of the server's clock, and a number within them.

A *floor* says where a group made anew begins: the oldest id that is not settled, or ``(`` and the
newest settled one.
"""

from __future__ import annotations

SEQUENCE_MAX = 2**64 - 1


def is_stream_id(text: str) -> bool:
    """Whether ``text`` is a whole stream id, such as ``1795000000000-0``."""
    ms, separator, number = text.partition("-")
    return bool(separator) and ms.isascii() and ms.isdigit() and number.isascii() and number.isdigit()


def start_of(floor: str, newest: str) -> str | None:
    """Return the id after which a group begins for ``floor``; None where the floor is not of this stream.

    ``newest`` is the stream's last id: a floor beyond it is another stream's.
    """
    exclusive = floor.startswith("(")
    stream_id = floor.removeprefix("(")
    if not is_stream_id(stream_id) or is_after(stream_id, newest):
        return None
    return stream_id if exclusive else id_before(stream_id)


def before_floor(floor: str, by_ms: int) -> str:
    """Return the floor that lies ``by_ms`` before ``floor``; "" where that is none."""
    stream_id = floor.removeprefix("(")
    return f"{max(0, _number(stream_id)[0] - by_ms)}-0" if is_stream_id(stream_id) else ""


def is_after(stream_id: str, other: str) -> bool:
    """Whether ``stream_id`` was made after ``other``."""
    return _number(stream_id) > _number(other)


def id_before(stream_id: str) -> str:
    """Return the id that stands immediately before ``stream_id``; a group made there delivers it."""
    ms, number = _number(stream_id)
    if number > 0:
        return f"{ms}-{number - 1}"
    return f"{ms - 1}-{SEQUENCE_MAX}" if ms > 0 else "0"


def _number(stream_id: str) -> tuple[int, int]:
    ms, _, number = stream_id.partition("-")
    return int(ms), int(number or 0)
