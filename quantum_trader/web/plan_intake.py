"""``/api/plans``: plans over HTTP, the way out of a strategy that has no Redis (SPEC 9, 15).

A request puts a plan on the stream and nothing else: whatever it claims of permits or verdicts only
travels along. It is idempotent by ``plan_id``, as the stream is.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import sqlite3
from collections.abc import Mapping

import structlog
from aiohttp import web

from quantum_trader.domain.plan import Plan
from quantum_trader.domain.result import Ended
from quantum_trader.joining import Joined
from quantum_trader.stores.archive import archived_plan
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.plan_entry import put_plan
from quantum_trader.web.pace import Pace
from quantum_trader.web.plan_forms import (
    ALERT_TOKEN,
    BadForm,
    checked,
    is_alert,
    plan_of_alert,
    read_object,
)
from quantum_trader.web.server import reply
from quantum_trader.web.view import VIEW, EngineView

BODY_BYTES_MAX = 16 * 1024
ALERT_TYPES = ("application/json", "text/plain")
REDIS_RETRY_S = 2
WAIT_S_MAX = 30
LOOK_EVERY_S = 0.2
WAITERS_MAX = 64
NO_ALERTS = (
    "alerts are refused because none is expected: set QT_HTTP__ALERT_TOKEN "
    "(`openssl rand -hex 32` makes one) and restart"
)

log = structlog.get_logger()


class PlanIntake:
    """The handlers, and what they share: the pace of requests, and how many wait for results."""

    def __init__(self, view: EngineView) -> None:
        self._view = view
        self._pace = Pace(view.clock)
        self._waiting = 0

    async def post_plan(self, request: web.Request) -> web.Response:
        """Take a plan, or an alert, whose sender the guard has let in."""
        return await self._take(await _body(request), token=None)

    async def post_alert(self, request: web.Request) -> web.Response:
        """Take an alert that carries its token in the body."""
        token = self._view.config.http.alert_token.get_secret_value()
        if not token:
            return _refused(403, NO_ALERTS)
        if request.content_type not in ALERT_TYPES:
            return _refused(415, f"send JSON as {' or '.join(ALERT_TYPES)}")
        return await self._take(await _body(request), token=token)

    async def get_result(self, request: web.Request) -> web.Response:
        """Return the result of a plan; with ``?wait_s=`` wait for it, at most 30 s."""
        plan_id, wait_s = request.match_info["plan_id"], request.query.get("wait_s", "0")
        if not (wait_s.isascii() and wait_s.isdigit() and int(wait_s) <= WAIT_S_MAX):
            return _refused(400, f"a whole number from 0 to {WAIT_S_MAX}", "wait_s")
        if self._waiting >= WAITERS_MAX:
            return _refused(429, f"{WAITERS_MAX} requests wait for results already", retry_after_s=1)
        self._waiting += 1
        try:
            found = await self._wait_for(plan_id, int(wait_s))
        except sqlite3.Error as broken:
            log.warning("archive_unread", error=str(broken))
            return _refused(503, "the archive in state_dir cannot be read")
        finally:
            self._waiting -= 1
        return reply(dict(found)) if found is not None else _refused(404, "no result of this plan id (yet)")

    async def _wait_for(self, plan_id: str, wait_s: int) -> Mapping[str, str] | None:
        """Look in the archive once, then in memory for as long as it may take."""
        view = self._view
        deadline_s = view.clock.monotonic_s() + wait_s
        found = await asyncio.to_thread(archived_plan, view.config.state_dir, plan_id)
        while found is None:
            found = view.feed.find(plan_id)
            if found is not None or view.clock.monotonic_s() >= deadline_s:
                break
            await view.clock.sleep(LOOK_EVERY_S)
        return found

    async def _take(self, body: bytes, token: str | None) -> web.Response:
        """Put what ``body`` says on the stream; ``token`` None: the guard has checked the sender."""
        try:
            fields = read_object(body)
            told = fields.get(ALERT_TOKEN, "")
            if token is not None and not hmac.compare_digest(told.encode(), token.encode()):
                return _refused(401, "wrong or missing: the value of http.alert_token", ALERT_TOKEN)
            return await self._put(_plan_fields(fields, must_be_alert=token is not None))
        except BadForm as wrong:
            return _refused(400, str(wrong), wrong.field)

    async def _put(self, fields: dict[str, str]) -> web.Response:
        joined = self._view.joined
        if joined is None:
            return _refused(503, "the engine is starting; try again", retry_after_s=REDIS_RETRY_S)
        plan = checked(fields, self._view.clock.now_ms())
        is_exit = isinstance(plan, Plan) and plan.says_exit
        if not is_exit and (slow := self._too_fast()) is not None:
            return slow
        if isinstance(plan, Plan) and (problem := self._hopeless(plan, joined)) is not None:
            return problem
        keys = Keys(self._view.config.redis.namespace)
        try:
            stream_id = await put_plan(joined.database, keys, fields)
        except RedisError as gone:
            log.warning("http_plan_unknown", plan_id=fields["plan_id"], error=str(gone))
            error = f"Redis does not answer; send plan {fields['plan_id']} again: it trades once at most"
            return _refused(503, error, plan_id=fields["plan_id"], retry_after_s=REDIS_RETRY_S)
        log.info("http_plan", plan_id=fields["plan_id"], stream_id=stream_id, source=fields["source"])
        return reply({"plan_id": fields["plan_id"], "stream_id": stream_id}, 202)

    def _hopeless(self, plan: Plan, joined: Joined) -> web.Response | None:
        """Refuse an open that reads well and can only be turned down; an exit always goes on."""
        rooms, intake = joined.rooms, self._view.config.intake
        if plan.says_exit:
            return None
        if rooms.market.rules is not None and rooms.market.rules_of(plan.symbol) is None:
            known = ", ".join(self._view.config.symbols)
            return _refused(422, f"{plan.symbol} is unknown to this venue; allowed here: {known}", "symbol")
        if self._view.clock.now_ms() - plan.issued_at_ms > intake.max_age_s * 1000:
            error = f"older than intake.max_age_s = {intake.max_age_s}: it would end as {Ended.EXPIRED}"
            return _refused(422, error, "timestamp")
        return None

    def _too_fast(self) -> web.Response | None:
        per_min = self._view.config.http.plans_per_min
        wait_s = self._pace.wait_s(per_min)
        if not wait_s:
            return None
        return _refused(
            429, f"more than http.plans_per_min = {per_min}; try again later", retry_after_s=wait_s
        )


def add_routes(app: web.Application) -> None:
    """Add the intake to a server; its view is set before."""
    intake = PlanIntake(app[VIEW])
    app.router.add_post("/api/plans", intake.post_plan)
    app.router.add_post("/api/plans/tradingview", intake.post_alert)
    app.router.add_get("/api/plans/{plan_id}", intake.get_result)


def _plan_fields(fields: dict[str, str], *, must_be_alert: bool) -> dict[str, str]:
    if must_be_alert and not is_alert(fields):
        raise BadForm("ticker", "required in an alert; {{ticker}} gives it")
    plan = plan_of_alert(fields) if is_alert(fields) else fields
    usual = {"decision": "EXECUTE", "source": "http", "plan_id": f"http-{secrets.token_hex(8)}"}
    return usual | plan


async def _body(request: web.Request) -> bytes:
    """Return the body; 413 for one that is larger than a plan can be."""
    too_large = web.HTTPRequestEntityTooLarge(
        BODY_BYTES_MAX, request.content_length or 0, text=f"at most {BODY_BYTES_MAX} bytes"
    )
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise too_large
    body = await request.read()
    if len(body) > BODY_BYTES_MAX:
        raise too_large
    return body


def _refused(
    status: int, error: str, field: str = "", *, plan_id: str = "", retry_after_s: int | None = None
) -> web.Response:
    content = {"error": error, "field": field, "plan_id": plan_id}
    response = reply({name: value for name, value in content.items() if value}, status)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response
