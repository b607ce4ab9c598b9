"""Orders of plans that are not settled yet, mirrored in ``state_dir`` (SPEC 2, 7.8, INC-18).

Redis is where claims are taken; it may fail over, be emptied or be lost. So before the first byte
of an order is sent, the plan's record and claim are appended here as well, and they leave with the
plan's result. Three kinds of lines, of which later ones win:

- ``record`` and ``claim``: an order of this plan may be sent from now on; once for every order of an
  exit and for every new signature;
- ``settled``: the plan has its result; ``ms`` is when, and its client order ids count as used;
- ``floor``: the oldest stream id that is not settled, where a group made anew begins.

A line that was cut off, or that nobody of ours wrote, is passed over. The file is made anew, with
what still counts, after every ``REWRITE_AFTER_BYTES``; its first line then has the newest
``USED_KEPT`` order ids (``used``): the archive, which keeps them for 30 days, writes them later and
in a thread of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from quantum_trader.stores.claims import PlanRecord
from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.line_file import DiskLines, LineFile

FILE_NAME = "unsettled.jsonl"
REWRITE_AFTER_BYTES = 1 << 20
USED_KEPT = 2_000
FLOOR_EVERY_MS = 1_000  # where a group is made anew, it begins five seconds before its floor

log = structlog.get_logger()


@dataclass(slots=True)
class Unsettled:
    """What is mirrored of one plan: its record, its claim as stored, every client order id it used."""

    record: PlanRecord
    claim: bytes
    orders: list[str] = field(default_factory=list)


class Mirror:
    """One engine's unsettled orders; the one writer of its file."""

    def __init__(self, file: LineFile) -> None:
        self._file = file
        self._unsettled: dict[str, Unsettled] = {}
        self._used: OrderedDict[str, int] = OrderedDict()
        self._bytes_since_rewrite = 0
        self._floor_written_ms = 0
        self.floor = ""

    @classmethod
    def on_disk(cls, state_dir: Path) -> Mirror:
        """Return the mirror of ``state_dir``, not read yet."""
        return cls(DiskLines(state_dir / FILE_NAME))

    @property
    def unsettled(self) -> tuple[Unsettled, ...]:
        """Every plan that may have sent an order and has no result yet."""
        return tuple(self._unsettled.values())

    @property
    def used_orders_ms(self) -> Mapping[str, int]:
        """The newest client order ids that were used, with the wall time (ms) of their plan's end."""
        return self._used

    def holds(self, plan_id: str) -> bool:
        """Whether ``plan_id`` may have sent an order and has no result yet."""
        return plan_id in self._unsettled

    def load(self) -> None:
        """Take over what a former life left, and make the file anew. Raises ``OSError``."""
        for line in self._file.read().splitlines():
            try:
                self._take(decode(line))
            except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as broken:
                log.warning("mirror_line_unreadable", error=f"{type(broken).__name__}: {broken}")
        self._rewrite()

    def keep(self, record: PlanRecord, claim: bytes) -> None:
        """Mirror an order that is about to be sent. Raises ``OSError``: then nothing is mirrored."""
        line = _line_of(record, claim)
        self._file.append(line)
        self._bytes_since_rewrite += len(line)
        self._hold(record, claim)

    def settle(self, plan_id: str, now_ms: int, floor: str = "") -> None:
        """Let go of a plan that has its result, and move the floor; by itself that is written once a second.

        A disk that refuses is logged: Redis has the result, and a restart finds it there.
        """
        self.floor = floor or self.floor
        if plan_id not in self._unsettled and abs(now_ms - self._floor_written_ms) < FLOOR_EVERY_MS:
            return
        self._floor_written_ms = now_ms
        line = encode(self._settled_line(plan_id, now_ms, self.floor))
        self._end(plan_id, now_ms)
        try:
            self._file.append(line)
            self._bytes_since_rewrite += len(line)
            if self._bytes_since_rewrite > REWRITE_AFTER_BYTES:
                self._rewrite()
        except OSError as full:
            log.critical(
                "mirror_unwritten", plan_id=plan_id, error=str(full), cure="free the disk of state_dir"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _take(self, line: Mapping[str, Any]) -> None:
        if "record" in line:
            self._hold(PlanRecord.from_json(encode(line["record"])), line["claim"].encode())
        if "used" in line:
            self._used.update({str(name): int(ms) for name, ms in line["used"].items()})
        if "settled" in line:
            self._end(line["settled"], int(line["ms"]))
        self.floor = str(line.get("floor", self.floor))

    def _hold(self, record: PlanRecord, claim: bytes) -> None:
        before = self._unsettled.get(record.plan_id)
        earlier = before.orders if before is not None else record.settled_orders
        orders = dict.fromkeys([*earlier, record.order.client_order_id])
        self._unsettled[record.plan_id] = Unsettled(record, claim, list(orders))

    def _end(self, plan_id: str, now_ms: int) -> None:
        ended = self._unsettled.pop(plan_id, None)
        for name in ended.orders if ended is not None else ():
            self._used[name] = now_ms
            if len(self._used) > USED_KEPT:
                self._used.popitem(last=False)

    def _settled_line(self, plan_id: str, now_ms: int, floor: str) -> dict[str, Any]:
        if plan_id not in self._unsettled:
            return {"floor": floor}
        return {"settled": plan_id, "ms": now_ms, "floor": floor}

    def _rewrite(self) -> None:
        lines = [encode({"used": self._used, "floor": self.floor})]
        lines += [_line_of(held.record, held.claim) for held in self._unsettled.values()]
        self._file.replace(b"\n".join(lines) + b"\n")
        self._bytes_since_rewrite = 0


def _line_of(record: PlanRecord, claim: bytes) -> bytes:
    return b'{"record":' + record.as_json() + b',"claim":' + encode(claim.decode()) + b"}"
