"""Listen keys of user data streams: one an account, good for an hour (BINANCE.md 8.5)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.model import Account

VALID_MS: Final = 60 * 60_000


@dataclass(frozen=True, slots=True)
class _Lease:
    key: str
    until_ms: int


class ListenKeys:
    """The keys in force, by account; at most one each."""

    def __init__(self) -> None:
        self._leases: dict[str, _Lease] = {}
        self._owners: dict[str, str] = {}

    def start(self, account: Account, now_ms: int) -> str:
        """Return the account's key, made now if it has none, good for another hour."""
        api_key = account.credentials.api_key
        lease = self._valid(api_key, now_ms)
        if lease is None:
            self.close(account)
        key = _made_up_key(account, now_ms) if lease is None else lease.key
        self._leases[api_key] = _Lease(key, now_ms + VALID_MS)
        self._owners[key] = api_key
        return key

    def extend(self, account: Account, now_ms: int) -> str:
        """Make the account's key good for another hour; -1125 where it has none."""
        if self._valid(account.credentials.api_key, now_ms) is None:
            raise RefusedError(-1125)
        return self.start(account, now_ms)

    def close(self, account: Account) -> None:
        """End the account's key; harmless where it has none."""
        lease = self._leases.pop(account.credentials.api_key, None)
        if lease is not None:
            self._owners.pop(lease.key, None)

    def owner(self, key: str, now_ms: int) -> str | None:
        """The API key of the account that ``key`` opens; None for an unknown or expired one."""
        api_key = self._owners.get(key)
        return api_key if api_key is not None and self._valid(api_key, now_ms) else None

    def has_expired(self, key: str, now_ms: int) -> bool:
        """Whether the hour of ``key`` is over, as against a key that was closed or never made."""
        return key in self._owners and self.owner(key, now_ms) is None

    def expire_all(self) -> None:
        """Let every key's hour be over now, as after an outage of the real venue."""
        self._leases = {api_key: _Lease(lease.key, 0) for api_key, lease in self._leases.items()}

    def _valid(self, api_key: str, now_ms: int) -> _Lease | None:
        lease = self._leases.get(api_key)
        return lease if lease is not None and now_ms < lease.until_ms else None


def _made_up_key(account: Account, now_ms: int) -> str:
    # Whoever has the key may listen, so it must not follow from what others can see.
    secret = account.credentials.api_secret or account.credentials.public_key_pem
    return blake2b(f"{now_ms}".encode(), key=secret.encode()[:64], digest_size=32).hexdigest()
