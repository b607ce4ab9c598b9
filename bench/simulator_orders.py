"""How many orders a second the embedded exchange takes from fifty accounts on one core.

    python bench/simulator_orders.py [ORDERS]

Bytes in, bytes out: every order is signed, parsed, checked, matched, booked and answered. The
second figure has a user stream open for each account, so that four frames an order are encoded,
too. Signing the requests is the client's work and is not measured.
"""

from __future__ import annotations

import gc
import sys
import time
from decimal import Decimal
from urllib.parse import urlencode

from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import (
    AccountSettings,
    Gateway,
    RateLimits,
    Request,
    SimulatorSettings,
    build_venue,
)
from quantum_trader.exchange.simulator.signing import hmac_hex
from quantum_trader.exchange.simulator.stream_hub import StreamHub
from quantum_trader.exchange.simulator.stream_session import Frame, StreamSession, address_of

ACCOUNTS = 50
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
QUANTITIES = {"BTCUSDT": "0.002", "ETHUSDT": "0.02", "SOLUSDT": "0.2", "XRPUSDT": "20"}


class Counter:
    """A session's outlet that counts."""

    def __init__(self) -> None:
        self.frames = 0

    def send(self, _: Frame) -> None:
        self.frames += 1

    def close(self, code: int) -> None:
        raise AssertionError(f"closed with {code}")


def main(count: int) -> None:
    for listens in (False, True):
        name = "with 50 user streams" if listens else "without streams"
        seconds, frames = measure(count, listens=listens)
        told = f", {frames / count:.1f} frames an order" if listens else ""
        print(f"{name}: {count / seconds:,.0f} orders/s, {seconds / count * 1e6:.0f} µs each{told}")


def measure(count: int, *, listens: bool) -> tuple[float, int]:
    accounts = tuple(AccountSettings(f"key-{n}", f"secret-{n}", Decimal(1_000_000)) for n in range(ACCOUNTS))
    start_ms = SystemClock().now_ms()
    gateway = Gateway(build_venue(SimulatorSettings(accounts=accounts), start_ms), RateLimits(0, 0, 0))
    hub, counter = None, Counter()
    if listens:
        hub = StreamHub(gateway.venue, lambda: None)
        for account in gateway.venue.accounts.values():
            address = address_of(f"/private/ws/{gateway.venue.listen_keys.start(account, start_ms)}", {})
            assert address is not None
            hub.attach(StreamSession(address, counter, lambda _: None), start_ms)
    requests = [request(index, start_ms + index // 4) for index in range(count)]
    gc.collect()
    begun = time.perf_counter()
    for index, one in enumerate(requests):
        reply = gateway.handle(one, start_ms + index // 4)
        assert reply.status == 200, reply.body
        if hub is not None:
            hub.flush()
    return time.perf_counter() - begun, counter.frames


def request(index: int, now_ms: int) -> Request:
    number, turn = index % ACCOUNTS, index // ACCOUNTS
    symbol = SYMBOLS[turn // 2 % len(SYMBOLS)]
    params = {
        "symbol": symbol,
        "side": "SELL" if turn % 2 else "BUY",
        "type": "MARKET",
        "quantity": QUANTITIES[symbol],
        "newClientOrderId": f"bench-{index}",
        "newOrderRespType": "RESULT",
        "timestamp": now_ms,
    }
    query = urlencode(params)
    query += "&signature=" + hmac_hex(f"secret-{number}", query.encode())
    return Request("POST", "/fapi/v1/order", query.encode(), api_key=f"key-{number}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
