"""Gauges: read from the engine's memory at the moment Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from quantum_trader import __version__
from quantum_trader.bsc.health import Authority, State
from quantum_trader.domain.evidence import Reading
from quantum_trader.exchange.weight import Counter
from quantum_trader.joining import Joined
from quantum_trader.web.feed import MINUTE_MS
from quantum_trader.web.readiness import checks
from quantum_trader.web.view import EngineView

PREFIX = "quantum_trader"
BSC_STATES = (*(state.value for state in State), "UNKNOWN")

Rows = Iterable[tuple[tuple[str, ...], float | Decimal]]


class Readings(Collector):
    """Everything that is a reading and not a count."""

    def __init__(self, view: EngineView) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: the registry needs no reading to accept this collector."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every gauge that has a value now."""
        view = self._view
        yield from self._process(view)
        yield from self._bsc(view)
        if view.joined is not None:
            yield from self._work(view, view.joined)
            yield from self._stops(view.joined)
            yield from self._positions(view.joined)
            yield from self._account(view, view.joined)

    def _process(self, view: EngineView) -> Iterator[Metric]:
        status = view.status or {}
        build = (__version__, status.get("config_hash", ""), view.config.mode.value)
        yield _gauge("build_info", "1, with what runs.", ("version", "config_hash", "mode"), [(build, 1)])
        yield _one("uptime_seconds", "Since the engine was started.", view.uptime_s)
        yield _one("event_loop_lag_seconds", "Longest of the last ten seconds.", view.loop_lag.longest_s)
        found = checks(view)
        yield _one("ready", "1 when every check of /readyz holds.", float(all(check.ok for check in found)))
        rows = [((check.name,), float(check.ok)) for check in found]
        yield _gauge("check_ok", "1 for each check of /readyz that holds.", ("check",), rows)

    def _work(self, view: EngineView, joined: Joined) -> Iterator[Metric]:
        rooms, now_ms = joined.rooms, view.clock.now_ms()
        yield _one("lease_held", "1 while this engine may claim.", float(joined.lease.is_held))
        yield _one("plans_waiting", "Plans on the stream that nobody works on yet.", view.waiting)
        waited_s = (now_ms - view.waiting_since_ms) / 1000 if view.waiting_since_ms is not None else 0
        yield _one("plans_waiting_seconds", "For how long some plan has waited without a break.", waited_s)
        yield _one("plans_in_flight", "Plans under way.", joined.consumer.in_flight)
        unresolved = rooms.unresolved_since_ms.values()
        oldest_s = (now_ms - min(unresolved, default=now_ms)) / 1000
        yield _one("unknown_outcomes", "Orders whose outcome is unknown.", len(unresolved))
        yield _one("unknown_outcome_oldest_seconds", "Age of the oldest of them.", oldest_s)
        done = joined.crew.counts()
        rows = [((name, what), count) for name, one in done.items() for what, count in one.items()]
        about = "What each producer did since the start, by kind; skips by their reason."
        yield _gauge("producer_done", about, ("producer", "what"), rows)
        weight = joined.exchange.weight
        yield _one("used_weight", "Request weight of this minute.", weight.used(Counter.WEIGHT, MINUTE_MS))
        yield _one("used_orders", "Orders of this minute.", weight.used(Counter.ORDERS, MINUTE_MS))
        yield _one("banned", "1 while the exchange bans this address.", float(weight.is_banned))
        links = [((name,), float(link["live"])) for name, link in joined.streams.status().items()]
        yield _gauge("stream_live", "1 while a stream lives; reads take over while not.", ("stream",), links)
        if rooms.server_clock.offset_ms is not None:
            offset_s = rooms.server_clock.offset_ms / 1000
            yield _one("clock_offset_seconds", "The exchange's clock minus ours.", offset_s)

    def _stops(self, joined: Joined) -> Iterator[Metric]:
        operator = joined.consumer.operator
        if operator is None:
            return
        latches, kill = operator.latches, operator.kill
        rows = {
            "kill": kill == "1",
            "kill_opens": kill not in ("", "0", "1"),
            "safe_mode": latches.safe_mode,
            "cooldown_global": latches.cooldown_global,
            "disarmed": bool(latches.disarmed),
        }
        named = [((name,), float(is_set)) for name, is_set in rows.items()]
        yield _gauge("latch_set", "1 for each stop that is set.", ("latch",), named)
        cooling = len(latches.cooldown_symbols)
        yield _one("cooldown_symbols", "Symbols that cool down.", cooling)

    def _positions(self, joined: Joined) -> Iterator[Metric]:
        reading = joined.rooms.account.positions
        if reading is None:
            return
        names = ("symbol", "position_side")
        held = [((leg.symbol, leg.side.value), position) for leg, position in reading.value.items()]
        yield _one("positions", "Live positions.", len(held))
        yield _one(
            "exposure_usdt", "Notional of all positions at the mark price.", reading.value.notional_usdt
        )
        amounts = [(labels, position.amount) for labels, position in held]
        yield _gauge("position_amount", "Signed, in base asset.", names, amounts)
        pnls = [(labels, position.unrealized_pnl) for labels, position in held]
        yield _gauge("position_unrealized_pnl_usdt", "Unrealised profit, in USDT.", names, pnls)
        ledger = joined.rooms.ledger.amounts()
        legs = {leg for leg, amount in ledger.items() if amount != 0} | set(reading.value)
        differences = [
            ((leg.symbol, leg.side.value), reading.value.amount(leg) - ledger.get(leg, Decimal(0)))
            for leg in sorted(legs)
        ]
        text = "Exchange minus ledger, in base asset."
        yield _gauge("position_ledger_difference", text, names, differences)

    def _account(self, view: EngineView, joined: Joined) -> Iterator[Metric]:
        rooms, now_ms = joined.rooms, view.clock.now_ms()
        readings: dict[str, Reading[object] | None] = {
            "positions": rooms.account.positions,
            "account": rooms.account.account,
            "mark_prices": rooms.market.newest_marks,
            "trading_rules": rooms.market.rules,
        }
        ages = [
            ((name,), (now_ms - reading.read_at_ms) / 1000)
            for name, reading in readings.items()
            if reading is not None
        ]
        yield _gauge("reading_age_seconds", "Since the exchange was last read.", ("reading",), ages)
        if rooms.account.account is None:
            return
        balances = rooms.account.account.value
        yield _one("equity_usdt", "Margin balance.", balances.margin_balance)
        yield _one("available_usdt", "Balance available for new margin.", balances.available_balance)
        if balances.margin_balance > 0:
            usage = balances.initial_margin / balances.margin_balance
            yield _one("margin_usage_ratio", "Initial margin / margin balance.", usage)

    def _bsc(self, view: EngineView) -> Iterator[Metric]:
        health = view.bsc
        state = health.state if health.state in BSC_STATES else "UNKNOWN"
        rows = [((name,), float(name == state)) for name in BSC_STATES]
        yield _gauge(
            "bsc_state", "1 for the state that BSC is in; UNKNOWN: it does not report.", ("state",), rows
        )
        controls = float(health.authority == Authority.CONTROLLER.value)
        yield _one("bsc_controller", "1 while BSC may close.", controls)
        yield _one("bsc_required", "1 where opens depend on BSC.", float(health.required))
        if health.last_good_poll_ms is not None:
            age_s = (view.clock.now_ms() - health.last_good_poll_ms) / 1000
            yield _one("bsc_last_good_poll_age_seconds", "Since BSC last saw the account.", age_s)


def _one(name: str, text: str, value: float | Decimal) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=float(value))


def _gauge(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(list(values), float(value))
    return family
