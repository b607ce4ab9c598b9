"""One stream connection, without its socket: what it follows, and its subscription frames.

BINANCE.md 10.1 and 11. Names of market streams and listen keys share one list, as on the real
venue; what the connection's route does not serve stays silent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import unquote

import orjson

from quantum_trader.exchange.simulator.limits import WindowCounter
from quantum_trader.exchange.simulator.stream_names import STREAMS_MAX, Route

FRAMES_A_SECOND_MAX: Final = 10
_MODES: Final = frozenset({"ws", "stream"})
_ID_LENGTH_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Frame:
    """A payload on its way to a connection, with what fault rules ask about."""

    body: bytes
    event: str
    symbol: str = ""
    api_key: str = ""


class Outlet(Protocol):
    """Where a session's frames go; ``close`` ends the connection with a WebSocket code."""

    def send(self, frame: Frame) -> None:
        """Queue a frame."""
        ...

    def close(self, code: int) -> None:
        """End the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """What a stream URL says. ``names`` may be stream names or listen keys."""

    path: str
    route: Route
    combined: bool
    names: tuple[str, ...]
    listen_keys: tuple[str, ...]
    events: frozenset[str]


def address_of(path: str, query: Mapping[str, list[str]]) -> Address | None:
    """Read a stream URL; None where the path is none of the known forms."""
    parts = [unquote(part) for part in path.split("/") if part]
    route = Route(parts.pop(0)) if parts and parts[0] in set(Route) - {""} else Route.NONE
    if not parts or parts[0] not in _MODES:
        return None
    combined = parts[0] == "stream"
    streams = [name for text in query.get("streams", ()) for name in text.split("/")]
    events = [event for text in query.get("events", ()) for event in text.split("/")]
    return Address(
        path=path,
        route=route,
        combined=combined,
        names=tuple(streams if combined else parts[1:]),
        listen_keys=tuple(query.get("listenKey", ())),
        events=frozenset(event for event in events if event),
    )


class StreamSession:
    """What one connection follows; ``names`` keeps the order in which they were asked for."""

    def __init__(self, address: Address, outlet: Outlet, changed: Callable[[StreamSession], None]) -> None:
        self.address = address
        self.outlet = outlet
        self.combined = address.combined
        self.names: dict[str, None] = dict.fromkeys([*address.names, *address.listen_keys][:STREAMS_MAX])
        self._changed = changed
        self._frames = WindowCounter(1000)

    def wants(self, event: str) -> bool:
        """Whether the URL's ``events`` filter lets this user event pass."""
        return not self.address.events or event in self.address.events

    def deliver(self, name: str, payload: bytes, frame: Frame) -> None:
        """Send ``payload`` that belongs to ``name``, wrapped where the mode says so."""
        if self.combined:
            payload = b'{"stream":' + orjson.dumps(name) + b',"data":' + payload + b"}"
        self.outlet.send(Frame(payload, frame.event, frame.symbol, frame.api_key))

    def receive(self, text: str, now_ms: int) -> None:
        """Carry out one frame of the client and answer it."""
        if self._frames.add("", 1, now_ms) > FRAMES_A_SECOND_MAX:
            self.outlet.close(1008)
            return
        self.outlet.send(Frame(orjson.dumps(self._answer(text)), "reply"))

    def _answer(self, text: str) -> dict[str, Any]:
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return {"code": 3, "msg": f"Invalid JSON: {error}"}
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return {"code": 2, "msg": "Invalid request: missing field `method`"}
        if not _is_id(request.get("id")):
            return {"code": 2, "msg": "Invalid request: request ID must be an unsigned integer"}
        return self._carried_out(request["method"], request.get("params", []), request.get("id"))

    def _carried_out(self, method: str, params: Any, request_id: Any) -> dict[str, Any]:
        if not isinstance(params, list) or not all(isinstance(name, (str, bool)) for name in params):
            return {"code": 2, "msg": "Invalid request: invalid type, expected a sequence of strings"}
        handler = _METHODS.get(method)
        if handler is None:
            return {"code": 2, "msg": f"Invalid request: unknown variant `{method}`"}
        answer = handler(self, params)
        return answer if "code" in answer else {**answer, "id": request_id}

    def subscribe(self, names: list[str]) -> dict[str, Any]:
        """``SUBSCRIBE``: follow more names, up to ``STREAMS_MAX``."""
        if len(self.names.keys() | set(names)) > STREAMS_MAX:
            return {"code": 2, "msg": f"Invalid request: no more than {STREAMS_MAX} streams"}
        self.names.update(dict.fromkeys(names))
        self._changed(self)
        return {"result": None}

    def unsubscribe(self, names: list[str]) -> dict[str, Any]:
        """``UNSUBSCRIBE``: harmless for names that were never followed."""
        for name in names:
            self.names.pop(name, None)
        self._changed(self)
        return {"result": None}

    def list_subscriptions(self, _: list[str]) -> dict[str, Any]:
        """``LIST_SUBSCRIPTIONS``."""
        return {"result": list(self.names)}

    def set_property(self, params: list[Any]) -> dict[str, Any]:
        """``SET_PROPERTY ["combined", bool]``."""
        if not params or params[0] != "combined":
            return {"code": 0, "msg": "Unknown property"}
        if len(params) < 2 or not isinstance(params[1], bool):  # noqa: PLR2004 -- a name and a value
            return {"code": 1, "msg": "Invalid value type: expected Boolean"}
        self.combined = params[1]
        return {"result": None}

    def get_property(self, params: list[Any]) -> dict[str, Any]:
        """``GET_PROPERTY ["combined"]``."""
        if params != ["combined"]:
            return {"code": 0, "msg": "Unknown property"}
        return {"result": self.combined}


_METHODS: Final[dict[str, Callable[[StreamSession, list[Any]], dict[str, Any]]]] = {
    "SUBSCRIBE": StreamSession.subscribe,
    "UNSUBSCRIBE": StreamSession.unsubscribe,
    "LIST_SUBSCRIPTIONS": StreamSession.list_subscriptions,
    "SET_PROPERTY": StreamSession.set_property,
    "GET_PROPERTY": StreamSession.get_property,
}


def _is_id(request_id: Any) -> bool:
    if isinstance(request_id, str):  # the official SDK sends UUIDs
        return len(request_id) <= _ID_LENGTH_MAX
    return request_id is None or (type(request_id) is int and request_id >= 0)
