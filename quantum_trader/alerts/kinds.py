"""The alerts that exist: their names, how urgent they are, and what to do first (SPEC 13).

docs/alerts.md has one section for each; a test holds the two together.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class AlertKind(StrEnum):
    """Names for ``alerts.events``; each is sent when its condition begins, not while it lasts."""

    advice: str
    is_grave: bool

    def __new__(cls, value: str, advice: str, is_grave: bool = True) -> Self:  # noqa: FBT001, FBT002
        """Keep the first thing to do, and whether money is in danger, beside the name."""
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.advice = advice
        kind.is_grave = is_grave
        return kind

    KILL = "kill", "find out who halted and why; then `quantum-trader resume --reason`"
    SAFE_MODE = "safe_mode", "see why margin was short: `quantum-trader why SYMBOL`"
    DISARMED = "disarmed", "read the reason, mend it, then `quantum-trader arm --reason`"
    BSC_CLOSE = "bsc_close", "look at the position's history: a limit was reached that the engine let pass"
    BSC_CLOSE_FAILED = "bsc_close_failed", "close it by hand: `quantum-trader close SYMBOL`"
    BSC_BLIND = "bsc_blind", "positions are unwatched: check the exchange and the keys with `doctor`"
    BSC_DEMOTED = "bsc_demoted", "run `quantum-trader bsc audit`, then `quantum-trader bsc extend`"
    UNKNOWN_OUTCOME = (
        "unknown_outcome",
        "look for the order on the exchange; its symbol opens nothing now",
    )
    EXPIRED_EXIT = "expired_exit", "the position is still there: `quantum-trader close SYMBOL`"
    EXIT_FAILED = "exit_failed", "the position is still there: `quantum-trader close SYMBOL`"
    FOREIGN_ORDER = "foreign_order", "someone else trades this account: check its API keys"
    LOW_MARGIN = "low_margin", "reduce positions or add margin"
    LAG = "lag", "see what the engine waits for: `quantum-trader status`, then the logs", False
    NO_EXECUTIONS = "no_executions", "`quantum-trader why SYMBOL` names what stops opens", False
    CONFIG_ERROR = "config_error", "mend config.toml; the old configuration stays in force", False
    PLANS_LOST = "plans_lost", "somebody trims the plan stream; submit what is still wanted again"
    NOT_READY = "not_ready", "`quantum-trader doctor` says what is wrong and the cure"
