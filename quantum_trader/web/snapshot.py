"""The state of the engine as the page and /api/* show it: plain JSON from memory."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from quantum_trader import __version__
from quantum_trader.bsc import limits
from quantum_trader.domain.exposure import open_symbols
from quantum_trader.domain.result import plain
from quantum_trader.domain.trading import Leg, Position
from quantum_trader.exchange.weight import Counter
from quantum_trader.joining import Joined
from quantum_trader.web.headline import headline
from quantum_trader.web.readiness import checks
from quantum_trader.web.view import EngineView

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
HUNDRED = Decimal(100)
EVENTS_SHOWN = 50


def state(view: EngineView) -> dict[str, Any]:
    """Return everything that the page shows but decisions, events and charts; times in ms."""
    found = checks(view)
    return {
        "now_ms": view.clock.now_ms(),
        "headline": headline(view, found),
        "ready": all(check.ok for check in found),
        "checks": [check.as_fields() for check in found],
        "engine": engine(view),
        "account": account(view),
        "positions": positions(view),
        "latches": latches(view),
        "slots": slots(view),
        "reasons": view.feed.reasons(),
        "bsc": bsc(view),
    }


def engine(view: EngineView) -> dict[str, Any]:
    """Return what the process is and how it is."""
    status = view.status or {}
    weight = view.joined.exchange.weight if view.joined is not None else None
    return {
        "version": __version__,
        "mode": view.config.mode.value,
        "config_hash": status.get("config_hash", ""),
        "account": status.get("account", ""),
        "exchange": status.get("exchange", ""),
        "uptime_s": view.uptime_s,
        "plans_seen": status.get("plans_seen", 0),
        "plans_in_flight": status.get("plans_in_flight", 0),
        "waiting": view.waiting,
        "clock_offset_ms": status.get("clock_offset_ms"),
        "loop_lag_ms": round(view.loop_lag.longest_s * 1000, 1),
        "used_weight": weight.used(Counter.WEIGHT, MINUTE_MS) if weight is not None else None,
        "last_plan_ms": view.feed.last_plan_ms,
        "last_fill_ms": view.feed.last_fill_ms,
        "changes_possible": bool(view.config.http.token.get_secret_value()),
    }


def account(view: EngineView) -> dict[str, Any] | None:
    """Return balances and exposure in USDT; None before the first read."""
    live = view.joined.rooms.account if view.joined is not None else None
    if live is None or live.account is None:
        return None
    balances, caps = live.account.value, view.config.gates.fund_caps
    exposure = live.positions.value.notional_usdt if live.positions is not None else None
    return {
        "equity_usdt": plain(balances.margin_balance),
        "available_usdt": plain(balances.available_balance),
        "wallet_usdt": plain(balances.wallet_balance),
        "exposure_usdt": plain(exposure),
        "exposure_max_usdt": plain(caps.max_total_notional_usdt),
        "positions_max": caps.max_open_positions,
        "margin_usage": _share(balances.initial_margin, balances.margin_balance),
        "read_at_ms": live.account.read_at_ms,
    }


def positions(view: EngineView) -> list[dict[str, Any]] | None:
    """Return every live position with its distance to BSC's limits; None before the first read."""
    live = view.joined.rooms.account.positions if view.joined is not None else None
    if view.joined is None or live is None:
        return None
    rows = [_position(view, view.joined, held) for held in live.value.values()]
    return sorted(rows, key=lambda row: (row["symbol"], row["position_side"]))


def _position(view: EngineView, joined: Joined, held: Position) -> dict[str, Any]:
    ledger_amount = joined.rooms.ledger[held.leg].position_amt
    return {
        "symbol": held.leg.symbol,
        "position_side": held.leg.side.value,
        "amount": plain(held.amount),
        "entry_price": plain(held.entry_price),
        "mark_price": plain(held.mark_price),
        "notional_usdt": plain(held.notional_usdt),
        "unrealized_pnl_usdt": plain(held.unrealized_pnl),
        "ledger_amount": plain(ledger_amount),
        "ledger_difference": plain(held.amount - ledger_amount),
        "limits": _limits(view, joined, held),
    }


def _limits(view: EngineView, joined: Joined, held: Position) -> list[dict[str, Any]]:
    """Return BSC's three measures, each with its limit and the share of it that is used up (0 to 1)."""
    row = view.bsc_report.row_of(held, view.clock.now_ms())
    measures = (
        ("loss", _pnl_pct(held), limits.MAX_LOSS_PCT, "%"),
        ("age", _age_h(view, joined, held.leg, row), limits.MAX_DURATION_H, "h"),
        ("margin", _margin(joined, held, row), limits.MAX_MARGIN, ""),
    )
    return [
        {
            "name": name,
            "value": "" if value is None else f"{value:.3f}" if not unit else f"{value:.2f}",
            "limit": plain(limit),
            "unit": unit,
            "used": None if value is None else float(min(max(value / limit, Decimal(0)), Decimal(1))),
        }
        for name, value, limit, unit in measures
    ]


def _pnl_pct(held: Position) -> Decimal | None:
    entry = abs(held.amount) * held.entry_price
    return held.unrealized_pnl / entry * HUNDRED if entry > 0 else None


def _age_h(view: EngineView, joined: Joined, leg: Leg, row: dict[str, str]) -> Decimal | None:
    """By BSC's own count where it has one: that is what it closes by."""
    if row.get("age_h"):
        return Decimal(row["age_h"])
    opened_ms = joined.rooms.ledger[leg].opened_at
    return Decimal(max(0, view.clock.now_ms() - opened_ms)) / HOUR_MS if opened_ms > 0 else None


def _margin(joined: Joined, held: Position, row: dict[str, str]) -> Decimal | None:
    if row.get("margin_ratio", "inf") != "inf":
        return Decimal(row["margin_ratio"])
    reading = joined.rooms.account.account
    if reading is None or held.margin_type == "isolated" or reading.value.margin_balance <= 0:
        return None
    return reading.value.maintenance_margin / reading.value.margin_balance


def latches(view: EngineView) -> list[dict[str, Any]]:
    """Return every stop that is set: its name, since why, until when (ms), and who clears it."""
    operator = view.joined.consumer.operator if view.joined is not None else None
    if operator is None:
        return []
    rows: list[dict[str, Any]] = []
    if operator.kill not in ("", "0"):
        changed = view.events.last("KILL_SWITCH_CHANGED") or {}
        rows.append(_latch("kill_switch", operator.kill, changed.get("reason", ""), "an operator: resume"))
    if operator.latches.disarmed:
        rows.append(_latch("disarmed", "", operator.latches.disarmed, "an operator: arm"))
    timed = view.latch_times.of(operator.latches)
    return rows + [_latch(one.name, one.symbol, "", "time", one.until_ms) for one in timed]


def _latch(name: str, value: str, reason: str, ends_by: str, until_ms: int | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "reason": reason, "ends_by": ends_by, "until_ms": until_ms}


def slots(view: EngineView) -> dict[str, Any] | None:
    """Return the slots of each symbol's regime, what takes them, and the rotation under way."""
    joined = view.joined
    live = joined.rooms.account.positions if joined is not None else None
    if joined is None or live is None:
        return None
    gate, rooms = view.config.gates.active_slots, joined.rooms
    taken = open_symbols(live.value, rooms.book.unseen(rooms.account.positions_epoch))
    regimes = {symbol: rooms.market.regime_of(symbol) for symbol in view.config.symbols}
    return {
        "mode": gate.mode.value,
        "taken": sorted(taken),
        "regimes": [
            {
                "symbol": symbol,
                "slots": gate.slots(regime.value) if regime is not None else None,
                "trend_pct": f"{regime.value.trend * HUNDRED:.2f}" if regime is not None else "",
                "atr_pct": f"{regime.value.atr_pct * HUNDRED:.2f}" if regime is not None else "",
            }
            for symbol, regime in regimes.items()
        ],
        "rotation": _rotation(view, joined),
    }


def _rotation(view: EngineView, joined: Joined) -> dict[str, Any] | None:
    rotation = joined.rooms.rotation
    if rotation is None:
        return None
    timeout_ms = view.config.gates.active_slots.rotation_timeout_s * 1000
    return {
        "new_plan_id": rotation.new_plan_id,
        "new_symbol": rotation.new_symbol,
        "close_symbol": rotation.close_symbol,
        "until_ms": rotation.created_at_ms + timeout_ms,
    }


def bsc(view: EngineView) -> dict[str, Any]:
    """Return how the watchdog is, and for how long it may close."""
    health = view.bsc
    return {
        "state": health.state,
        "authority": health.authority,
        "required": health.required,
        "last_good_poll_ms": health.last_good_poll_ms,
        "days_left": view.bsc_report.status.get("days_left"),
    }


def _share(part: Decimal, whole: Decimal) -> float | None:
    return round(float(part / whole), 4) if whole > 0 else None
