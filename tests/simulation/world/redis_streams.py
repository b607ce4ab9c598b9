"""Streams and consumer groups of the Redis stand-in, as far as the stores use them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

Id = tuple[int, int]
LAST: Id = (2**64 - 1, 2**64 - 1)


@dataclass
class Pending:
    """One entry that was delivered and not acknowledged."""

    consumer: bytes
    delivered_ms: int
    deliveries: int = 1


@dataclass
class Group:
    """A consumer group: how far it has read, and what is still open."""

    last: Id
    pending: dict[Id, Pending] = field(default_factory=dict)
    consumers: set[bytes] = field(default_factory=set)
    read: int | None = None  # how many entries it has read since the stream began; None: not known

    def clone(self) -> Group:
        pending = {
            name: Pending(one.consumer, one.delivered_ms, one.deliveries)
            for name, one in self.pending.items()
        }
        return Group(self.last, pending, set(self.consumers), self.read)


@dataclass
class Stream:
    """Entries in the order of their ids; fields are flat lists of names and values."""

    ids: list[Id] = field(default_factory=list)
    entries: dict[Id, list[bytes]] = field(default_factory=dict)
    last: Id = (0, 0)
    added: int = 0
    groups: dict[bytes, Group] = field(default_factory=dict)

    def clone(self) -> Stream:
        groups = {name: group.clone() for name, group in self.groups.items()}
        return Stream(list(self.ids), dict(self.entries), self.last, self.added, groups)

    def next_id(self, now_ms: int) -> Id:
        """The id that ``*`` gives now."""
        return (now_ms, 0) if now_ms > self.last[0] else (self.last[0], self.last[1] + 1)

    def append(self, entry_id: Id, fields: list[bytes]) -> None:
        self.ids.append(entry_id)
        self.entries[entry_id] = fields
        self.last = entry_id
        self.added += 1

    def drop_first(self, count: int) -> int:
        """Trim the oldest entries; returns how many went."""
        gone, self.ids = self.ids[:count], self.ids[count:]
        for entry_id in gone:
            del self.entries[entry_id]
        return len(gone)

    def between(self, first: Id, last: Id) -> list[Id]:
        """Ids from ``first`` to ``last``, both included."""
        return self.ids[bisect_left(self.ids, first) : bisect_right(self.ids, last)]

    def reads_in_all(self, group: Group) -> int | None:
        """How many of all entries ever added a group has read or missed; None: not known."""
        if group.read is not None:
            return group.read
        return self._distance(group.last)

    def count_read(self, group: Group, entry_id: Id) -> None:
        """Note that a group reads one entry more."""
        has_gap = group.read is None or self._has_gap(group)
        group.read = self._distance(entry_id) if has_gap else (group.read or 0) + 1
        group.last = entry_id

    def _has_gap(self, group: Group) -> bool:
        """Whether entries were trimmed away that the group had not read."""
        return not self.ids or group.last < self.ids[0]

    def _distance(self, entry_id: Id) -> int | None:
        if not self.ids or entry_id == self.last:
            return self.added
        if entry_id <= self.ids[0]:
            return self.added - len(self.ids) + (entry_id == self.ids[0])
        return None

    def after(self, entry_id: Id) -> list[Id]:
        """Ids above ``entry_id``."""
        return self.ids[bisect_right(self.ids, entry_id) :]


def parse_id(text: bytes, *, missing_sequence: int = 0) -> Id:
    """Read ``ms-seq``, ``ms``, ``-`` or ``+``."""
    if text == b"-":
        return (0, 0)
    if text == b"+":
        return LAST
    ms, _, sequence = text.partition(b"-")
    return int(ms), int(sequence) if sequence else missing_sequence


def format_id(entry_id: Id) -> bytes:
    """Return the id as Redis writes it."""
    return b"%d-%d" % entry_id
