"""The lease: which engine may claim on an account, with its fencing token (SPEC 7.1)."""

from __future__ import annotations

from quantum_trader.domain.clock import Clock
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys

TTL_MS = 5000
RENEWAL_S = 1.0


class Lease:
    """Held by one engine at a time; every claim and every settlement checks its value on the server.

    ``value`` is ``owner:token``. Each new holder gets a higher token, so an engine that was paused
    past its TTL can neither claim nor settle once another has taken over.
    """

    def __init__(self, database: Database, keys: Keys, account: str, owner: str, clock: Clock) -> None:
        self._database = database
        self._names = [keys.lease(account), keys.fencing(account)]
        self._owner = owner
        self._clock = clock
        self._held_until_s = float("-inf")
        self.value = ""
        self.another_led = False
        """Whether another engine had the lease since this was last cleared: memory is of a time before it."""

    @property
    def token(self) -> int:
        """The fencing token; 0 while the lease was never held."""
        return int(self.value.rpartition(":")[2]) if self.value else 0

    @property
    def is_held(self) -> bool:
        """Whether the lease was renewed within its TTL, by the monotonic clock."""
        return self._clock.monotonic_s() < self._held_until_s

    async def renew(self) -> str:
        """Take or renew the lease; return "" on success, else who holds it.

        Raises:
            RedisError: the server cannot answer; ``is_held`` then runs out by itself.
        """
        asked_s = self._clock.monotonic_s()
        mine, standing = await self._database.run("lease", self._names, [self._owner, self.value, TTL_MS])
        if not mine:
            self._held_until_s, self.another_led = float("-inf"), True
            return standing.decode()
        former = self.token
        self.value = mine.decode()
        if former and self.token > former + 1:  # each new holder counts one up
            self.another_led = True
        self._held_until_s = asked_s + TTL_MS / 1000
        return ""

    async def release(self) -> None:
        """Give the lease up, if it is still ours, so that the next engine need not wait."""
        if self.value:
            await self._database.run("unlock", self._names[:1], [self.value])
        self._held_until_s = float("-inf")
