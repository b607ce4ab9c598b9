"""Reading the result stream (SPEC 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys

PAGE = 500


def entries_of(reply: Any) -> list[tuple[str, dict[bytes, bytes]]]:
    """Return (id, fields) of a read of one stream, in the shape of either protocol version or none."""
    if not reply:
        return []
    batches = reply.values() if isinstance(reply, dict) else [entries for _, entries in reply]
    flat: list[Any] = []
    for batch in batches:
        flat += batch[0] if isinstance(reply, dict) and batch and isinstance(batch[0], list) else batch
    return [(name.decode(), _paired(fields)) for name, fields in flat]


def _paired(fields: Any) -> dict[bytes, bytes]:
    """Return an entry's fields; those of one that was deleted meanwhile are empty."""
    return dict(zip(fields[::2], fields[1::2], strict=True)) if isinstance(fields, list) else fields or {}


def as_text(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return a stream entry's fields as text."""
    return {name.decode(): value.decode() for name, value in fields.items()}


async def result_of(database: Database, keys: Keys, plan_id: str, newest: int) -> Mapping[str, str] | None:
    """Look for the result of ``plan_id`` among the ``newest`` entries, newest first."""
    end, left = "+", newest
    while left > 0:
        page: Any = await database.client.xrevrange(keys.results, max=end, count=min(PAGE, left))
        for _, fields in page:
            if fields[b"plan_id"].decode() == plan_id:
                return as_text(fields)
        if len(page) < PAGE:
            return None
        left, end = left - len(page), f"({page[-1][0].decode()}"
    return None
