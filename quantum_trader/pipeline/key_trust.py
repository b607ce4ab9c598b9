"""Whether the exchange takes the API key, for reads and for orders: each is refused, and trusted, by itself.

A key without futures permission, or one used from an address that is not on its allowlist for
trading, still reads. So a good read says nothing of orders; what does is an order of ours that was
accepted, or a probe, which the exchange checks like an order and never places.
"""

from __future__ import annotations

import structlog

from quantum_trader.domain.order import Accepted, Outcome, Rejected
from quantum_trader.exchange.codes import Refusal
from quantum_trader.exchange.errors import ExchangeError, ExchangeRefused, KeyRefused, key_advice

ABOUT_THE_ORDER = frozenset(
    {Refusal.MARGIN, Refusal.PRECISION, Refusal.POSITION_MODE, Refusal.OPENING_FORBIDDEN}
)
"""Refusals that only a key which may order is given."""
CURE = "run `quantum-trader doctor`"

log = structlog.get_logger()


class KeyTrust:
    """-2014 and -2015 stop opens until what was refused is accepted; exits are always tried (SPEC 7)."""

    def __init__(self) -> None:
        self.reads = True
        self.orders = True

    @property
    def is_complete(self) -> bool:
        """Whether neither reads nor orders are refused."""
        return self.reads and self.orders

    def read_refused(self, refused: KeyRefused) -> None:
        """Note that a signed read was refused."""
        if self.reads:
            self.reads = False
            log.error("keys_refused", error=str(refused), cure=CURE)

    def read_accepted(self) -> None:
        """Note that a signed read was answered."""
        if not self.reads:
            self.reads = True
            log.info("keys_accepted_again", by="a read")

    def order_answered(self, outcome: Outcome) -> None:
        """Note what the answer to an order of ours says about the key."""
        if isinstance(outcome, Accepted):
            self._order_accepted("an order")
        elif isinstance(outcome, Rejected) and (advice := key_advice(outcome.code, outcome.http_status)):
            self._order_refused(f"{outcome.code} {outcome.message} ({advice})")

    def change_failed(self, failed: ExchangeError) -> None:
        """Note what a change that was not confirmed, or a probe, says about the key."""
        if isinstance(failed, KeyRefused):
            self._order_refused(str(failed))
        elif isinstance(failed, ExchangeRefused) and failed.refusal in ABOUT_THE_ORDER:
            self._order_accepted("a refusal that is about the order")

    def probe_passed(self) -> None:
        """Note that the exchange would have taken an order."""
        self._order_accepted("a probe")

    def _order_refused(self, error: str) -> None:
        if self.orders:
            self.orders = False
            log.error("keys_refused", error=error, cure=CURE)

    def _order_accepted(self, by: str) -> None:
        if not self.orders:
            self.orders = True
            log.info("keys_accepted_again", by=by)
