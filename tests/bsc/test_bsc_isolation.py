"""What BSC and the pipeline can reach have the transport in common, and nothing else (SPEC 10)."""

from __future__ import annotations

import asyncio
import functools
import logging
import types
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from support.house import engine_config, exchange

from quantum_trader.app import App
from quantum_trader.bsc.service import BscService
from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.entry_port import RestEntryPort
from quantum_trader.pipeline.runner import PlanRunner

ATOMS = (
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
    type,
    types.ModuleType,
    Path,
    Enum,
    logging.Logger,
)
OURS = "quantum_trader"


def parts_of(thing: Any) -> Iterator[Any]:
    """Yield what ``thing`` holds: attributes, slots, items, and what functions close over."""
    if isinstance(thing, types.MethodType):
        yield thing.__self__
        return
    if isinstance(thing, types.FunctionType):
        yield from (cell.cell_contents for cell in thing.__closure__ or ())
        return
    if isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
        return
    if isinstance(thing, dict):
        yield from thing.values()
    elif isinstance(thing, (list, tuple, set, frozenset)):
        yield from thing
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            mangled = f"_{kind.__name__}{name}" if name.startswith("__") else name
            if hasattr(thing, mangled):
                yield getattr(thing, mangled)
    yield from getattr(thing, "__dict__", {}).values()


def reachable(starts: Iterable[Any]) -> dict[int, Any]:
    """Return every object of this package's classes, and every container, that ``starts`` lead to."""
    found: dict[int, Any] = {}
    waiting = list(starts)
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, ATOMS) or id(thing) in found:
            continue
        module = type(thing).__module__
        if not (
            module.startswith(OURS)
            or isinstance(thing, (dict, list, tuple, set, types.FunctionType, types.MethodType))
        ):
            continue
        found[id(thing)] = thing
        waiting += list(parts_of(thing))
    return found


async def test_bsc_and_the_pipeline_share_the_transport_and_nothing_else(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("BINANCE_TESTNET_API_KEY", "drill-key")
    monkeypatch.setenv("BINANCE_TESTNET_API_SECRET", "drill-secret")
    async with exchange() as (_, url):
        app = App(engine_config(tmp_path, url))
        await app.start()
        try:
            assert app._bsc is not None
            assert app._joined is not None
            assert app._exchange is not None
            await asyncio.sleep(0)
            bsc = reachable([app._bsc])
            pipeline = reachable([app._joined])
            transport = reachable([app._exchange._transport])
        finally:
            await app.stop()
    kinds = {type(thing) for thing in bsc.values()}
    assert BscService in kinds
    assert RestEntryPort not in {type(bsc[each]) for each in bsc.keys() - transport.keys()}
    assert PlanRunner not in kinds
    shared = [
        thing
        for each, thing in bsc.items()
        if each in pipeline
        and each not in transport
        and not isinstance(thing, (SystemClock, types.FunctionType))
    ]
    assert [type(thing).__name__ for thing in shared if type(thing).__module__.startswith(OURS)] == []
