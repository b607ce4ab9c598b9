"""JSON lines on stdout, or lines for people; one sink, and no secret in any of them (SPEC 13)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from quantum_trader.stores.codec import encode_text

REDACTED = "[redacted]"
SECRET_LENGTH_MIN = 4
FIRST_FIELDS = ("ts", "level", "event")

_LEVELS = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}

_secrets: set[str] = set()  # as they are, and as JSON writes them
_threshold = [logging.INFO]
_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts")
_direct: list[TextIO] = []  # where JSON lines go; empty while lines are made for people


def hide(secrets: Iterable[str]) -> None:
    """Keep ``secrets`` out of every line from now on, whoever writes it."""
    for secret in secrets:
        if len(secret) >= SECRET_LENGTH_MIN:
            _secrets.update((secret, encode_text(secret)[1:-1], repr(secret)[1:-1]))


def set_level(level: str) -> None:
    """Say nothing below ``level`` from now on; other libraries nothing below warning."""
    _threshold[0] = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(max(_threshold[0], logging.WARNING))


def set_up(level: str, line_format: str) -> None:
    """Send everything, other libraries' lines included, to stdout once."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        _stamp,
        structlog.processors.format_exc_info,
    ]
    people = [_for_people, structlog.dev.ConsoleRenderer(timestamp_key="ts", colors=sys.stdout.isatty())]
    _direct[:] = [] if line_format == "console" else [sys.stdout]
    renderers: list[Any] = [*(people if line_format == "console" else [_json]), _redact]
    structlog.configure(
        processors=[_drop_below_level, *shared, *renderers],
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def tell(event: str, fields: Mapping[str, Any]) -> None:
    """Write ``logger.info(event, **fields)`` by the shortest way: for the line that every plan has."""
    if not _direct:
        structlog.get_logger().info(event, **fields)
    elif _threshold[0] <= logging.INFO:
        line = encode_text({**_stamp(None, "info", {}), "level": "info", "event": event, **fields})
        _direct[0].write(_redact(None, "info", line) + "\n")
        _direct[0].flush()


def _drop_below_level(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _LEVELS.get(method, logging.ERROR) < _threshold[0]:
        raise structlog.DropEvent
    return event


def _for_people(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Shorten what only machines read: `why` has the rest."""
    event.pop("limits", None)
    if event.get("event") != "decision":
        return event
    wish = f"{event['side']} {event['qty']} {event['symbol']}"
    outcome = f"{event['decision']} {event['gate']} {event['reason']}".replace("  ", " ")
    filled = f" {event['filled_qty']} at {event['avg_price']}" if event["executed"] else ""
    short = {"ts": event["ts"], "level": event["level"], "event": f"{wish}: {outcome}{filled}"}
    return {**short, "plan_id": event["plan_id"]}


def _json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    head = {name: event.pop(name, "") for name in FIRST_FIELDS}
    return encode_text(head | dict(event))


def _redact(_: Any, __: str, line: str) -> str:
    """Take secrets out of the whole line: whatever form they came in, this is what is written."""
    for secret in _secrets:
        if secret in line:
            line = line.replace(secret, REDACTED)
    return line
