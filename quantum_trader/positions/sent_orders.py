"""Client order ids that this account's engine has used, so that a reused plan id is recognised."""

from __future__ import annotations

from collections import OrderedDict

REMEMBERED_MAX = 100_000


class SentOrders:
    """The newest used ids with the wall time (ms) of their first use; older ones are forgotten.

    The archive in ``state_dir`` fills it at start; for a forgotten one the exchange is the judge.
    """

    def __init__(self) -> None:
        self._first_ms: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._first_ms)

    def get(self, client_order_id: str) -> int | None:
        """Return when the id was first used; None when it is not remembered."""
        return self._first_ms.get(client_order_id)

    def setdefault(self, client_order_id: str, sent_ms: int) -> None:
        """Remember a used id, unless it is already."""
        self._first_ms.setdefault(client_order_id, sent_ms)
        if len(self._first_ms) > REMEMBERED_MAX:
            self._first_ms.popitem(last=False)
