"""Every reason that a result can carry: one closed list with its meaning and its cure.

The table of reasons in ``docs/reasons.md`` is generated from here, and ``quantum-trader why``
prints the same words. Two families carry a name in their code and stand at the end:
``invalid_<field>`` and ``decision_<value>``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """A reason code with what it means and what a person can do about it."""

    gate: str
    meaning: str
    cure: str

    def __new__(cls, code: str, gate: str, meaning: str, cure: str) -> Self:
        """Keep the code as the value and the explanation beside it."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.gate = gate
        member.meaning = meaning
        member.cure = cure
        return member

    # -- what ended well, or was not for this engine to do
    FILLED = "filled", "", "The order was filled completely.", "Nothing to do."
    PARTIALLY_FILLED = (
        "partially_filled", "", "The exchange filled a part; the rest is not sent again.",
        "Send a new plan for the remainder if you still want it.",
    )  # fmt: skip
    ALREADY_FLAT = "already_flat", "", "The position was gone when the exit arrived.", "Nothing to do."
    DRY_RUN = "dry_run", "", "The plan passed every gate; this mode sends no order.", "Use testnet or live."
    PASS = "pass", "", "The gate has no objection.", "Nothing to do."
    EXIT_EXEMPT = "exit_exempt", "", "The gate judges opens only.", "Nothing to do."
    GATE_OFF = "gate_off", "", "The gate's mode is off.", 'Set mode = "enforce" to use it.'
    EVIDENCE_MISSING = (
        "evidence_missing", "", "A fact that the gate needs is absent or too old; opens are blocked.",
        "See the verdict's evidence for the fact; `quantum-trader doctor` checks its source.",
    )  # fmt: skip
    GATE_ERROR = (
        "gate_error", "", "The gate failed with an exception of its own; opens are blocked.",
        "Report it with the log line of that plan.",
    )  # fmt: skip

    # -- age
    EXPIRED = (
        "expired", "intake", "The plan was older than intake.max_age_s when it was first delivered.",
        "Check the producer's clock and the engine's lag.",
    )  # fmt: skip

    # -- kill_switch
    KILL_SWITCH_ACTIVE = (
        "kill_switch_active", "kill_switch", "quantum:kill stops this plan (1: all, opens: opens).",
        "`quantum-trader resume --reason …` once the cause is known.",
    )  # fmt: skip
    DISARMED = (
        "disarmed", "kill_switch", "The engine disarmed itself; opens are blocked until an operator arms it.",
        "Read quantum:safety:disarmed for the cause, then `quantum-trader arm --reason …`.",
    )  # fmt: skip
    BSC_DEMOTED = (
        "bsc_demoted", "kill_switch", "The watchdog BSC is an observer since its lifespan ended.",
        "`quantum-trader bsc extend --days N --evidence FILE`.",
    )  # fmt: skip
    BSC_BLIND = (
        "bsc_blind", "kill_switch", "BSC is required and its health is missing or BLIND.",
        "Start BSC, or look at why its polls fail.",
    )  # fmt: skip
    NOT_LEADER = (
        "not_leader", "kill_switch", "This engine does not hold the account's lease.",
        "Stop the other engine on this account.",
    )  # fmt: skip
    CLOCK_SKEW = (
        "clock_skew", "kill_switch", "The offset to the exchange's clock could not be measured.",
        "Check the exchange's reachability: `quantum-trader doctor`.",
    )  # fmt: skip
    KEYS_REFUSED = (
        "keys_refused", "kill_switch", "The exchange refuses the API key (-2014, -2015).",
        "`quantum-trader doctor` says which of permission, IP allowlist or testnet/live it is.",
    )  # fmt: skip

    # -- kill_score
    KILL_SCORE_CRITICAL_OPEN = (
        "kill_score_critical_open", "kill_score", "The plan's kill score is at or above the critical value.",
        "The producer should not open in this regime.",
    )  # fmt: skip

    # -- idempotency
    DUPLICATE = (
        "duplicate", "idempotency", "A plan with this id was already claimed, parked or ended.",
        "Use a new plan_id for a new intention.",
    )  # fmt: skip
    PLAN_ID_REUSED = (
        "plan_id_reused", "idempotency", "The exchange knows this plan_id's order from before this plan.",
        "Use a new plan_id.",
    )  # fmt: skip

    # -- rate_limit
    RATE_LIMIT_SYMBOL = (
        "rate_limit_symbol", "rate_limit", "The symbol's last open was claimed less than per_symbol_s ago.",
        "Wait, or slow the producer down.",
    )  # fmt: skip
    RATE_LIMIT_GLOBAL = (
        "rate_limit_global", "rate_limit", "global_per_min opens were already claimed within a minute.",
        "Wait for cooldown_global to end, or slow the producer down.",
    )  # fmt: skip
    BURST_LIMIT_EXCEEDED = (
        "burst_limit_exceeded", "rate_limit", "per_symbol_5min_max opens of the symbol within 5 minutes.",
        "Look at why the producer repeats itself.",
    )  # fmt: skip
    HOURLY_LIMIT_EXCEEDED = (
        "hourly_limit_exceeded", "rate_limit", "per_symbol_hour_max opens of the symbol within an hour.",
        "Look at why the producer repeats itself.",
    )  # fmt: skip
    SAFE_MODE = (
        "safe_mode", "rate_limit", "Too many margin failures; opens are blocked for safe_mode_s.",
        "Check the free margin; DEL quantum:safety:safe_mode ends it early.",
    )  # fmt: skip
    COOLDOWN_GLOBAL = (
        "cooldown_global", "rate_limit", "Opens of all symbols are cooling down.",
        "Wait for quantum:safety:cooldown_global to expire, or DEL it.",
    )  # fmt: skip
    COOLDOWN_SYMBOL = (
        "cooldown_symbol", "rate_limit", "Opens of this symbol are cooling down.",
        "Wait for quantum:safety:cooldown_symbol:<symbol> to expire, or DEL it.",
    )  # fmt: skip

    # -- margin_guard
    INSUFFICIENT_MARGIN = (
        "insufficient_margin", "margin_guard", "The free balance is below notional / leverage × buffer.",
        "Add funds, close something, or send smaller plans.",
    )  # fmt: skip
    MARGIN_USAGE_EXCEEDED = (
        "margin_usage_exceeded", "margin_guard", "Initial margin / margin balance would exceed usage_max.",
        "Close something, or send smaller plans.",
    )  # fmt: skip

    # -- fund_caps
    MAX_POSITIONS_REACHED = (
        "max_positions_reached", "fund_caps", "max_open_positions positions are open or claimed.",
        "Close one first, or raise the limit.",
    )  # fmt: skip
    NOTIONAL_PER_TRADE_EXCEEDED = (
        "notional_per_trade_exceeded", "fund_caps", "The notional is above max_notional_per_trade_usdt.",
        "Send a smaller quantity.",
    )  # fmt: skip
    TOTAL_NOTIONAL_EXCEEDED = (
        "total_notional_exceeded", "fund_caps",
        "Positions + claims + this plan would exceed max_total_notional_usdt.",
        "Close something first, or send a smaller quantity.",
    )  # fmt: skip
    SYMBOL_COOLDOWN = (
        "symbol_cooldown", "fund_caps", "The symbol's last executed open is less than symbol_cooldown_s ago.",
        "Wait.",
    )  # fmt: skip

    # -- active_slots
    ACTIVE_SLOTS_NO_POLICY = (
        "active_slots_no_policy", "active_slots", "quantum:policy:current is missing, unreadable or expired.",
        "Write universe_symbols (and valid_until_epoch) to it.",
    )  # fmt: skip
    ACTIVE_SLOTS_NOT_IN_UNIVERSE = (
        "active_slots_not_in_universe", "active_slots", "The symbol is not in the policy's universe.",
        "Add it to universe_symbols; in paper mode to `symbols` in config.toml, before the first start.",
    )  # fmt: skip
    ACTIVE_SLOTS_CORRELATED = (
        "active_slots_correlated", "active_slots", "The symbol moves too much like an open position.",
        "Choose a less correlated symbol.",
    )  # fmt: skip
    ACTIVE_SLOTS_FULL = (
        "active_slots_full", "active_slots", "All slots of the regime are taken and none may be rotated.",
        "Close one first.",
    )  # fmt: skip
    ACTIVE_SLOTS_WAITING = (
        "active_slots_waiting_rotation_close", "active_slots", "The slot being freed is another plan's.",
        "Wait for the rotation to end.",
    )  # fmt: skip
    ACTIVE_SLOTS_ROTATION_TIMEOUT = (
        "active_slots_rotation_timeout", "active_slots", "The rotation's close was not confirmed in time.",
        "Look at the close plan's result.",
    )  # fmt: skip

    # -- position_sanity
    SANITY_CHECKS_PASSED = (
        "sanity_checks_passed", "position_sanity", "The plan fits the live position.", "Nothing to do."
    )  # fmt: skip
    SYMBOL_NOT_ALLOWED = (
        "symbol_not_allowed", "position_sanity", "The symbol is not in the config's `symbols`.",
        "Add it to `symbols`.",
    )  # fmt: skip
    COOLDOWN_IN_FLIGHT = (
        "cooldown_in_flight", "position_sanity", "The last executed open is less than cooldown_s ago.",
        "Wait.",
    )  # fmt: skip
    POSITION_EXISTS_ADD_DENIED = (
        "position_exists_add_denied", "position_sanity", "A position in this direction is already open.",
        "Set allow_add = true to enlarge positions.",
    )  # fmt: skip
    WOULD_FLIP = (
        "would_flip", "position_sanity", "The order would turn the position around.",
        "Close first, then open the other way.",
    )  # fmt: skip
    NO_POSITION = "no_position", "position_sanity", "There is nothing to close.", "Nothing to do."
    SIDE_MISMATCH = (
        "side_mismatch", "position_sanity", "A reduce-only plan on the side that would enlarge the position.",
        "Use side=CLOSE, or the opposite side.",
    )  # fmt: skip
    POSITION_SIDE_REQUIRED = (
        "position_side_required", "position_sanity", "Both hedge legs are live; CLOSE does not say which.",
        "Send positionSide.",
    )  # fmt: skip
    RECONCILE_HOLD = (
        "reconcile_hold", "position_sanity", "Ledger and exchange differ on this symbol.",
        "It ends by itself when the ledger has adopted the exchange.",
    )  # fmt: skip

    # -- exchange_sizing
    QTY_BELOW_MIN = (
        "qty_below_min", "exchange_sizing", "Rounded down to the step, the quantity is below the minimum.",
        "Send a larger quantity, or set allow_upsize.",
    )  # fmt: skip
    QTY_ABOVE_MAX = (
        "qty_above_max", "exchange_sizing", "The quantity is above the largest market order.",
        "Send a smaller quantity.",
    )  # fmt: skip
    MIN_NOTIONAL_CHECK_FAILED = (
        "min_notional_check_failed", "exchange_sizing", "The notional is below the symbol's minimum.",
        "Send a larger quantity, or set allow_upsize.",
    )  # fmt: skip
    MARK_PRICE_UNAVAILABLE = (
        "mark_price_unavailable", "exchange_sizing", "No mark price newer than mark_price_max_age_s.",
        "Check the connection to the exchange.",
    )  # fmt: skip
    INFEASIBLE_SIZING = (
        "infeasible_sizing", "exchange_sizing", "The smallest legal order is above the per-trade cap.",
        "Raise max_notional_per_trade_usdt, or drop the symbol.",
    )  # fmt: skip
    SYMBOL_NOT_TRADING = (
        "symbol_not_trading", "exchange_sizing", "The exchange does not allow opens on the symbol now.",
        "Wait for status TRADING.",
    )  # fmt: skip
    PARTIAL_ROUNDS_TO_ZERO = (
        "partial_rounds_to_zero", "exchange_sizing", "The part to close is smaller than one step.",
        "Close the whole position instead.",
    )  # fmt: skip

    # -- claim and settle
    SYMBOL_IN_FLIGHT = (
        "symbol_in_flight", "claim", "An order of ours was in flight on the symbol until the age limit.",
        "Look at that order's plan with `quantum-trader why SYMBOL`.",
    )  # fmt: skip
    REDIS_FULL = (
        "redis_full", "claim", "Redis has reached its maxmemory; opens stop, exits go on.",
        "Free memory, or raise maxmemory.",
    )  # fmt: skip
    LEVERAGE_NOT_SET = (
        "leverage_not_set", "send", "The plan's leverage could not be set, so no order was sent.",
        "Close the position first, or leave leverage out.",
    )  # fmt: skip
    EXCHANGE_REJECTED = (
        "exchange_rejected", "send", "The exchange refused the order; `error` has its code and words.",
        "See the code in `error`.",
    )  # fmt: skip
    NOT_SENT = (
        "not_sent", "send", "The exchange could not be reached; not one byte of the order left.",
        "Check the connection; send the plan again if you still want it.",
    )  # fmt: skip
    NOT_PLACED = (
        "not_placed", "settle", "The outcome was unknown and is now proven: the order was never accepted.",
        "Send a new plan if you still want it.",
    )  # fmt: skip
    NO_FILL = (
        "no_fill", "settle", "The exchange ended the order without any fill.",
        "Check the symbol's liquidity; send a new plan if you still want it.",
    )  # fmt: skip
    INTERNAL_ERROR = (
        "internal_error", "", "The engine met a bug of its own before anything was claimed.",
        "Report it with the log lines of that plan.",
    )  # fmt: skip
    EXIT_UNSIZED = (
        "exit_unsized", "exchange_sizing", "No position read could be had until the exit's age limit.",
        "Check the exchange's reachability with `quantum-trader doctor`, then send the close again.",
    )  # fmt: skip


INVALID_PREFIX = "invalid_"
DECISION_PREFIX = "decision_"


def invalid(field: str) -> str:
    """Return the reason ``invalid_<field>`` for a plan field that cannot be accepted."""
    return f"{INVALID_PREFIX}{field}"


_BY_CODE: dict[str, Reason] = {reason.value: reason for reason in Reason}


def reason_of(code: str) -> Reason | None:
    """Return the reason with this code; None for the two families and for codes never used."""
    return _BY_CODE.get(code)
