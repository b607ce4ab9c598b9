"""The checkers: what must hold whatever happens, told by the exchange's own books and Redis's own keys.

Nothing here asks the engine. Orders are counted as the venue accepted them, positions are summed up
from its fills, claims and kills are seen at the moment their commands run on the server.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
from simulation.world.plan_words import forbidden, most_asked, says_exit
from simulation.world.redis_server import RedisServer
from simulation.world.redis_streams import Id, Stream, format_id
from simulation.world.scenario import Scenario

from quantum_trader.domain.order import CLIENT_ORDER_ID_PREFIX, client_order_id
from quantum_trader.domain.trading import Leg, PositionSide
from quantum_trader.exchange.simulator.events import AccountEvent, Event, OrderEvent
from quantum_trader.exchange.simulator.model import Account, Order
from quantum_trader.exchange.simulator.venue import Venue
from quantum_trader.pipeline.intake import DeadLetter, read_entry
from quantum_trader.stores.keys import Keys, leg_of

ZERO = Decimal(0)
ENTRY_GATES = frozenset({"kill_score", "rate_limit", "margin_guard", "fund_caps", "active_slots"})
ENTRY_REASONS = frozenset(
    {"disarmed", "bsc_demoted", "bsc_blind", "clock_skew", "keys_refused", "reconcile_hold"}
)
SLACK_POSITIONS_MS = 15_000  # a reading of the positions may be 10 s old, and an order takes its time
SLACK_MARGIN_MS = 40_000  # one of the account 30 s
PRICE_SLACK = Decimal("1.02")
RUNNING = (None, b"0")


class Violation(AssertionError):
    """A promise was broken; ``checker`` names which."""

    def __init__(self, checker: str, text: str) -> None:
        super().__init__(f"{checker}: {text}")
        self.checker = checker


@dataclass
class PlanSeen:
    """A plan id as it stood on the stream: the fields of its first entry, those of all, and their ids."""

    fields: dict[str, str]
    copies: list[dict[str, str]] = field(default_factory=list)
    entries: list[Id] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    asked: Decimal | None = None
    claimed: int = 0
    claim_ms: int = 0
    claim_number: int = 0
    adds: bool = False
    """Its leg was held when it was claimed: an add takes no slot, whatever is closed before it fills."""

    @property
    def says_exit(self) -> bool:
        return says_exit(self.fields)

    def forbidden(self, *, reduces: bool) -> str:
        """Return the field for which none of the entries may be traded; empty where one may."""
        found = [forbidden(fields, reduces=reduces) for fields in self.copies]
        return found[0] if all(found) else ""


class Checks:
    """Watches one world from its first moment to its last."""

    def __init__(
        self,
        scenario: Scenario,
        server: RedisServer,
        venue: Venue,
        account: Account,
        now_ms: Callable[[], int],
    ) -> None:
        self._scenario = scenario
        self._server = server
        self._venue = venue
        self._account = account
        self._now_ms = now_ms
        self._keys = Keys()
        self._plans_key = self._keys.plans.encode()
        self._events_key = self._keys.governor_events.encode()
        self.violations: list[Violation] = []
        self.plans: dict[str, PlanSeen] = {}
        self._plan_of: dict[str, str] = {}
        self.amounts: dict[Leg, Decimal] = defaultdict(lambda: ZERO)
        self._before: dict[Leg, deque[tuple[int, Decimal]]] = defaultdict(lambda: deque(maxlen=200))
        self._flat_ms: dict[str, int] = {}
        self._opened_by: dict[Leg, int] = {}
        self._adds: set[str] = set()
        self._opens: list[tuple[int, str, str]] = []
        self._rates_lost: list[tuple[int, int]] = []
        self._disturbed_ms: dict[str, int] = {}
        self._margin_disturbed_ms = -SLACK_MARGIN_MS
        self._hedge_symbols: set[str] = set()
        self.orders = 0
        self.fills = 0
        self.claims = 0
        self.skew_ms_max = 0
        self._hash = hashlib.sha256()
        venue.observe(self.on_exchange)
        server.after_script.append(self.on_script)
        server.on_append.append(self.on_append)

    # -- plumbing

    def fail(self, checker: str, text: str) -> None:
        """Note that a promise was broken."""
        violation = Violation(checker, f"{text} (at {self._now_ms()} ms)")
        self.violations.append(violation)

    def note(self, *facts: object) -> None:
        """Add to the trace that tells two runs of one seed apart."""
        self._hash.update(repr(facts).encode())

    @property
    def digest(self) -> str:
        """The hash of everything that was noted."""
        return self._hash.hexdigest()[:16]

    def disturb(self, symbol: str = "*") -> None:
        """Somebody else changed what readings show: caps may be exceeded until they are read anew."""
        self._disturbed_ms[symbol] = self._now_ms()
        self._margin_disturbed_ms = self._now_ms()

    def _is_disturbed(self, *symbols: str) -> bool:
        since_ms = self._now_ms() - SLACK_POSITIONS_MS
        return any(self._disturbed_ms.get(symbol, 0) > since_ms for symbol in symbols)

    # -- Redis

    def on_append(self, key: bytes) -> None:
        if key == self._plans_key:
            stream: Stream = self._server.data[key]
            self.see_plan(stream.last, stream.entries[stream.last])
        elif key == self._events_key:
            stream = self._server.data[key]
            self._see_event(_fields(stream.entries[stream.last]))

    def see_plan(self, entry_id: Id, flat: list[bytes]) -> None:
        """An entry was put on the plan stream."""
        raw = dict(zip(flat[::2], flat[1::2], strict=True))
        if isinstance(read_entry(format_id(entry_id).decode(), raw), DeadLetter):
            return
        fields = _fields(flat)
        plan_id = fields["plan_id"]
        plan = self.plans.setdefault(plan_id, PlanSeen(fields))
        plan.copies.append(fields)
        plan.entries.append(entry_id)
        self._plan_of[client_order_id(plan_id).rpartition("-")[0]] = plan_id

    def _see_event(self, event: dict[str, str]) -> None:
        self.note("event", event.get("event"), event.get("plan_id"), event.get("symbol"))
        if event.get("event") != "ROTATION_COMPLETE" or event["outcome"].startswith("ended "):
            return
        leg, begun_ms = event["close_leg"], int(event["created_at"]) - self.skew_ms_max - 50
        if self._flat_ms.get(leg, 0) < begun_ms and self.amounts[leg_of(leg)] != 0:
            text = f"plan {event['new_plan_id']}: the rotation went on, and {leg} was never flat"
            self.fail("rotation_before_flat", text)

    def on_script(self, text: str, keys: list[bytes], args: list[bytes], reply: Any) -> None:
        if text.startswith("-- Claim:") and reply == [b"ok"]:
            self._on_claim(keys, args)
        if text.startswith(("-- Claim:", "-- Settle:", "-- Restore:")):
            self._check_sums()
        if text.startswith("-- Rotate:") and reply == [b"ok"]:
            stops = [self._server.peek(key) for key in keys[8:]]
            if any(stop is not None for stop in stops):
                self.fail("rotation_latches", f"a rotation began while a latch was set: {stops!r}")

    def _on_claim(self, keys: list[bytes], args: list[bytes]) -> None:
        self.claims += 1
        record = orjson.loads(args[4])
        plan_id, is_open, get = args[2].decode(), args[1] == b"open", self._server.peek
        lease, kill, *latches = (get(key) for key in keys[3:9])
        plan = self.plans.get(plan_id)
        if plan is None:
            self.fail("claim_of_no_plan", f"plan {plan_id} was claimed and never submitted")
            return
        plan.claimed += 1
        plan.claim_number = self.claims
        leg = Leg(record["order"]["symbol"], PositionSide(record["order"]["position_side"]))
        plan.adds = self.amounts[leg] != 0
        plan.claim_ms = record["timestamp_ms"]
        if not plan.orders:  # a claim that Redis lost before an order of it was sent binds nobody
            plan.asked = Decimal(record["asked"])
        if lease != args[0]:
            self.fail(
                "fencing", f"plan {plan_id} was claimed under {args[0]!r} while {lease!r} held the lease"
            )
        if kill == b"1" or (is_open and kill not in RUNNING):
            self.fail("kill_switch", f"plan {plan_id} was claimed while the kill switch stood at {kill!r}")
        if is_open and any(latch is not None for latch in latches):
            self.fail("latches", f"plan {plan_id} was claimed while a latch was set: {latches!r}")
        if is_open:
            self._check_alone(plan_id, record["order"]["symbol"], get(keys[11]))
        else:
            self._check_asked(plan_id, plan, record)

    def _check_asked(self, plan_id: str, plan: PlanSeen, record: dict[str, Any]) -> None:
        """An exit asks for no more than its words do, of the position as a reading may show it.

        Where somebody else has traded, a reading of before it and a fill of ours make a size that never was.
        """
        leg = Leg(record["order"]["symbol"], PositionSide(record["order"]["position_side"]))
        if self._is_disturbed(leg.symbol):
            return
        since_ms = self._now_ms() - SLACK_POSITIONS_MS - self.skew_ms_max
        sizes = [abs(amount) for until_ms, amount in self._before[leg] if until_ms > since_ms]
        most = most_asked(plan.copies, max([*sizes, abs(self.amounts[leg])]))
        if Decimal(record["asked"]) > most:
            self.fail("asked", f"plan {plan_id} asks to close {record['asked']} of {leg.key}, at most {most}")

    def _check_alone(self, plan_id: str, symbol: str, claims: dict[bytes, bytes]) -> None:
        for other, text in claims.items():
            claim = orjson.loads(text)
            if other != plan_id.encode() and claim["symbol"] == symbol and "settled_epoch" not in claim:
                self.fail("in_flight", f"plan {plan_id} was claimed on {symbol} beside {other.decode()}")

    def _check_sums(self) -> None:
        """Sums that say that they hold are not too small, and name whatever is under way."""
        claims = self._server.peek(self._keys.claims.encode()) or {}
        sums = self._server.peek(self._keys.claim_sums.encode())
        if sums is None:
            return
        head, *lines = sums.split(b"\n")
        count, notional, margin = map(int, head.split())
        if count != len(claims):
            return
        held = {name: orjson.loads(text) for name, text in claims.items()}
        opens = [claim for claim in held.values() if claim["kind"] == "open"]
        under_way = {name for name, claim in held.items() if "settled_epoch" not in claim}
        named = {held[name]["symbol"].encode() + b" " + name for name in under_way}
        if (
            notional < sum(claim["notional"] + claim["base_notional"] for claim in opens)
            or margin < sum(claim["margin"] for claim in opens)
            or not named <= set(lines)
        ):
            self.fail("claim_sums", f"the sums {sums!r} are too small for {held!r}")

    # -- the exchange

    def on_exchange(self, event: Event) -> None:
        if isinstance(event, AccountEvent) and event.reason in ("FUNDING_FEE", "LEVERAGE"):
            self._margin_disturbed_ms = self._now_ms()
        if not isinstance(event, OrderEvent):
            return
        order = event.order
        self.note(event.execution, order.client_order_id, order.status, order.executed, event.at_ms)
        if event.execution == "NEW":
            self._on_accepted(order)
        elif event.trade is not None:
            self._on_fill(order, order.side.sign * event.trade.quantity)

    def _on_accepted(self, order: Order) -> None:
        if not order.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX):
            self.disturb(order.symbol)
            self.disturb()
            return
        self.orders += 1
        stem, _, number = order.client_order_id.rpartition("-")
        plan_id = self._plan_of.get(stem)
        if plan_id is None:
            self.fail("order_of_no_plan", f"order {order.client_order_id} belongs to no plan")
            return
        plan = self.plans[plan_id]
        plan.orders.append(order)
        if plan.claimed == 0:
            self.fail("unclaimed", f"plan {plan_id}: order {order.client_order_id} was sent without a claim")
        wrong = plan.forbidden(reduces=order.only_reduces)
        if wrong:
            self.fail("refused_words", f"plan {plan_id} was traded with {wrong}={plan.fields.get(wrong)!r}")
        if order.only_reduces:
            return
        if plan.says_exit:
            self.fail(
                "exit_reduces", f"plan {plan_id} is an exit; its order {order.client_order_id} can open"
            )
        if len(plan.orders) > 1 or number != "0":
            ids = [known.client_order_id for known in plan.orders]
            self.fail("one_order", f"plan {plan_id}: at most one accepted order was expected, not {ids}")
        self._check_rates(plan_id, plan, order)

    def _check_rates(self, plan_id: str, plan: PlanSeen, order: Order) -> None:
        limits, at_ms = self._scenario.gates["rate_limit"], plan.claim_ms
        slack_ms = 200 + 2 * self.skew_ms_max
        windows = (
            (limits["per_symbol_s"] * 1000, 1, order.symbol),
            (60_000, limits["global_per_min"], ""),
            (300_000, limits["per_symbol_5min_max"], order.symbol),
            (3_600_000, limits["per_symbol_hour_max"], order.symbol),
        )
        if any(since_ms <= at_ms <= until_ms for since_ms, until_ms in self._rates_lost):
            return
        self._opens.append((at_ms, order.symbol, plan_id))
        for window_ms, most, symbol in windows:
            since_ms = at_ms - window_ms + slack_ms
            inside = [
                name
                for when_ms, where, name in self._opens
                if since_ms < when_ms <= at_ms and where.startswith(symbol)
            ]
            if window_ms and len(inside) > most:
                self.fail(
                    "rates", f"plan {plan_id}: {inside} were opened within {window_ms} ms, at most {most} may"
                )

    def _on_fill(self, order: Order, change: Decimal) -> None:
        self.fills += 1
        leg = order.leg
        before = self.amounts[leg]
        after = self.amounts[leg] = before + change
        self._before[leg].append((self._now_ms(), before))
        if after == 0:
            self._flat_ms[leg.key] = self._now_ms()
        if not order.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX):
            self.disturb(order.symbol)
            self.disturb()
            return
        plan_id = self._plan_of.get(order.client_order_id.rpartition("-")[0], "?")
        if order.only_reduces:
            if before == 0 or before * after < 0 or abs(after) > abs(before):
                self.fail("exit_only_reduces", f"plan {plan_id}: {leg.key} went from {before} to {after}")
            return
        first = order.executed == abs(change)
        if first and before != 0:
            self._adds.add(order.client_order_id)  # it took no slot, also where its rest fills after a close
        if before == 0:
            self._opened_by[leg] = self.plans[plan_id].claim_number
        is_new = before == 0 and order.client_order_id not in self._adds and not self.plans[plan_id].adds
        self._check_open(plan_id, order, before if first else ZERO, is_new=is_new)

    def _check_open(self, plan_id: str, order: Order, before: Decimal, *, is_new: bool) -> None:
        gates = self._scenario.gates
        if before and not self._is_disturbed(order.symbol):
            if before * order.side.sign < 0:
                self.fail("never_flips", f"plan {plan_id}: {order.side} on {order.leg.key} of {before}")
            elif not gates["position_sanity"]["allow_add"]:
                self.fail("adds", f"plan {plan_id}: an open enlarged {order.leg.key} of {before}")
        self._check_margin(plan_id)
        if self._is_disturbed("*"):
            return
        legs, _ = self._venue.values(self._account, self._now_ms())
        live = [value for value in legs if value.held.amount]
        most = gates["fund_caps"]["max_open_positions"]
        if is_new and len(live) > most:
            self.fail("positions", f"plan {plan_id} made {len(live)} positions, at most {most} may be")
        notional = sum((abs(value.notional) for value in live), ZERO)
        cap = gates["fund_caps"]["max_total_notional_usdt"]
        if notional > cap * PRICE_SLACK:
            self.fail("notional", f"plan {plan_id} made {notional} USDT of positions, at most {cap} may be")
        own = order.quantity * self._venue.quote(order.symbol, self._now_ms()).mark
        if own > 200 * PRICE_SLACK:
            self.fail("notional_per_trade", f"plan {plan_id} sent {own} USDT, at most 200 may be")
        slots = gates["active_slots"][self._scenario.regimes[order.symbol]]
        number = self.plans[plan_id].claim_number  # what was claimed later had its own slots to respect
        symbols = {value.leg.symbol for value in live if self._opened_by.get(value.leg, 0) <= number}
        if is_new and len(symbols) > slots:
            self.fail("slots", f"plan {plan_id} took slot {len(symbols)} of {slots}: {sorted(symbols)}")

    def _check_margin(self, plan_id: str) -> None:
        if self._now_ms() - self._margin_disturbed_ms < SLACK_MARGIN_MS:
            return
        _, totals = self._venue.values(self._account, self._now_ms())
        most = Decimal(self._scenario.gates["margin_guard"]["usage_max"])
        balance = totals.margin_balance
        used = totals.initial_margin
        if used > balance * most * Decimal("1.05"):
            self.fail(
                "margin_usage", f"plan {plan_id}: margin {used} of {balance} USDT, at most {most} may be used"
            )

    def forget_rates_since(self, since_ms: int) -> None:
        """Redis lost what was written since then: rate tokens among it, which nothing mirrors.

        Also those of plans whose order is on its way to the exchange at this moment.
        """
        self._opens = [known for known in self._opens if known[0] < since_ms]
        self._rates_lost.append((since_ms, self._now_ms() + self.skew_ms_max))

    # -- the end

    def results(self) -> dict[str, list[dict[str, str]]]:
        """Results on the stream, by plan id."""
        found: dict[str, list[dict[str, str]]] = defaultdict(list)
        stream = self._server.data.get(self._keys.results.encode())
        for entry in stream.entries.values() if stream is not None else ():
            fields = _fields(entry)
            found[fields["plan_id"]].append(fields)
        return found

    def on_stream(self) -> set[str]:
        """Ids of the plans whose entries stand on the stream: what Redis has lost was never submitted."""
        stream = self._server.data.get(self._plans_key)
        entries = stream.entries.values() if stream is not None else ()
        return {fields["plan_id"] for fields in map(_fields, entries) if fields.get("plan_id") in self.plans}

    def unsettled(self) -> list[str]:
        """What has not come to its end yet, in words."""
        with_result = self.results()
        open_ends = [f"plan {name} has no result" for name in sorted(self.on_stream() - set(with_result))]
        claims = self._server.peek(self._keys.claims.encode()) or {}
        open_ends += [
            f"claim of {name.decode()} is still held"
            for name, text in claims.items()
            if "settled_epoch" not in orjson.loads(text)
        ]
        stream = self._server.data.get(self._plans_key)
        groups = stream.groups.values() if stream is not None else ()
        open_ends += [
            f"entry {format_id(one).decode()} is pending" for group in groups for one in group.pending
        ]
        if self._server.peek(self._keys.rotation_lock.encode()) is not None:
            open_ends.append("a rotation is still under way")
        return open_ends

    def check_end(self) -> None:
        """Check what must hold when the faults have stopped and everything has come to its end."""
        found = self.results()
        for name in sorted(self.on_stream()):
            if len(found.get(name, ())) != 1:
                kinds = [(one["decision"], one["reason"]) for one in found.get(name, ())]
                self.fail("one_result", f"plan {name}: exactly one result was expected, not {kinds}")
        for name in sorted(found):
            for result in found[name]:
                self._check_result(name, result)
        self._check_ledger()

    def _check_result(self, plan_id: str, result: dict[str, str]) -> None:
        plan = self.plans.get(plan_id)
        if plan is None:
            self.fail("result_of_no_plan", f"{plan_id} has a result and was never submitted")
            return
        self.note("result", plan_id, result["decision"], result["reason"], result["filled_qty"])
        since_ms = self._entry_ms(plan, newest=result["reason"] == "plan_id_reused")
        known = [self._account.orders.get((order.symbol, order.order_id), order) for order in plan.orders]
        told = Decimal(result["filled_qty"] or 0)
        # the result of a lost entry may stand though that entry does not: it tells of all orders
        tells_of_all = told == sum((order.executed for order in known), ZERO)
        orders = known if tells_of_all else [order for order in known if order.created_ms >= since_ms]
        filled = sum((order.executed for order in orders), ZERO)
        said = f"{result['decision']} {result['reason']}"
        if told != filled:
            self.fail(
                "result_is_true", f"plan {plan_id}: {said} tells of {told}, the exchange filled {filled}"
            )
        if (result["executed"] == "true") != (filled > 0):
            self.fail("result_is_true", f"plan {plan_id}: executed={result['executed']}, filled {filled}")
        if (result["decision"] in ("FILLED", "PARTIALLY_FILLED")) != (filled > 0):
            self.fail("result_is_true", f"plan {plan_id}: {said}, and the exchange filled {filled}")
        traced = {order["client_order_id"] for order in orjson.loads(result["trace"]).get("orders", ())}
        untold = {order.client_order_id for order in orders if order.executed > 0} - traced
        if untold:
            self.fail("trace_is_whole", f"plan {plan_id}: {said}, and its trace lacks {sorted(untold)}")
        if not result["reason"]:
            self.fail("reason", f"plan {plan_id}: the reason is empty")
        if plan.asked is not None and filled > plan.asked:
            self.fail("asked", f"plan {plan_id}: {filled} were filled, {plan.asked} had been asked for")
        blocked = result["decision"] == "BLOCKED" and plan.says_exit
        if blocked and (result["gate"] in ENTRY_GATES or result["reason"] in ENTRY_REASONS):
            self.fail("exits_are_free", f"plan {plan_id} is an exit and ended as {said} at {result['gate']}")

    def _entry_ms(self, plan: PlanSeen, *, newest: bool) -> int:
        """When the oldest (or newest) entry was made that Redis has not lost.

        An order from before it was that of an entry which nobody can read any more, as is its result:
        what stands there now uses the id again, and its result tells of itself.
        """
        stream = self._server.data[self._plans_key]
        standing = [entry_id[0] for entry_id in plan.entries if entry_id in stream.entries]
        return max(standing, default=sys.maxsize) if newest else min(standing, default=0)

    def _check_ledger(self) -> None:
        for leg, (believed, real) in self.ledger_differences().items():
            self.fail("ledger", f"{leg}: the ledger says {believed}, the exchange {real}")

    def ledger_differences(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return what ledger and exchange say, leg by leg, where they differ."""
        prefix = self._keys.ledger("").encode()
        ledger = {
            key.removeprefix(prefix).decode(): Decimal(fields[b"position_amt"].decode())
            for key, fields in self._server.data.items()
            if key.startswith(prefix)
        }
        held = {leg.key: holding.amount for leg, holding in self._account.positions.items()}
        both = {leg: (ledger.get(leg, ZERO), held.get(leg, ZERO)) for leg in sorted({*ledger, *held})}
        return {leg: (believed, real) for leg, (believed, real) in both.items() if believed != real}


def _fields(flat: list[bytes]) -> dict[str, str]:
    texts = [part.decode(errors="replace") for part in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))
