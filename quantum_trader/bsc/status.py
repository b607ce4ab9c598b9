"""What ``quantum-trader bsc status`` shows: written by the watch after every poll, readable without Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from quantum_trader.bsc import limits
from quantum_trader.bsc.exits import Breach, Measures, Reading, Trigger, Watched, measure
from quantum_trader.bsc.health import Health
from quantum_trader.bsc.records import read_record, write_record
from quantum_trader.domain.result import plain
from quantum_trader.domain.trading import PositionSide

FILE = "status.json"
OUTDATED_MS = limits.HEALTH_TTL_S * 1_000
SHOWN_PLACES = {"pnl": Decimal("0.01"), "margin": Decimal("0.001"), "age": Decimal("0.1")}


@dataclass(frozen=True, slots=True)
class StatusFile:
    """``state_dir/bsc/status.json``."""

    folder: Path

    def write(self, status: Mapping[str, Any]) -> None:
        """Replace it. Raises ``OSError``."""
        write_record(self.folder / FILE, status)

    def read(self) -> dict[str, Any] | None:
        """Return it; None if BSC never ran here. Raises ``RecordUnreadable``."""
        return read_record(self.folder / FILE)


def self_description() -> dict[str, Any]:
    """Return what is always true of BSC: what it may do, how, and when."""
    return {
        "scope": "EXIT_ONLY",
        "method": "MARKET closes of 100 % of a position, reduce-only, on what the exchange itself says",
        "triggers": [trigger.value for trigger in Trigger],
        "thresholds": thresholds(),
        "fail_mode": "OPEN",
    }


def thresholds() -> dict[str, str]:
    """Return the three fixed limits: a share of entry in %, hours, a share of the margin."""
    return {
        "max_loss_pct": str(limits.MAX_LOSS_PCT),
        "max_duration_h": str(limits.MAX_DURATION_H),
        "max_margin": str(limits.MAX_MARGIN),
    }


def status_of(health: Health, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return the whole status; ``rows`` are the positions of the last look."""
    return {**self_description(), **health.as_fields(), "positions": rows, **more}


def position_row(watched: Watched, reading: Reading, breach: Breach | None) -> dict[str, Any]:
    """Return one position with its numbers, "" where one is not known."""
    position, measures = watched.position, measure(watched, reading)
    return {
        "symbol": position.leg.symbol,
        "position_side": position.leg.side.value,
        "amount": plain(position.amount),
        "entry_price": plain(position.entry_price),
        "unrealized_pnl": plain(position.unrealized_pnl_usdt),
        "margin_type": "isolated" if position.is_isolated else "cross",
        **measures_as_text(measures),
        "breach": breach.trigger.value if breach is not None else "",
    }


def measures_as_text(measures: Measures) -> dict[str, str]:
    """Return the three measures as text, rounded for people."""
    return {
        "pnl_pct": _shown(measures.pnl_pct, "pnl"),
        "margin_ratio": _shown(measures.margin_ratio, "margin"),
        "age_h": _shown(measures.age_h, "age"),
    }


def position_line(watched: Watched, reading: Reading, breach: Breach | None) -> str:
    """Return the line of SPEC 10: ``SOLUSDT: amt=6.87 pnl=-1.20 margin=0.312 age=5.1h within limits``."""
    position, text = watched.position, measures_as_text(measure(watched, reading))
    side = "" if position.leg.side is PositionSide.BOTH else f" {position.leg.side.value}"
    age = f"{text['age_h']}h" if text["age_h"] else "?"
    verdict = breach.trigger.value if breach is not None else "within limits"
    return (
        f"{position.leg.symbol}{side}: amt={plain(position.amount)} pnl={text['pnl_pct'] or '?'} "
        f"margin={text['margin_ratio']} age={age} {verdict}"
    )


def _shown(number: Decimal | None, kind: str) -> str:
    if number is None:
        return ""
    return f"{number.quantize(SHOWN_PLACES[kind]):f}" if number.is_finite() else "inf"
