"""The embedded exchange: Binance's USDⓈ-M protocol on loopback, for paper mode and for tests.

SPEC 14, BINANCE.md. Layers, from the inside: ``bars``/``synthetic``/``candles`` (tapes) →
``market`` (prices at a moment) → ``model``, ``valuation``, ``admission``, ``execution``,
``algo_book``, ``passage`` → ``venue`` (pure, every call takes its time) → ``gateway`` (bytes to
bytes) and ``ws_api`` (texts to texts), ``stream_hub`` (events and prices to frames) → ``server``,
``ws_api_server``, ``stream_server`` (sockets) → ``embedded``. docs/simulator.md is for its users.
"""

from quantum_trader.exchange.simulator.embedded import EmbeddedExchange, build_market, build_venue
from quantum_trader.exchange.simulator.execution import TradingTerms
from quantum_trader.exchange.simulator.faults import FaultKind, FaultRule, Faults
from quantum_trader.exchange.simulator.gateway import Gateway, Reply, Request
from quantum_trader.exchange.simulator.limits import RateLimits
from quantum_trader.exchange.simulator.settings import AccountSettings, SimulatorSettings

__all__ = [
    "AccountSettings",
    "EmbeddedExchange",
    "FaultKind",
    "FaultRule",
    "Faults",
    "Gateway",
    "RateLimits",
    "Reply",
    "Request",
    "SimulatorSettings",
    "TradingTerms",
    "build_market",
    "build_venue",
]
