"""Faults to inject: a bounded list of rules that say which requests go wrong, and how.

Theory of operation. A rule matches requests by method, path, symbol and API key (None matches
all), lets the first ``after`` matches through and strikes the next ``count``. Rules of the stream
kinds match frames on their way out instead (``path`` is then the beginning of the connection's
URL path, ``event`` the payload's ``e``). Requests of the WebSocket API have the method ``WS``
and their own name as path (``order.place``). What happens
*before* execution never reaches the venue; what happens *after* has been executed, and only the
answer is lost or replaced, which is what makes outcomes unknown (BINANCE.md 4). Rules are pure;
the socket border (server.py) or a simulation carries them out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson

from quantum_trader.exchange.simulator.calls import Distortion
from quantum_trader.exchange.simulator.errors import BANNED, TEXTS
from quantum_trader.exchange.simulator.gateway import Reply, Request
from quantum_trader.exchange.simulator.stream_session import Frame

RULES_MAX: Final = 100
HOLD_MS_MAX: Final = 60_000
_HOLD_MS: Final = 30_000
_FORMATS: Final = {"json": "application/json", "text": "text/plain", "html": "text/html"}
_TEXT_1008: Final = (
    "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. "
    "Please try again."
)


class FaultKind(StrEnum):
    """What a rule does to a request; ``ms`` of the rule is its duration where it has one."""

    LATENCY = "latency"  # answer ``ms`` later
    TIMEOUT_BEFORE = "timeout_before"  # do nothing, say nothing for ``ms``, then drop
    TIMEOUT_AFTER = "timeout_after"  # execute, say nothing for ``ms``, then drop
    RESET_BEFORE = "reset_before"  # drop the connection at once
    RESET_AFTER = "reset_after"  # execute, then drop the connection
    STATUS_BEFORE = "status_before"  # answer with ``preset`` or ``status`` and ``body`` instead
    STATUS_AFTER = "status_after"  # execute, then answer so
    HIDE_ORDER = "hide_order"  # queries do not find the order for ``ms``
    STALE_POSITIONS = "stale_positions"  # account reads answer from ``ms`` ago
    STREAM_DROP = "stream_drop"  # drop the stream connection instead of sending a frame
    STREAM_SILENCE = "stream_silence"  # send this connection nothing for ``ms``; it stays open
    STREAM_DOUBLE = "stream_double"  # send a frame twice
    STREAM_LATE = "stream_late"  # send a frame ``ms`` later, behind those that follow it


RESETS: Final = frozenset({FaultKind.RESET_BEFORE, FaultKind.RESET_AFTER})
HOLDS: Final = frozenset({FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER})
_BEFORE: Final = frozenset({FaultKind.TIMEOUT_BEFORE, FaultKind.RESET_BEFORE, FaultKind.STATUS_BEFORE})
_STREAM: Final = frozenset(
    {FaultKind.STREAM_DROP, FaultKind.STREAM_SILENCE, FaultKind.STREAM_DOUBLE, FaultKind.STREAM_LATE}
)
_AFTER: Final = frozenset({FaultKind.TIMEOUT_AFTER, FaultKind.RESET_AFTER, FaultKind.STATUS_AFTER})

# name: HTTP status, Binance code (None: the body is the bare text), text
PRESETS: Final[dict[str, tuple[int, int | None, str]]] = {
    "503_unknown": (503, None, "Unknown error, please check your request or try again later."),
    "503_unavailable": (503, None, "Service Unavailable."),
    "503_internal": (503, -1001, "Internal error; unable to process your request. Please try again."),
    "503_throttled": (503, -1008, _TEXT_1008),
    "429_weight": (429, -1003, TEXTS[-1003].format(limit=2400)),
    "429_orders": (429, -1015, TEXTS[-1015].format(limit=300, interval="TEN_SECONDS")),
    "418_banned": (418, -1003, BANNED),
    "408_timeout": (
        408,
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    ),
    "400_timestamp": (400, -1021, TEXTS[-1021]),
    "400_engine_timestamp": (400, -5028, TEXTS[-5028]),
    "401_key": (401, -2015, TEXTS[-2015]),
    "403_waf": (403, None, "Forbidden"),
    "500_unknown": (500, None, "Request occur unknown error."),
    "502_gateway": (502, None, "Bad Gateway"),
    "504_gateway": (504, None, "Gateway Time-out"),
}


class FaultRuleError(ValueError):
    """A rule that cannot be: unknown kind or preset, or a number out of bounds."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One rule; see the module's theory of operation.

    ``ms`` is at most a minute. STATUS kinds need a ``preset`` (a name of ``PRESETS``) or a
    ``status`` with ``body``; ``body_format`` is json, text or html. ``retry_after_s`` adds the
    header. Raises ``FaultRuleError`` for impossible values.
    """

    kind: FaultKind
    method: str | None = None
    path: str | None = None
    symbol: str | None = None
    api_key: str | None = field(default=None, repr=False)
    event: str | None = None
    count: int = 1
    after: int = 0
    ms: int = _HOLD_MS
    preset: str | None = None
    status: int = 503
    body: str = ""
    body_format: str = "json"
    retry_after_s: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could never be carried out."""
        if self.preset is not None and self.preset not in PRESETS:
            raise FaultRuleError(f"preset must be one of {', '.join(PRESETS)}, not {self.preset!r}")
        if self.body_format not in _FORMATS:
            raise FaultRuleError(f"body_format must be one of {', '.join(_FORMATS)}")
        if not 0 <= self.ms <= HOLD_MS_MAX:
            raise FaultRuleError(f"ms must be within 0 and {HOLD_MS_MAX}, not {self.ms}")
        if self.count < 1 or self.after < 0:
            raise FaultRuleError("count must be at least 1, after at least 0")
        if not 200 <= self.status < 600:  # noqa: PLR2004 -- the range of HTTP statuses
            raise FaultRuleError(f"status must be an HTTP status, not {self.status}")

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> FaultRule:
        """Build a rule from decoded JSON; ``FaultRuleError`` for unknown fields or kinds."""
        try:
            return cls(**{**fields, "kind": FaultKind(fields.get("kind", ""))})
        except (TypeError, ValueError) as error:
            raise FaultRuleError(str(error)) from error

    def matches(self, request: Request, symbol: str) -> bool:
        """Whether the rule is about ``request``."""
        return (
            self.method in (None, request.method)
            and self.path in (None, request.path)
            and self.symbol in (None, symbol)
            and self.api_key in (None, request.api_key)
        )

    def matches_frame(self, path: str, frame: Frame) -> bool:
        """Whether the rule is about a frame of the stream connection at ``path``."""
        return (
            path.startswith(self.path or "")
            and self.event in (None, frame.event)
            and self.symbol in (None, frame.symbol)
            and self.api_key in (None, frame.api_key)
        )

    def reply(self, now_ms: int) -> Reply:
        """What a STATUS rule answers instead."""
        status, code, text = PRESETS[self.preset] if self.preset else (self.status, None, self.body)
        text = text.format(until_ms=now_ms + 1000 * (self.retry_after_s or 120)) if self.preset else text
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return Reply(status, _body(code, text, self), headers, _FORMATS[self.body_format])


def _body(code: int | None, text: str, rule: FaultRule) -> bytes:
    if rule.body_format == "html":
        return f"<html><head><title>{text}</title></head><body>{text}</body></html>".encode()
    if rule.body_format == "text" or rule.preset is None:
        return text.encode()
    return orjson.dumps({"code": 0 if code is None else code, "msg": text})


@dataclass(frozen=True, slots=True)
class Interference:
    """Everything that goes wrong with one request."""

    latency_ms: int = 0
    before: FaultRule | None = None
    after: FaultRule | None = None
    distortion: Distortion = field(default_factory=Distortion)


_NOTHING: Final = Interference()


@dataclass(slots=True)
class _Counted:
    rule: FaultRule
    seen: int = 0

    def strikes(self) -> bool:
        self.seen += 1
        return self.rule.after < self.seen <= self.rule.after + self.rule.count

    @property
    def is_spent(self) -> bool:
        return self.seen >= self.rule.after + self.rule.count


class Faults:
    """The rules in force, in the order they were added; at most ``RULES_MAX``."""

    def __init__(self) -> None:
        self._rules: list[_Counted] = []
        self.struck = 0

    def add(self, rule: FaultRule) -> None:
        """Put ``rule`` in force; ``FaultRuleError`` when there are too many already."""
        if len(self._rules) >= RULES_MAX:
            raise FaultRuleError(f"no more than {RULES_MAX} rules at once")
        self._rules.append(_Counted(rule))

    def clear(self) -> None:
        """Lift every rule."""
        self._rules.clear()

    def rows(self) -> list[dict[str, Any]]:
        """The rules in force with how many requests each has seen; without keys."""
        hidden = {"api_key"}
        return [
            {**{k: v for k, v in asdict(item.rule).items() if k not in hidden}, "seen": item.seen}
            for item in self._rules
        ]

    def interfere(self, request: Request) -> Interference:
        """Count ``request`` against the rules and return what goes wrong with it."""
        if not self._rules:
            return _NOTHING
        symbol = request.params().get("symbol", "")
        return _combined(
            self._striking(lambda rule: rule.kind not in _STREAM and rule.matches(request, symbol))
        )

    def interfere_with_frame(self, path: str, frame: Frame) -> list[FaultRule]:
        """Count a stream frame against the rules and return those that strike it."""
        if not self._rules:
            return []
        return self._striking(lambda rule: rule.kind in _STREAM and rule.matches_frame(path, frame))

    def _striking(self, matches: Callable[[FaultRule], bool]) -> list[FaultRule]:
        matching = [item for item in self._rules if matches(item.rule)]
        striking = [item.rule for item in matching if item.strikes()]
        self._rules = [item for item in self._rules if not item.is_spent]
        self.struck += len(striking)
        return striking


def _combined(rules: list[FaultRule]) -> Interference:
    def total_ms(kind: FaultKind) -> int:
        return sum(rule.ms for rule in rules if rule.kind is kind)

    return Interference(
        latency_ms=min(HOLD_MS_MAX, total_ms(FaultKind.LATENCY)),
        before=next((rule for rule in rules if rule.kind in _BEFORE), None),
        after=next((rule for rule in rules if rule.kind in _AFTER), None),
        distortion=Distortion(total_ms(FaultKind.HIDE_ORDER), total_ms(FaultKind.STALE_POSITIONS)),
    )
