"""What the exchange client needs to know: addresses, keys, patience."""

from __future__ import annotations

from dataclasses import dataclass, field

from quantum_trader.domain.venue_urls import REST_SCHEMES, SOCKET_SCHEMES, endpoint_problem


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """One account on one venue. The repr shows neither key nor secret.

    ``api_secret`` is an HMAC secret or an Ed25519/RSA private key as PEM. ``recv_window_ms`` fences
    how late the exchange may still accept a request (SPEC 7.4): keep it short.
    ``reserve_share`` is the part of weight and order budgets (0 to 1) kept for exits. Without
    ``ws_api_url`` and ``stream_url`` there is nothing but REST.

    Raises ``ValueError`` naming the setting that cannot work.
    """

    rest_url: str
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    recv_window_ms: int = 3_000
    request_timeout_s: float = 5.0
    reserve_share: float = 0.25
    ws_api_url: str = ""
    stream_url: str = ""
    orders_over_ws: bool = False

    def __post_init__(self) -> None:
        """Refuse what could never work."""
        if problem := endpoint_problem(self.rest_url, REST_SCHEMES):
            raise ValueError(f"rest_url {problem}")
        for name in ("ws_api_url", "stream_url"):
            url = getattr(self, name)
            if url and (problem := endpoint_problem(url, SOCKET_SCHEMES)):
                raise ValueError(f"{name} {problem}")
        if not 1 <= self.recv_window_ms <= 60_000:  # noqa: PLR2004 - the range that the message states
            raise ValueError(f"recv_window_ms must lie in 1..60000, not {self.recv_window_ms}")
        if self.request_timeout_s <= 0:
            raise ValueError(f"request_timeout_s must be positive, not {self.request_timeout_s}")
        if not 0 <= self.reserve_share < 1:
            raise ValueError(f"reserve_share must lie in [0, 1), not {self.reserve_share}")
