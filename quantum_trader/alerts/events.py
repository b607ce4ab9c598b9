"""Which events of the engine and of BSC are alerts, and in which words."""

from __future__ import annotations

from collections.abc import Mapping

from quantum_trader.alerts.desk import Alert
from quantum_trader.alerts.kinds import AlertKind

OF_EVENTS: Mapping[str, tuple[AlertKind, str]] = {
    "BSC_FORCE_CLOSE": (
        AlertKind.BSC_CLOSE,
        "BSC closed {symbol} ({reason}), pnl {pnl_pct} %, age {age_h} h",
    ),
    "BSC_CLOSE_FAILED": (AlertKind.BSC_CLOSE_FAILED, "BSC could not close {symbol} ({reason}): {error}"),
    "BSC_BLIND": (AlertKind.BSC_BLIND, "BSC does not see the account"),
    "BSC_DEMOTED": (AlertKind.BSC_DEMOTED, "BSC may close nothing any more: {because}"),
    "FOREIGN_ORDER": (
        AlertKind.FOREIGN_ORDER,
        "an order on {symbol} that no part of this engine sent: {client_order_id}",
    ),
    "PLANS_LOST": (AlertKind.PLANS_LOST, "plans were trimmed from the stream before they were settled"),
    "CONFIG_REFUSED": (AlertKind.CONFIG_ERROR, "an edit of the configuration was refused: {error}"),
}
ABOUT = ("symbol", "client_order_id", "error")


def alert_of(event: Mapping[str, str]) -> Alert | None:
    """Return the alert that an event of the engine or of BSC stands for; None for most."""
    known = OF_EVENTS.get(event.get("event", ""))
    if known is None:
        return None
    kind, text = known
    subject = " ".join(event[name] for name in ABOUT if event.get(name))
    return Alert(kind, text.format_map(_Known(event)), subject)


class _Known(dict[str, str]):
    """Fields of an event; one that is missing is shown as such."""

    def __missing__(self, key: str) -> str:
        return f"unknown {key}"
