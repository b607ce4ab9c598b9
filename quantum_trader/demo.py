"""The demo: a whole engine on play money, a market that does what the story needs, and a narrator.

Theory of operation. Everything is real but the money: the engine runs as it does with `run`, in paper mode
on a state folder of its own; plans go through the real stream; prices are moved on the embedded exchange,
as its own controls do. Each scene says what happens, waits for what the engine makes of it, and explains
it in a plain sentence. A scene that does not end as told is counted, so the demo checks itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from quantum_trader.app import App
from quantum_trader.config import Config, TradingMode
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.reasons import reason_of
from quantum_trader.stores.address import embedded_url
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.operator import StopStore
from quantum_trader.stores.results import as_text, entries_of

NOTIONAL_USDT = Decimal(150)
TAKEN = ("ETHUSDT", "SOLUSDT", "XRPUSDT")
CANDIDATE = "BNBUSDT"
PATIENCE_S = 90.0
BLOCK_MS = 500
PAUSE_S = 4.0
LONG_WAIT_S = 30.0
SHORT_WAIT_S = 2.0
SLOTS: dict[str, Any] = {"base": 3, "trend_strong": 3, "chop": 3}

Say = Callable[[str], None]


class PacedClock(SystemClock):
    """The machine's clock, with the engine's long waits (BSC looks once a minute) shortened by ``pace``."""

    def __init__(self, pace: float) -> None:
        self._pace = min(pace, 1.0)

    async def sleep(self, duration_s: float) -> None:
        """Sleep; waits of 30 s and more take ``pace`` times as long, but 2 s at least."""
        if duration_s >= LONG_WAIT_S:
            duration_s = max(SHORT_WAIT_S, duration_s * self._pace)
        await super().sleep(duration_s)


@dataclass
class Seen:
    """What came about, for the last page and for whoever checks the demo."""

    opens: int = 0
    blocked_by: list[str] = field(default_factory=list)
    rotations: int = 0
    bsc_closes: int = 0
    kills: int = 0
    resumes: int = 0
    surprises: list[str] = field(default_factory=list)


def demo_config(state_dir: Path, http_port: int, token: str) -> Config:
    """Return a paper configuration with three slots, so that a fourth plan needs a rotation.

    The environment must name no setting: whatever is set there for a real engine is none of the demo's.
    Raises ``ValueError`` where it does all the same.
    """
    settings: dict[str, Any] = {
        "mode": TradingMode.PAPER,
        "state_dir": state_dir,
        "symbols": (*TAKEN, CANDIDATE),
        "gates": {
            "active_slots": SLOTS,
            "rate_limit": {"global_per_min": 30, "per_symbol_5min_max": 5},
            "position_sanity": {"cooldown_s": 1},
        },
        "http": {"port": http_port, "token": token},
    }
    config = Config(**settings)
    if (
        config.mode is not TradingMode.PAPER
        or config.redis.url != "embedded"
        or config.state_dir != state_dir
    ):
        raise ValueError("the demo runs on play money alone: unset QT_… in the environment")
    return config


class Demo:
    """Plays the scenes on a started engine."""

    def __init__(self, app: App, say: Say, pace: float) -> None:
        self._app = app
        self._say = say
        self._pace = pace
        self._keys = Keys(app.config.redis.namespace)
        self._database = Database(embedded_url(app.config.state_dir))
        self._clock = SystemClock()
        self.seen = Seen()

    @property
    def _scenes(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return (
            self._opens,
            self._the_same_again,
            self._too_large,
            self._too_soon,
            self._no_reduce_only,
            self._bad_regime,
            self._rotation,
            self._crash,
            self._cooled_down,
            self._kill,
            self._resume,
        )

    async def play(self) -> Seen:
        """Play every scene and sum up."""
        try:
            for number, scene in enumerate(self._scenes, start=1):
                self._say(f"\n── {number} of {len(self._scenes)} " + "─" * 40)
                await scene()
                await self._clock.sleep(PAUSE_S * self._pace)
        finally:
            await self._database.close()
        return self.seen

    # -- scenes

    async def _opens(self) -> None:
        self._say(f"A strategy opens three positions of about {NOTIONAL_USDT} USDT each.")
        for symbol in TAKEN:
            side = "SELL" if symbol == "ETHUSDT" else "BUY"
            result = await self._plan(f"open-{symbol}", symbol, side, "0.60")
            self._expect(result, "FILLED", "filled")
            self.seen.opens += result["executed"] == "true"

    async def _the_same_again(self) -> None:
        self._say("The strategy stutters and sends its first plan a second time.")
        await self._put(f"open-{TAKEN[0]}", TAKEN[0], "SELL", self._quantity(TAKEN[0]), "0.60")
        event = await self._event(self._keys.governor_events, "DUPLICATE_PLAN")
        self._say(f"  ✗ DUPLICATE_PLAN: {event['plan_id']} has its result; no second order is sent.")

    async def _too_large(self) -> None:
        self._say("A plan twenty times too large arrives.")
        result = await self._plan("too-large", CANDIDATE, "BUY", "0.90", self._quantity(CANDIDATE) * 20)
        self._expect(result, "BLOCKED", "notional_per_trade_exceeded")

    async def _too_soon(self) -> None:
        self._say("The strategy wants more of what it opened seconds ago.")
        result = await self._plan("too-soon", "XRPUSDT", "BUY", "0.60")
        self._expect(result, "BLOCKED", "rate_limit_symbol")

    async def _no_reduce_only(self) -> None:
        self._say("A producer forgets to say whether its plan opens or closes.")
        await self._send({"plan_id": "forgetful", "symbol": "XRPUSDT", "side": "SELL", "qty": "10"})
        self._expect(await self._result("forgetful"), "BLOCKED", "invalid_reduceOnly")

    async def _bad_regime(self) -> None:
        self._say("A plan comes with a kill score of 0.93: its own producer doubts the market.")
        result = await self._plan("doubtful", CANDIDATE, "BUY", "0.90", kill_score="0.93")
        self._expect(result, "BLOCKED", "kill_score_critical_open")

    async def _rotation(self) -> None:
        self._move("ETHUSDT", "1.02")
        self._say("ETH rises by 2 %, against the short. A better plan comes, but all three slots are taken.")
        await self._until_read(self._clock.now_ms())
        result = await self._plan("better", CANDIDATE, "BUY", "0.90")
        self._expect(result, "FILLED", "filled")
        event = await self._event(self._keys.governor_events, "ROTATION_COMPLETE")
        self.seen.rotations += event["outcome"].startswith("FILLED")
        weakest = event["close_symbol"]
        self._say(f"  ↻ a rotation: the weakest position, {weakest}, was closed, and once the exchange")
        self._say(f"    showed it flat, {CANDIDATE} was judged again and opened in its place.")

    async def _crash(self) -> None:
        self._say("SOL falls by 4 %. No strategy reacts. BSC, the watchdog, looks once a minute …")
        self._move("SOLUSDT", "0.96")
        event = await self._event(self._keys.bsc_events, "BSC_FORCE_CLOSE")
        self.seen.bsc_closes += 1
        self._say(
            f"  ■ BSC closed {event['symbol']}: {event['reason']} at {event['pnl_pct'][:6]} %; limit −3 %."
        )
        self._say("    It asks neither Redis nor any gate, and obeys no kill switch.")

    async def _cooled_down(self) -> None:
        self._say("The strategy wants SOL back at once.")
        await self._until_cooling("SOLUSDT")
        self._expect(await self._plan("back-at-once", "SOLUSDT", "BUY", "0.60"), "BLOCKED", "cooldown_symbol")

    async def _kill(self) -> None:
        self._say('You have seen enough: quantum-trader kill --reason "…"')
        await StopStore(self._database, self._keys).kill("1", "demo", self._clock.now_ms())
        self.seen.kills += 1
        result = await self._close("while-halted", CANDIDATE)
        self._expect(result, "BLOCKED", "kill_switch_active")
        self._say("    Closes are halted too; `close` and `flatten` go round the switch, for people.")

    async def _resume(self) -> None:
        self._say('And on again: quantum-trader resume --reason "…"')
        await StopStore(self._database, self._keys).kill("", "demo", self._clock.now_ms())
        self.seen.resumes += 1
        self._expect(await self._close("after-resume", CANDIDATE), "FILLED", "filled")

    # -- means

    async def _plan(
        self,
        plan_id: str,
        symbol: str,
        side: str,
        confidence: str,
        quantity: Decimal | None = None,
        **more: str,
    ) -> Mapping[str, str]:
        await self._put(plan_id, symbol, side, quantity or self._quantity(symbol), confidence, **more)
        return await self._result(plan_id)

    async def _put(
        self, plan_id: str, symbol: str, side: str, quantity: Decimal, confidence: str, **more: str
    ) -> None:
        fields = {"symbol": symbol, "side": side, "qty": f"{quantity:f}", "reduceOnly": "false"}
        await self._send({"plan_id": plan_id, **fields, "confidence": confidence, **more})

    async def _close(self, plan_id: str, symbol: str) -> Mapping[str, str]:
        wish = {"symbol": symbol, "side": "CLOSE", "qty": "0", "action": "FULL_CLOSE_PROPOSED"}
        await self._send({"plan_id": plan_id, **wish})
        return await self._result(plan_id)

    async def _send(self, fields: Mapping[str, str]) -> None:
        entry: Any = {"decision": "EXECUTE", "source": "demo", **fields}
        await self._database.client.xadd(self._keys.plans, entry)

    async def _result(self, plan_id: str) -> Mapping[str, str]:
        return await self._entry(self._keys.results, "plan_id", plan_id)

    async def _event(self, stream: str, name: str) -> Mapping[str, str]:
        return await self._entry(stream, "event", name)

    async def _entry(self, stream: str, key: str, value: str) -> Mapping[str, str]:
        """Return the first entry whose ``key`` is ``value``; raises ``TimeoutError`` after 90 s."""
        last = "0"
        async with asyncio.timeout(PATIENCE_S):
            while True:
                reply: Any = await self._database.client.xread({stream: last}, block=BLOCK_MS)
                for name, raw in entries_of(reply):
                    last, fields = name, as_text(raw)
                    if fields.get(key) == value:
                        return fields

    async def _until_cooling(self, symbol: str) -> None:
        """Wait until the engine has seen BSC's fill, and cools its symbol down."""
        async with asyncio.timeout(PATIENCE_S):
            while symbol not in self._cooling:
                await self._clock.sleep(0.1)

    async def _until_read(self, since_ms: int) -> None:
        """Wait until the engine has read its positions after ``since_ms``: their losses are of then."""
        async with asyncio.timeout(PATIENCE_S):
            while self._positions_read_ms <= since_ms:
                await self._clock.sleep(0.1)

    @property
    def _positions_read_ms(self) -> int:
        positions = self._app.joined.rooms.account.positions if self._app.joined is not None else None
        return positions.read_at_ms if positions is not None else 0

    @property
    def _cooling(self) -> frozenset[str]:
        operator = self._app.joined.consumer.operator if self._app.joined is not None else None
        return operator.latches.cooldown_symbols if operator is not None else frozenset()

    def _quantity(self, symbol: str) -> Decimal:
        venue, joined = self._venue, self._app.joined
        price = venue.quote(symbol, self._clock.now_ms()).last
        rules = joined.rooms.market.rules_of(symbol) if joined is not None else None
        if rules is None:
            raise LookupError(f"{symbol} is not listed")
        return rules.market_quantity.round_down(NOTIONAL_USDT / price)

    def _move(self, symbol: str, factor: str) -> None:
        self._venue.market.shock(symbol, Decimal(factor), self._clock.now_ms())

    @property
    def _venue(self) -> Any:
        if self._app.paper is None:
            raise LookupError("the demo runs in paper mode")
        return self._app.paper.venue

    def _expect(self, result: Mapping[str, str], decision: str, reason: str) -> None:
        """Tell what became of a plan, and note if it is not what the story says."""
        quantity = f"{result['qty']} " if result["qty"] not in ("", "0") else ""
        name = f"{result['side']} {quantity}{result['symbol']}"
        if result["executed"] == "true":
            self._say(f"  ✓ {name}: FILLED at {result['avg_price']}")
        else:
            self._say(f"  ✗ {name}: BLOCKED by {result['gate']}: {result['reason']}")
            self._say(f"    {_meaning(result)}")
            self.seen.blocked_by.append(result["gate"])
        if (result["decision"], result["reason"]) != (decision, reason):
            self.seen.surprises.append(f"{result['plan_id']}: {result['decision']} {result['reason']}")


def _meaning(result: Mapping[str, str]) -> str:
    reason = reason_of(result["reason"])
    return reason.meaning if reason is not None else f"The plan's field cannot be accepted: {result['error']}"
