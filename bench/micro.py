"""Parts by themselves, inside this process: deciding, the claim's script, the log line, the start."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import hiredis
import structlog
from machine import ROOT, BenchRefused, on_all_cores

sys.path.insert(0, str(ROOT / "tests"))
from support import cases  # the gates' own test cases know what a complete evidence is

from quantum_trader import log
from quantum_trader.domain.exposure import ClaimedExposure
from quantum_trader.domain.result import Ended, Result
from quantum_trader.domain.trading import Leg, Side
from quantum_trader.gates import GateTables
from quantum_trader.pipeline.decide import Chain, decide
from quantum_trader.pipeline.intake import read_entry
from quantum_trader.pipeline.reports import Report, decision_line
from quantum_trader.pipeline.results import verdicts_json
from quantum_trader.stores.claims import ClaimStore, OpenLimits, PlanRecord, StoredOrder
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys

LOOPS = 300
LEASE_KEY = "quantum:engine:lease:bench"
LEASE = "engine-1:7"
ENTRY = {
    b"plan_id": b"bench-1",
    b"decision": b"EXECUTE",
    b"symbol": cases.SYMBOL.encode(),
    b"type": b"MARKET",
    b"source": b"bench",
    b"side": b"BUY",
    b"qty": b"1",
    b"reduceOnly": b"false",
    b"confidence": b"0.9",
    b"kill_score": b"0.1",
}


@dataclass(frozen=True)
class Costs:
    """Medians of one round, µs."""

    decide_us: float
    claim_us: float
    empty_script_us: float
    log_line_us: float
    ten_lines_us: float


def measure(url: str) -> Costs:
    """Measure every part once; the caller repeats."""
    claim_us, empty_us = _scripts(url)
    return Costs(_timed(_decide(), 20), claim_us, empty_us, _log_line_us(), _timed(_ten_lines(), 4))


def _timed(act: Callable[[], object], batch: int) -> float:
    """Median over batches of the time of one ``act``, µs."""
    taken = []
    for _ in range(LOOPS // 10):
        begun = time.perf_counter_ns()
        for _ in range(batch):
            act()
        taken.append((time.perf_counter_ns() - begun) / batch / 1000)
    return statistics.median(taken)


def _decide() -> Callable[[], object]:
    """From the entry's bytes to every gate's verdict as the trace has it."""
    chain = Chain(GateTables().chain(), cases.terms(), "bench")
    stream_id, evidence = f"{cases.NOW_MS - 100}-0", cases.evidence()

    def act() -> object:
        plan = read_entry(stream_id, ENTRY)
        decision = decide(cast("Any", plan), evidence, chain)
        assert decision.allowed, decision.reason
        return verdicts_json(decision)

    return act


class _Recorder:
    """Stands where the database stands and keeps what a script would be given."""

    def __init__(self) -> None:
        self.given: list[tuple[Sequence[str], Sequence[str | bytes | int]]] = []

    async def run(self, _: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> list[bytes]:
        self.given.append((keys, args))
        return [b"ok"]


def _claims(count: int) -> list[tuple[Sequence[str], Sequence[str | bytes | int]]]:
    """What the claim's script is given for ``count`` plans, by the store itself."""
    recorder = _Recorder()
    store = ClaimStore(cast("Database", recorder), Keys(), LEASE_KEY)
    chain = Chain(GateTables().chain(), cases.terms(), "bench")
    decision = decide(cases.plan(), cases.evidence(), chain)
    for number in range(count):
        plan_id, symbol = f"bench-{number}", f"S{number}USDT"
        order = StoredOrder(Leg(symbol), Side.BUY, Decimal(1), f"qt-{number:024}-0", cases.NOW_MS)
        record = PlanRecord(
            plan_id=plan_id,
            stream_id=f"{cases.NOW_MS}-0",
            content_hash="0" * 32,
            fields={name.decode(): value.decode() for name, value in ENTRY.items()},
            is_exit=False,
            effect="OPEN",
            asked=Decimal(1),
            order=order,
            token=7,
            config_hash="bench",
            decided_at_ms=cases.NOW_MS,
            verdicts=verdicts_json(decision),
        )
        limits = OpenLimits(
            exposure=ClaimedExposure(plan_id, Leg(symbol), Decimal(100), Decimal(0), Decimal(10)),
            is_new_leg=True,
            positions_epoch=0,
            account_epoch=0,
            seen={},
            symbol_window_ms=30_000,
            global_per_min=1_000_000,
            per_symbol_5min_max=2,
            per_symbol_hour_max=3,
            required_margin_usdt=Decimal("12.5"),
            available_usdt=Decimal(1_000_000),
            usage_room_usdt=Decimal(1_000_000),
            positions_room=10,
            notional_room_usdt=Decimal(2_000),
            slots_room=4,
        )
        claiming = store.claim(LEASE, record, limits, now_ms=cases.NOW_MS, lock_ttl_ms=60_000)
        try:
            claiming.send(None)
        except StopIteration:
            continue
        raise AssertionError("the recorder answers at once")
    return recorder.given


def _scripts(url: str) -> tuple[float, float]:
    """Round trips of the claim's script and of an empty one, over one bare socket, µs."""
    script = (ROOT / "quantum_trader" / "stores" / "scripts" / "claim.lua").read_text()
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(url.removeprefix("unix://"))
        replies = hiredis.Reader()

        def ask(*words: Any) -> Any:
            wire.sendall(hiredis.pack_command(words))
            return answer()

        def answer() -> Any:
            while (reply := replies.gets()) is False:
                replies.feed(wire.recv(65536))
            if isinstance(reply, Exception):
                raise BenchRefused(f"the claim's script fails: {reply}")
            return reply

        claim, empty = ask("SCRIPT", "LOAD", script), ask("SCRIPT", "LOAD", "return {'ok'}")
        taken: dict[bytes, list[float]] = {claim: [], empty: []}
        for keys, args in _claims(LOOPS):
            ask("SET", LEASE_KEY, LEASE)
            for sha in (claim, empty):
                command = hiredis.pack_command(("EVALSHA", sha, str(len(keys)), *keys, *map(_bytes, args)))
                begun = time.perf_counter_ns()
                wire.sendall(command)
                reply = answer()
                taken[sha].append((time.perf_counter_ns() - begun) / 1000)
                if reply[0] != b"ok":
                    raise BenchRefused(f"the claim was refused: {reply}")
            ask("FLUSHDB")
    return statistics.median(taken[claim]), statistics.median(taken[empty])


def _bytes(argument: str | bytes | int) -> str | bytes:
    return str(argument) if isinstance(argument, int) else argument


def _log_line_us() -> float:
    """The engine's one line of a plan, through its own set-up, to a file that is no file."""
    chain = Chain(GateTables().chain(), cases.terms(), "bench")
    decision = decide(cases.plan(), cases.evidence(), chain)
    verdicts = verdicts_json(decision)  # the trace's, made in any case
    result = Result(
        "bench-1", Ended.FILLED, "filled", cases.NOW_MS, "testnet", cases.SYMBOL, "BUY", effect="OPEN"
    )
    report = Report(result, result.as_fields("{}"), decision, verdicts)  # likewise
    with redirect_stdout(io.StringIO()) as sink:
        log.set_up("info", "json")

        def act() -> None:
            log.tell("decision", [(cases.NOW_MS, decision_line(report))])
            sink.seek(0)

        return _timed(act, 20)


def _ten_lines() -> Callable[[], object]:
    """Ten lines of structlog in its usual set-up, as the naive engine writes them."""
    sink = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.PrintLogger(cast("Any", sink)),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
    )
    evidence = {"notional": Decimal(100), "projected": Decimal(300)}

    def act() -> None:
        for _ in range(10):
            logger.info(
                "gate", plan_id="bench-1", symbol="SOLUSDT", ruling="pass", code="pass", evidence=evidence
            )
        sink.seek(0)

    return act


def start_s(folder: Path) -> float:
    """Seconds from a shell's command to "ready": paper mode, embedded server and exchange."""
    folder.mkdir(parents=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "QT_MODE": "paper",
        "QT_STATE_DIR": str(folder / "state"),
    }
    words = [sys.executable, "-m", "quantum_trader", "run"]
    begun = time.monotonic()
    with on_all_cores():
        process = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, cwd=ROOT)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                return time.monotonic() - begun
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    raise BenchRefused("the engine in paper mode ended before it was ready")
