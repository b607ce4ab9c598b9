"""Client order ids that this account's engine has used, so that a reused plan id is recognised."""

from __future__ import annotations

from array import array

REMEMBERED_MIN = 50_000
"""So many of the newest ids are remembered at least, and up to twice as many."""
_SLOTS = 1 << 17
_WORD = (1 << 64) - 1


class SentOrders:
    """The newest used ids with the wall time (ms) of their first use; older ones are forgotten.

    The archive in ``state_dir`` fills it at start; for a forgotten one the exchange is the judge.
    Memory is the same from the first id to the last: a dict of so many would take 25 MB.
    """

    def __init__(self) -> None:
        self._newer, self._older = _Table(), _Table()

    def __len__(self) -> int:
        return self._newer.count + self._older.count

    def get(self, client_order_id: str) -> int | None:
        """Return when the id was first used; None when it is not remembered."""
        key = _key(client_order_id)
        newer = self._newer.get(key)
        return self._older.get(key) if newer is None else newer

    def setdefault(self, client_order_id: str, sent_ms: int) -> None:
        """Remember a used id, unless it is already."""
        if self.get(client_order_id) is not None:
            return
        if self._newer.count == REMEMBERED_MIN:
            self._newer, self._older = _Table(), self._newer
        self._newer.put(_key(client_order_id), sent_ms)


class _Table:
    """Words to times, by open addressing; at most ``REMEMBERED_MIN`` of ``_SLOTS`` are taken."""

    def __init__(self) -> None:
        self._keys = array("Q", bytes(8 * _SLOTS))
        self._times_ms = array("q", bytes(8 * _SLOTS))
        self.count = 0

    def get(self, key: int) -> int | None:
        slot = self._slot(key)
        return self._times_ms[slot] if self._keys[slot] else None

    def put(self, key: int, time_ms: int) -> None:
        slot = self._slot(key)
        self._keys[slot], self._times_ms[slot] = key, time_ms
        self.count += 1

    def _slot(self, key: int) -> int:
        """Return where ``key`` is, or would be."""
        slot = key % _SLOTS
        while self._keys[slot] not in (0, key):
            slot = (slot + 1) % _SLOTS
        return slot


def _key(client_order_id: str) -> int:
    """Return a word for the id; one in 10^14 lookups takes a new id for a used one, and blocks its plan."""
    return hash(client_order_id) & _WORD or 1
