"""The mirror of unsettled orders: what it holds, what outlives a death, what a broken disk does."""

from __future__ import annotations

import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.cases import NOW_MS
from support.claims import record

from quantum_trader.domain.order import client_order_id
from quantum_trader.stores.line_file import DiskLines
from quantum_trader.stores.mirror import FILE_NAME, REWRITE_AFTER_BYTES, USED_KEPT, Mirror

CLAIM = b'{"kind":"open","symbol":"SOLUSDT","leg":"SOLUSDT"}'


def loaded(folder: Path) -> Mirror:
    mirror = Mirror.on_disk(folder)
    mirror.load()
    return mirror


class FullDisk:
    """A file on a disk that has no room left."""

    def read(self) -> bytes:
        return b""

    def append(self, line: bytes) -> None:
        del line
        raise OSError("no space left on device")

    def replace(self, content: bytes) -> None:
        del content

    def close(self) -> None:
        """Nothing to let go of."""


def test_inc_18_an_order_about_to_be_sent_is_there_after_a_restart(tmp_path: Path) -> None:
    one = record("plan-1")
    loaded(tmp_path).keep(one, CLAIM)
    held = loaded(tmp_path).unsettled
    assert [(each.record, each.claim) for each in held] == [(one, CLAIM)]


def test_what_a_killed_process_appended_is_there(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from quantum_trader.stores.line_file import DiskLines;"
        f'DiskLines(Path({str(tmp_path / FILE_NAME)!r})).append(b\'{{"floor":"7-0"}}\');'
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path.cwd())  # noqa: S603  # our own
    assert killed.returncode == -signal.SIGKILL
    assert loaded(tmp_path).floor == "7-0"


def test_the_newest_record_of_a_plan_counts_and_all_its_orders_are_used_at_its_end(tmp_path: Path) -> None:
    mirror, first = loaded(tmp_path), record("exit-1", is_exit=True, effect="CLOSE", side="SELL")
    second_order = replace(first.order, number=1, client_order_id=client_order_id("exit-1", 1))
    second = replace(first, order=second_order, settled_orders=[first.order.client_order_id])
    mirror.keep(first, CLAIM)
    mirror.keep(second, CLAIM)
    assert [each.record for each in loaded(tmp_path).unsettled] == [second]
    mirror = loaded(tmp_path)
    mirror.settle("exit-1", NOW_MS)
    assert dict(loaded(tmp_path).used_orders_ms) == {
        client_order_id("exit-1"): NOW_MS,
        client_order_id("exit-1", 1): NOW_MS,
    }


def test_a_settled_plan_is_let_go_and_the_floor_moves(tmp_path: Path) -> None:
    mirror = loaded(tmp_path)
    mirror.keep(record("plan-1"), CLAIM)
    mirror.settle("plan-1", NOW_MS, "12-3")
    mirror.settle("never-claimed", NOW_MS + 999, "13-0")
    assert mirror.floor == "13-0"
    assert "13-0" not in (tmp_path / FILE_NAME).read_text()  # by itself it is written once a second
    mirror.settle("never-claimed", NOW_MS + 1000, "13-0")
    again = loaded(tmp_path)
    assert (again.unsettled, again.floor, again.holds("plan-1")) == ((), "13-0", False)


def test_lines_that_were_cut_off_or_made_by_others_are_passed_over(tmp_path: Path) -> None:
    mirror = loaded(tmp_path)
    mirror.keep(record("plan-1"), CLAIM)
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b'{"record": 7, "claim": ""}\n[]\nnonsense\n{"settled": "plan-1", "ms"')
    late = DiskLines(tmp_path / FILE_NAME)
    late.append(b'{"floor":"5-0"}')
    again = loaded(tmp_path)
    assert [each.record.plan_id for each in again.unsettled] == ["plan-1"]
    assert again.floor == "5-0"


def test_the_file_is_bounded_and_forgets_nothing_unsettled(tmp_path: Path) -> None:
    mirror = loaded(tmp_path)
    mirror.keep(record("waits"), CLAIM)
    for number in range(USED_KEPT + 500):
        mirror.keep(record(f"plan-{number}"), CLAIM)
        mirror.settle(f"plan-{number}", NOW_MS + number)
    assert (tmp_path / FILE_NAME).stat().st_size < 2 * REWRITE_AFTER_BYTES
    again = loaded(tmp_path)
    assert [each.record.plan_id for each in again.unsettled] == ["waits"]
    assert len(again.used_orders_ms) == USED_KEPT
    assert client_order_id(f"plan-{USED_KEPT + 499}") in again.used_orders_ms


def test_a_full_disk_refuses_to_keep_and_lets_settling_go_on() -> None:
    mirror = Mirror(FullDisk())
    with pytest.raises(OSError, match="no space"):
        mirror.keep(record("plan-1"), CLAIM)
    assert mirror.unsettled == ()
    mirror.settle("plan-1", NOW_MS, "9-0")
    assert mirror.floor == "9-0"


def test_money_and_quantities_come_back_as_they_were(tmp_path: Path) -> None:
    one = record("plan-1", asked=Decimal("0.1000000000000000055"))
    loaded(tmp_path).keep(one, CLAIM)
    assert loaded(tmp_path).unsettled[0].record.asked == Decimal("0.1000000000000000055")
