"""Who follows what, and the beat that keeps streams going; synchronous, without sockets.

Theory of operation. Sessions attach with the names they follow. Market names share one feed each,
user names (listen keys) share one encoding of each payload. ``beat`` is called about ten times a
second; it lets time pass for the accounts that somebody listens to, expires listen keys, and
sends what market feeds have due. It is a generator that stops after every small step, so that
its caller decides how long the event loop may be held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from quantum_trader.exchange.simulator import user_frames
from quantum_trader.exchange.simulator.events import Event
from quantum_trader.exchange.simulator.market_feed import Feed
from quantum_trader.exchange.simulator.model import Account
from quantum_trader.exchange.simulator.stream_names import Route, topic_of
from quantum_trader.exchange.simulator.stream_session import Frame, StreamSession
from quantum_trader.exchange.simulator.user_feed import UserFeed, UserPayload
from quantum_trader.exchange.simulator.valuation import LegValue, balances, value_legs
from quantum_trader.exchange.simulator.venue import Venue

PASSAGE_MS: Final = 200
MARGIN_LOOK_MS: Final = 1000
FEEDS_MAX: Final = 4096
_MARGIN_CALL_SHARE: Final = 2  # called when twice the maintenance margin is not covered any more


class StreamHub:
    """Distributes a venue's frames over the attached sessions.

    ``wake`` is called when user frames wait, at most once until ``flush``.
    """

    def __init__(self, venue: Venue, wake: Callable[[], None]) -> None:
        self._venue = venue
        self._wake = wake
        self._woken = False
        self._followers: dict[str, dict[StreamSession, None]] = {}
        self._followed: dict[StreamSession, tuple[str, ...]] = {}
        self._feeds: dict[str, Feed] = {}
        self._users = UserFeed(venue.market)
        self._keys: dict[str, str] = {}  # listen key to API key
        self._passed_ms = 0
        self._margin_looked_ms = 0
        self._called: set[str] = set()
        venue.observe(self._note)

    @property
    def sessions(self) -> tuple[StreamSession, ...]:
        """The attached sessions."""
        return tuple(self._followed)

    def attach(self, session: StreamSession, now_ms: int) -> None:
        """Take over what ``session`` follows now; again whenever that has changed."""
        self.detach(session)
        names = tuple(session.names)
        self._followed[session] = names
        for name in names:
            if session.address.route is Route.PRIVATE:
                self._listen(name, session, now_ms)
            else:
                self._follow(name, session, now_ms)

    def detach(self, session: StreamSession) -> None:
        """Forget ``session`` and what only it followed."""
        for name in self._followed.pop(session, ()):
            followers = self._followers.get(name, {})
            followers.pop(session, None)
            if not followers:
                self._followers.pop(name, None)
                self._feeds.pop(name, None)
                self._keys.pop(name, None)

    def _listen(self, key: str, session: StreamSession, now_ms: int) -> None:
        owner = self._venue.listen_keys.owner(key, now_ms)
        if owner is not None:
            self._keys[key] = owner
            self._followers.setdefault(key, {})[session] = None

    def _follow(self, name: str, session: StreamSession, now_ms: int) -> None:
        topic = topic_of(name)
        if topic is None or not session.address.route.serves(topic):
            return
        if topic.symbol and topic.symbol not in self._venue.specs:
            return
        if name not in self._feeds:
            if len(self._feeds) >= FEEDS_MAX:
                return
            self._feeds[name] = Feed(self._venue, topic, now_ms)
        self._followers.setdefault(name, {})[session] = None

    def _note(self, event: Event) -> None:
        if not self._is_heard(event):
            return
        self._users.note(event)
        if not self._woken:
            self._woken = True
            self._wake()

    def _is_heard(self, event: Event) -> bool:
        api_key, valid = event.account.credentials.api_key, self._venue.listen_keys.owner
        return any(owner == api_key and valid(key, event.at_ms) for key, owner in self._keys.items())

    def flush(self) -> None:
        """Send the user frames that wait."""
        self._woken = False
        for payload in self._users.take():
            self._push(payload)

    def _push(self, payload: UserPayload) -> None:
        body = orjson.dumps(payload.body)
        frame = Frame(body, payload.event, payload.symbol, payload.api_key)
        for key, owner in self._keys.items():
            if owner == payload.api_key:
                for session in tuple(self._followers.get(key, ())):
                    if session.wants(payload.event):
                        session.deliver(key, body, frame)

    def beat(self, now_ms: int) -> Iterator[None]:
        """Do what is due at ``now_ms``, a small step at a time."""
        if now_ms >= self._passed_ms + PASSAGE_MS:
            self._passed_ms = now_ms
            yield from self._let_pass(now_ms)
        for name, feed in tuple(self._feeds.items()):
            payloads = feed.due(now_ms)
            for payload in payloads:
                self._broadcast(name, payload)
            if payloads:
                yield

    def _broadcast(self, name: str, payload: Any) -> None:
        body = orjson.dumps(payload)
        first = payload[0] if isinstance(payload, list) else payload
        frame = Frame(body, first["e"], first.get("s", ""))
        for session in tuple(self._followers.get(name, ())):
            session.deliver(name, body, frame)

    def _let_pass(self, now_ms: int) -> Iterator[None]:
        for key in [key for key in self._keys if self._venue.listen_keys.owner(key, now_ms) is None]:
            self._end(key, now_ms)
        looks_at_margin = now_ms >= self._margin_looked_ms + MARGIN_LOOK_MS
        for api_key in set(self._keys.values()):
            account = self._venue.accounts[api_key]
            self._venue.let_pass(account, now_ms)
            if looks_at_margin:
                self._call_for_margin(account, now_ms)
            yield
        if looks_at_margin:
            self._margin_looked_ms = now_ms

    def _end(self, key: str, now_ms: int) -> None:
        """Say once that the key is gone; a key that its owner closed goes silently."""
        api_key = self._keys[key]
        if self._venue.listen_keys.has_expired(key, now_ms):
            self._push(UserPayload(api_key, user_frames.listen_key_expired(key, now_ms)))
        del self._keys[key]
        self._followers.pop(key, None)

    def _call_for_margin(self, account: Account, now_ms: int) -> None:
        api_key = account.credentials.api_key
        near = self._near_liquidation(account, now_ms) if account.positions else []
        if near and api_key not in self._called:
            self._push(UserPayload(api_key, user_frames.margin_call(account, near, now_ms)))
        (self._called.add if near else self._called.discard)(api_key)

    def _near_liquidation(self, account: Account, now_ms: int) -> list[LegValue]:
        values = value_legs(account, lambda symbol: self._venue.market.quote(symbol, now_ms).mark)
        totals = balances(account, values)
        cross_is_near = (
            totals.cross_wallet + totals.cross_pnl <= _MARGIN_CALL_SHARE * totals.cross_maintenance
        )
        return [
            value
            for value in values
            if value.held.amount
            and (
                value.held.isolated_wallet + value.pnl <= _MARGIN_CALL_SHARE * value.maintenance
                if value.isolated
                else cross_is_near
            )
        ]
