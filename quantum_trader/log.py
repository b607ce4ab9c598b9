"""JSON lines, or lines for people; one sink for all of them, and no secret in any (SPEC 13)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from quantum_trader.log_sink import LogSink
from quantum_trader.stores.codec import encode, encode_text

REDACTED = "[redacted]"
SECRET_LENGTH_MIN = 4
FIRST_FIELDS = ("ts", "level", "event")

_LEVELS = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}

_secrets: set[str] = set()  # as they are, and as JSON writes them
_threshold = [logging.INFO]
_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts")
_SHARED: tuple[Any, ...] = (structlog.stdlib.add_log_level, _stamp, structlog.processors.format_exc_info)
_sinks: list[LogSink] = []  # the one in use; none before set_up
_direct: list[LogSink] = []  # where JSON lines go; empty while lines are made for people
_renderers: list[Any] = []  # how lines are made now
_MILLISECONDS = tuple([f".{ms:03}000Z" for ms in range(1000)])


def hide(secrets: Iterable[str]) -> None:
    """Keep ``secrets`` out of every line from now on, whoever writes it."""
    for secret in secrets:
        if len(secret) >= SECRET_LENGTH_MIN:
            _secrets.update((secret, encode_text(secret)[1:-1], repr(secret)[1:-1]))


def set_level(level: str) -> None:
    """Say nothing below ``level`` from now on; other libraries nothing below warning."""
    _threshold[0] = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(max(_threshold[0], logging.WARNING))


def set_up(level: str, line_format: str, file: str = "", *, to_stderr: bool = False) -> None:
    """Send everything, other libraries' lines included, to stdout once, and once to ``file`` if there is one.

    Stderr takes the place of stdout where that is for a command's answer.

    Raises:
        OSError, ValueError: ``file`` cannot be written, or is where stdout goes already.
    """

    def stream() -> TextIO:
        return sys.stderr if to_stderr else sys.stdout

    has_colors = stream().isatty() and not file
    people = [_for_people, structlog.dev.ConsoleRenderer(timestamp_key="ts", colors=has_colors)]
    sink = _use_sink(stream, file)
    _renderers[:] = [*(people if line_format == "console" else [_json]), _redact]
    _direct[:] = [] if line_format == "console" else [sink]
    structlog.configure(
        processors=_PROCESSORS,
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _SinkInUse())),
        cache_logger_on_first_use=True,  # harmless: what is cached looks up renderers and sink at each line
    )
    handler = logging.StreamHandler(sink)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def reopen_file() -> None:
    """Go on in a new file of the same name, as logrotate wants it; a failure is told, and changes nothing."""
    try:
        for sink in _sinks:
            sink.reopen()
    except OSError as refused:
        structlog.get_logger().warning("log_file_not_reopened", error=str(refused))


class _SinkInUse:
    """Writes to the sink of the newest ``set_up``: loggers that were cached before it do so, too."""

    def write(self, text: str) -> None:
        """Write ``text``."""
        for sink in _sinks:
            sink.write(text)

    def flush(self) -> None:
        """Hand over what is buffered."""
        for sink in _sinks:
            sink.flush()


def _use_sink(stream: Callable[[], TextIO], file: str) -> LogSink:
    def complaint(event: str, fields: dict[str, Any]) -> str:
        """Make the line by hand: whoever logs holds the sink at this moment."""
        line: Any = {"event": event, **fields}
        for processor in (*_SHARED, _render):
            line = processor(None, "warning", line)
        return f"{line}\n"

    sink = LogSink(stream, Path(file) if file else None, complaint)
    for former in _sinks:
        former.close()
    _sinks[:] = [sink]
    return sink


@contextmanager
def aside() -> Iterator[None]:
    """Send what is logged without ``set_up`` to stderr: stdout is for the answer of a command."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        yield
    finally:
        structlog.reset_defaults()


def tell(event: str, moments: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
    """Write ``logger.info(event, **fields)`` for each (ms since the epoch, fields), by the shortest way.

    For the line that every plan has; ``fields`` are never empty.
    """
    if not _direct:
        for _, fields in moments:
            structlog.get_logger().info(event, **fields)
    elif _threshold[0] <= logging.INFO:
        _direct[0].write_lines("".join([_info_line(event, at_ms, fields) for at_ms, fields in moments]))


def _info_line(event: str, at_ms: int, fields: Mapping[str, Any]) -> str:
    moment, rest = _second(at_ms // 1000) + _MILLISECONDS[at_ms % 1000], encode(fields)[1:].decode()
    return _without_secrets(f'{{"ts":"{moment}","level":"info","event":"{event}",{rest}\n')


@lru_cache(maxsize=4)
def _second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _drop_below_level(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _LEVELS.get(method, logging.ERROR) < _threshold[0]:
        raise structlog.DropEvent
    return event


def _render(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    line: Any = event
    for renderer in _renderers:
        line = renderer(logger, method, line)
    return line


_PROCESSORS: list[Any] = [_drop_below_level, *_SHARED, _render]  # one list, as cached loggers hold on to it


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
    return _without_secrets(line)


def _without_secrets(line: str) -> str:
    """Take secrets out of the whole line: whatever form they came in, this is what is written."""
    for secret in _secrets:
        if secret in line:
            line = line.replace(secret, REDACTED)
    return line
