"""Submits plans and waits for results; the way there is Redis or HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from quantum_trader.client.plans import PlanRequest, PlanResult

WAIT_S = 90.0


class Unreachable(Exception):
    """The engine's Redis or HTTP gave no answer. The plan may stand on the stream: send the same id again."""


class NotAccepted(Exception):
    """The request was refused before it became a plan; ``field`` names what is wrong, if one field is."""

    def __init__(self, status: int, error: str, field: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.field = field
        self.retry_after_s = retry_after_s


class NoResult(Exception):
    """No result came in time. The plan may still be carried out: ask for its id again."""


class Way(Protocol):
    """How plans get to the engine and results back."""

    async def put(self, fields: Mapping[str, str]) -> None:
        """Hand over a plan; raises ``NotAccepted`` or ``Unreachable``."""
        ...

    async def result(self, plan_id: str, wait_s: float) -> Mapping[str, str] | None:
        """Return the plan's result, waiting for it; None if it has none by then. Raises ``Unreachable``."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Trader:
    """One connection to an engine."""

    def __init__(self, way: Way) -> None:
        self._way = way

    async def send(self, plan: PlanRequest) -> str:
        """Submit ``plan`` and return its id at once.

        Raises:
            NotAccepted: nothing was put on the stream.
            Unreachable: it may or may not have been.
        """
        await self._way.put(plan.fields())
        return plan.plan_id

    async def result(self, plan_id: str, wait_s: float = WAIT_S) -> PlanResult:
        """Wait up to ``wait_s`` seconds for a plan's result; raises ``NoResult`` or ``Unreachable``."""
        found = await self._way.result(plan_id, wait_s)
        if found is None:
            raise NoResult(f"no result of plan {plan_id} within {wait_s:g} s")
        return PlanResult.of(found)

    async def submit(self, plan: PlanRequest, wait_s: float = WAIT_S) -> PlanResult:
        """Submit ``plan`` and wait for its result; raises as ``send`` and ``result`` do."""
        return await self.result(await self.send(plan), wait_s)

    async def close(self) -> None:
        """Close every connection."""
        await self._way.close()

    async def __aenter__(self) -> Self:
        """Return the trader itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self.close()


def connect(url: str, *, token: str = "", namespace: str = "quantum") -> Trader:
    """Return a trader for ``http(s)://…`` (with ``token``), or for the engine's ``redis(s)://`` or ``unix://``.

    Call it inside the running event loop; it sends nothing yet. Raises ``ValueError`` for another URL.
    """
    if url.startswith(("http://", "https://")):
        from quantum_trader.client.over_http import HttpWay  # noqa: PLC0415  # loads what is used

        return Trader(HttpWay(url, token))
    if url.startswith(("redis://", "rediss://", "unix://")):
        from quantum_trader.client.over_redis import RedisWay  # noqa: PLC0415

        return Trader(RedisWay(url, namespace))
    raise ValueError(f"{url!r}: must start with http://, https://, redis://, rediss:// or unix://")
