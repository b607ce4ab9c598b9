"""BSC's limits: constants of the code, in no configuration (SPEC 10). The audit pins every one."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

MAX_LOSS_PCT: Final = Decimal("-3.0")
"""Unrealised PnL in % of the entry notional, at or below which a position is closed."""
MAX_DURATION_H: Final = Decimal(72)
"""Hours since the opening fill, from which on a position is closed."""
MAX_MARGIN: Final = Decimal("0.85")
"""Maintenance margin / margin balance, from which on a position is closed."""
POLL_S: Final = 60.0
LIFESPAN_DAYS: Final = 30
WARNING_FROM_DAY: Final = 22
EXTENSION_DAYS_MAX: Final = 30
CLOSE_TRIES: Final = 3
CLOSE_PAUSE_S: Final = 2.0
BLIND_AFTER_POLLS: Final = 3
LOOP_BLOCKED_S: Final = 30
HEALTH_TTL_S: Final = 180
