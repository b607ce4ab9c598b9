"""The first version that one would write: right, and slow. What ours is compared with.

    python bench/naive.py SETTINGS.json

The same plans, gates, verdicts and result as the engine's, out of everyday parts used in the plain way:
redis-py with one await after the other (twenty for a plan that fills), pydantic, aiohttp, json, ten
structlog lines a plan, asyncio's own loop. Positions, prices, rules and regimes are read beside the
plans, as ours are. It leaves out what ours has to have: atomic claims, a lease, recovery, rotation,
streams, unknown outcomes. So it is faster than an honest one would be.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import redis.asyncio as redis
import structlog
from pydantic import BaseModel

from quantum_trader.domain.trading import Kline
from quantum_trader.market.indicators import regime

GROUP, CONSUMER = "quantum-trader", "naive"
IN_FLIGHT_MAX = 16
AGE_MS_MAX = 60_000
POSITIONS_EVERY_S = 3.0

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(default=str),
    ]
)
log = structlog.get_logger()


class Settings(BaseModel):
    """Where everything is, and the limits: the engine's own keys of config.toml."""

    rest_url: str
    redis_url: str
    namespace: str
    api_key: str
    api_secret: str
    symbols: list[str]
    limits: dict[str, dict[str, Any]]


class Plan(BaseModel):
    """One plan as it stands on the stream."""

    plan_id: str
    decision: str
    symbol: str
    side: str
    qty: Decimal
    type: str = "MARKET"
    reduceOnly: bool = False  # noqa: N815 -- the field's name on the stream
    action: str = ""
    leverage: int | None = None
    confidence: Decimal | None = None
    kill_score: Decimal | None = None
    source: str = ""


class Verdict(BaseModel):
    """What one gate says."""

    gate: str
    ruling: str
    code: str
    evidence: dict[str, Any] = {}


class Facts(BaseModel):
    """Everything that one decision looks at."""

    now_ms: int
    issued_ms: int
    kill: str | None
    disarmed: str | None
    processed: str | None
    safe_mode: str | None
    cooldown_global: str | None
    cooldown_symbol: str | None
    symbol_opens_ms: list[int]
    opens_in_a_minute: int
    universe: list[str]
    last_open_ms: int | None
    ledger_amount: Decimal


class Exchange:
    """REST with HMAC signatures."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = aiohttp.ClientSession(headers={"X-MBX-APIKEY": settings.api_key})

    async def get(self, path: str, **params: Any) -> Any:
        async with self._session.get(f"{self._settings.rest_url}{path}", params=params) as reply:
            return await reply.json()

    async def signed(self, method: str, path: str, **params: Any) -> Any:
        query = urlencode({**params, "recvWindow": 3000, "timestamp": int(time.time() * 1000)})
        signature = hmac.new(self._settings.api_secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        url = f"{self._settings.rest_url}{path}?{query}&signature={signature}"
        async with self._session.request(method, url) as reply:
            return await reply.json()


class NaiveEngine:
    """Reads plans, judges each, sends its order, writes its result."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.limits
        self._redis = redis.Redis.from_url(settings.redis_url, decode_responses=True)
        self._exchange = Exchange(settings)
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.positions: dict[str, dict[str, Any]] = {}
        self.account: dict[str, Any] = {}
        self.marks: dict[str, Decimal] = {}
        self.rules: dict[str, dict[str, dict[str, Any]]] = {}
        self.leverages: dict[str, int] = {}
        self.slots: dict[str, int] = {}

    def _key(self, *parts: str) -> str:
        return ":".join((self._settings.namespace, *parts))

    # -- facts kept in memory

    async def refresh(self) -> None:
        rows = await self._exchange.signed("GET", "/fapi/v3/positionRisk")
        self.positions = {row["symbol"]: row for row in rows if Decimal(row["positionAmt"])}
        self.account = await self._exchange.signed("GET", "/fapi/v3/account")
        marks = await self._exchange.get("/fapi/v1/premiumIndex")
        self.marks = {row["symbol"]: Decimal(row["markPrice"]) for row in marks}

    async def refresh_rules(self) -> None:
        info = await self._exchange.get("/fapi/v1/exchangeInfo")
        self.rules = {row["symbol"]: {f["filterType"]: f for f in row["filters"]} for row in info["symbols"]}
        rows = await self._exchange.signed("GET", "/fapi/v1/symbolConfig")
        self.leverages = {row["symbol"]: int(row["leverage"]) for row in rows}
        for symbol in self._settings.symbols:
            rows = await self._exchange.get("/fapi/v1/klines", symbol=symbol, interval="1h", limit=101)
            found = regime([Kline(row[0], *map(Decimal, row[1:6]), row[6]) for row in rows[:-1]])
            slots = self._limits["active_slots"]
            self.slots[symbol] = slots["trend_strong"] if found.trend > Decimal("0.05") else slots["base"]

    async def keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(POSITIONS_EVERY_S)
            await self.refresh()

    # -- the stream

    async def run(self) -> None:
        stream = self._key("stream", "apply.plan")
        try:
            await self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError:
            log.info("group_exists")
        await self.refresh()
        await self.refresh_rules()
        keeping = asyncio.create_task(self.keep_fresh())
        self._tasks.add(keeping)
        log.info("ready")
        while True:
            reply: Any = await self._redis.xreadgroup(GROUP, CONSUMER, {stream: ">"}, count=64, block=200)
            for _, entries in reply or ():
                for stream_id, fields in entries:
                    await self._slots.acquire()
                    task = asyncio.create_task(self._handle(stream_id, fields))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def _handle(self, stream_id: str, fields: dict[str, str]) -> None:
        try:
            plan = Plan(**fields)
            async with self._locks.setdefault(plan.symbol, asyncio.Lock()):
                await self._run_plan(stream_id, plan)
        finally:
            self._slots.release()

    async def _run_plan(self, stream_id: str, plan: Plan) -> None:
        log.info("plan_received", plan_id=plan.plan_id, symbol=plan.symbol, side=plan.side, qty=str(plan.qty))
        if plan.action.endswith("PROPOSED") and plan.side == "CLOSE":
            rows = await self._exchange.signed("GET", "/fapi/v3/positionRisk")
            self.positions = {row["symbol"]: row for row in rows if Decimal(row["positionAmt"])}
        facts = await self._facts(stream_id, plan)
        verdicts = self.judge(plan, facts)
        denial = next((v for v in verdicts if v.ruling == "deny"), None)
        if denial is not None:
            await self._finish(stream_id, plan, verdicts, {}, "BLOCKED", denial.code, denial.gate)
            return
        await self._claim(plan, facts)
        before = self._amount(plan.symbol)
        order = await self._send(plan)
        filled = Decimal(order.get("executedQty", "0")) > 0
        decision, reason = ("FILLED", "filled") if filled else ("REJECTED", "exchange_rejected")
        if filled:
            await self._book(plan, order, before)
        await self._finish(stream_id, plan, verdicts, order, decision, reason, "")

    async def _facts(self, stream_id: str, plan: Plan) -> Facts:
        client, now_ms = self._redis, int(time.time() * 1000)
        kill = await client.get(self._key("kill"))
        disarmed = await client.get(self._key("safety", "disarmed"))
        processed = await client.get(self._key("exec", "processed", plan.plan_id))
        safe_mode = await client.get(self._key("safety", "safe_mode"))
        cooldown_global = await client.get(self._key("safety", "cooldown_global"))
        cooldown_symbol = await client.get(self._key("safety", "cooldown_symbol", plan.symbol))
        rates = await client.zrangebyscore(
            self._key("exec", "rate", "symbol", plan.symbol), now_ms - 300_000, "+inf", withscores=True
        )
        in_a_minute = await client.zcount(self._key("exec", "rate", "global"), now_ms - 60_000, "+inf")
        policy: Any = await client.hgetall(self._key("policy", "current"))
        ledger: Any = await client.hgetall(self._key("position", "ledger", plan.symbol))
        return Facts(
            now_ms=now_ms,
            issued_ms=int(stream_id.partition("-")[0]),
            kill=kill,
            disarmed=disarmed,
            processed=processed,
            safe_mode=safe_mode,
            cooldown_global=cooldown_global,
            cooldown_symbol=cooldown_symbol,
            symbol_opens_ms=[int(score) for _, score in rates],
            opens_in_a_minute=in_a_minute,
            universe=json.loads(policy.get("universe_symbols", "[]")),
            last_open_ms=int(ledger["opened_at"]) if "opened_at" in ledger else None,
            ledger_amount=Decimal(ledger.get("position_amt", "0")),
        )

    # -- the gates

    def judge(self, plan: Plan, facts: Facts) -> list[Verdict]:
        """Let every gate speak, and log each."""
        gates = (
            ("kill_switch", self._kill_switch),
            ("kill_score", self._kill_score),
            ("idempotency", self._idempotency),
            ("rate_limit", self._rate_limit),
            ("margin_guard", self._margin_guard),
            ("fund_caps", self._fund_caps),
            ("active_slots", self._active_slots),
            ("position_sanity", self._position_sanity),
            ("exchange_sizing", self._exchange_sizing),
        )
        verdicts = []
        exits = self.is_exit(plan)
        for name, gate in gates:
            if exits and name in ("kill_score", "rate_limit", "margin_guard", "fund_caps", "active_slots"):
                verdict = Verdict(gate=name, ruling="skip", code="exit_exempt")
            else:
                code, evidence = gate(plan, facts)
                verdict = Verdict(
                    gate=name, ruling="deny" if code else "pass", code=code or "pass", evidence=evidence
                )
            verdicts.append(verdict)
            if name not in ("kill_score", "idempotency", "position_sanity"):
                log.info("gate", plan_id=plan.plan_id, symbol=plan.symbol, **verdict.model_dump())
        return verdicts

    def is_exit(self, plan: Plan) -> bool:
        amount = self._amount(plan.symbol)
        sells = plan.side == "SELL"
        return plan.reduceOnly or plan.side == "CLOSE" or (amount > 0 and sells) or (amount < 0 and not sells)

    def _amount(self, symbol: str) -> Decimal:
        held = self.positions.get(symbol)
        return Decimal(held["positionAmt"]) if held else Decimal(0)

    def _kill_switch(self, plan: Plan, facts: Facts) -> tuple[str, dict[str, Any]]:
        if facts.kill == "1" or (facts.kill not in (None, "0") and not self.is_exit(plan)):
            return "kill_switch_active", {"kill": facts.kill}
        if facts.disarmed and not self.is_exit(plan):
            return "disarmed", {"disarmed": facts.disarmed}
        return "", {"kill": facts.kill}

    def _kill_score(self, plan: Plan, _: Facts) -> tuple[str, dict[str, Any]]:
        critical = self._limits.get("kill_score", {}).get("critical", "0.8")
        code = "kill_score_critical_open" if plan.kill_score and plan.kill_score >= Decimal(critical) else ""
        return code, {"kill_score": plan.kill_score, "critical": critical}

    def _idempotency(self, _: Plan, facts: Facts) -> tuple[str, dict[str, Any]]:
        return ("duplicate" if facts.processed else ""), {"state": facts.processed}

    def _rate_limit(self, _: Plan, facts: Facts) -> tuple[str, dict[str, Any]]:
        limits, latest = self._limits["rate_limit"], max(facts.symbol_opens_ms, default=0)
        for code in ("safe_mode", "cooldown_global", "cooldown_symbol"):
            if getattr(facts, code):
                return code, {}
        if latest > facts.now_ms - limits["per_symbol_s"] * 1000:
            return "rate_limit_symbol", {"last_ms_ago": facts.now_ms - latest}
        if facts.opens_in_a_minute >= limits["global_per_min"]:
            return "rate_limit_global", {"global_per_min": limits["global_per_min"]}
        if len(facts.symbol_opens_ms) >= limits["per_symbol_5min_max"]:
            return "burst_limit_exceeded", {"per_symbol_5min_max": limits["per_symbol_5min_max"]}
        return "", {"global_in_a_minute": facts.opens_in_a_minute}

    def _notional(self, plan: Plan) -> Decimal:
        return plan.qty * self.marks[plan.symbol]

    def _margin_guard(self, plan: Plan, _: Facts) -> tuple[str, dict[str, Any]]:
        margin = self._notional(plan) / (plan.leverage or self.leverages[plan.symbol])
        required = margin * Decimal("1.25")
        available, balance = (
            Decimal(self.account["availableBalance"]),
            Decimal(self.account["totalMarginBalance"]),
        )
        usage = (Decimal(self.account["totalInitialMargin"]) + margin) / balance
        evidence = {"available": available, "required": required, "usage": usage}
        if available < required:
            return "insufficient_margin", evidence
        return ("margin_usage_exceeded" if usage > Decimal("0.65") else ""), evidence

    def _fund_caps(self, plan: Plan, facts: Facts) -> tuple[str, dict[str, Any]]:
        limits, notional = self._limits["fund_caps"], self._notional(plan)
        total = sum((abs(Decimal(row["notional"])) for row in self.positions.values()), notional)
        evidence = {"notional": notional, "projected": total}
        if not self._amount(plan.symbol) and len(self.positions) >= limits["max_open_positions"]:
            return "max_positions_reached", {"open": len(self.positions)}
        if notional > Decimal(limits.get("max_notional_per_trade_usdt", 200)):
            return "notional_per_trade_exceeded", evidence
        if total > limits["max_total_notional_usdt"]:
            return "total_notional_exceeded", evidence
        if facts.last_open_ms and facts.now_ms - facts.last_open_ms < limits["symbol_cooldown_s"] * 1000:
            return "symbol_cooldown", {"last_open_ms_ago": facts.now_ms - facts.last_open_ms}
        return "", evidence

    def _active_slots(self, plan: Plan, facts: Facts) -> tuple[str, dict[str, Any]]:
        if self._amount(plan.symbol):
            return "", {}
        if plan.symbol not in facts.universe:
            return "active_slots_not_in_universe", {}
        evidence = {"desired_slots": self.slots[plan.symbol], "current_open": len(self.positions)}
        return ("active_slots_full" if len(self.positions) >= self.slots[plan.symbol] else ""), evidence

    def _position_sanity(self, plan: Plan, facts: Facts) -> tuple[str, dict[str, Any]]:
        amount = self._amount(plan.symbol)
        evidence = {"position_amt": amount, "ledger_amt": facts.ledger_amount}
        if self.is_exit(plan):
            return ("" if amount else "no_position"), evidence
        if plan.symbol not in self._settings.symbols:
            return "symbol_not_allowed", evidence
        if amount and not self._limits["position_sanity"]["allow_add"]:
            return "position_exists_add_denied", evidence
        return "", evidence

    def _exchange_sizing(self, plan: Plan, _: Facts) -> tuple[str, dict[str, Any]]:
        quantity, filters = self._sized(plan), self.rules[plan.symbol]
        evidence = {"qty": quantity, "mark_price": self.marks[plan.symbol]}
        if quantity < Decimal(filters["MARKET_LOT_SIZE"]["minQty"]):
            return "qty_below_min", evidence
        if quantity > Decimal(filters["MARKET_LOT_SIZE"]["maxQty"]):
            return "qty_above_max", evidence
        smallest = Decimal(filters["MIN_NOTIONAL"]["notional"])
        if not self.is_exit(plan) and quantity * self.marks[plan.symbol] < smallest:
            return "min_notional_check_failed", evidence
        return "", evidence

    def _sized(self, plan: Plan) -> Decimal:
        if plan.side == "CLOSE":
            return abs(self._amount(plan.symbol))
        step = Decimal(self.rules[plan.symbol]["MARKET_LOT_SIZE"]["stepSize"])
        return plan.qty // step * step

    # -- acting

    async def _claim(self, plan: Plan, facts: Facts) -> None:
        client = self._redis
        await client.set(self._key("exec", "lock", plan.symbol), plan.plan_id, nx=True, px=60_000)
        await client.set(self._key("exec", "processed", plan.plan_id), "claimed")
        log.info("claimed", plan_id=plan.plan_id, symbol=plan.symbol)
        if not self.is_exit(plan):
            symbol_key = self._key("exec", "rate", "symbol", plan.symbol)
            await client.zadd(symbol_key, {plan.plan_id: facts.now_ms})
            await client.zadd(self._key("exec", "rate", "global"), {plan.plan_id: facts.now_ms})

    async def _send(self, plan: Plan) -> dict[str, Any]:
        name = f"qt-{hashlib.sha256(plan.plan_id.encode()).hexdigest()[:24]}-0"
        side = plan.side
        reducing: dict[str, Any] = {"reduceOnly": "true"} if self.is_exit(plan) else {}
        if side == "CLOSE":
            side = "SELL" if self._amount(plan.symbol) > 0 else "BUY"
        order: dict[str, Any] = await self._exchange.signed(
            "POST",
            "/fapi/v1/order",
            symbol=plan.symbol,
            side=side,
            type="MARKET",
            quantity=f"{self._sized(plan):f}",
            newClientOrderId=name,
            newOrderRespType="RESULT",
            **reducing,
        )
        if "avgPrice" not in order and "orderId" in order:
            order = await self._exchange.signed(
                "GET", "/fapi/v1/order", symbol=plan.symbol, origClientOrderId=name
            )
        log.info("order_sent", plan_id=plan.plan_id, symbol=plan.symbol, order=order)
        return order

    async def _book(self, plan: Plan, order: dict[str, Any], before: Decimal) -> None:
        sign = 1 if order["side"] == "BUY" else -1
        amount = before + sign * Decimal(order["executedQty"])
        held = {"positionAmt": str(amount), "notional": str(amount * Decimal(order["avgPrice"]))}
        self.positions[plan.symbol] = held
        if not amount:
            del self.positions[plan.symbol]
        entry: dict[str, Any] = {
            "position_amt": str(amount),
            "avg_entry_price": order["avgPrice"],
            "opened_at": str(order["updateTime"]),
            "last_order_id": str(order["orderId"]),
            "last_plan_id": plan.plan_id,
        }
        await self._redis.hset(self._key("position", "ledger", plan.symbol), mapping=entry)

    async def _finish(
        self,
        stream_id: str,
        plan: Plan,
        verdicts: list[Verdict],
        order: dict[str, Any],
        decision: str,
        reason: str,
        gate: str,
    ) -> None:
        trace = {"plan": plan.model_dump(), "verdicts": [v.model_dump() for v in verdicts], "order": order}
        result: dict[str, Any] = {
            "plan_id": plan.plan_id,
            "symbol": plan.symbol,
            "side": plan.side,
            "decision": decision,
            "executed": "true" if decision == "FILLED" else "false",
            "reason": reason,
            "gate": gate,
            "qty": str(plan.qty),
            "filled_qty": order.get("executedQty", "0"),
            "avg_price": order.get("avgPrice", ""),
            "order_id": str(order.get("orderId", "")),
            "client_order_id": order.get("clientOrderId", ""),
            "timestamp": str(int(time.time() * 1000)),
            "trace": json.dumps(trace, default=str),
        }
        client = self._redis
        await client.xadd(self._key("stream", "apply.result"), result, maxlen=10_000, approximate=True)
        await client.set(self._key("exec", "processed", plan.plan_id), "terminal", ex=3600)
        if decision != "BLOCKED":
            await client.delete(self._key("exec", "lock", plan.symbol))
        await client.xack(self._key("stream", "apply.plan"), GROUP, stream_id)
        log.info("result_written", plan_id=plan.plan_id, symbol=plan.symbol, decision=decision, reason=reason)


async def main(settings: Settings) -> None:
    await NaiveEngine(settings).run()


if __name__ == "__main__":
    asyncio.run(main(Settings.model_validate_json(Path(sys.argv[1]).read_text())))
