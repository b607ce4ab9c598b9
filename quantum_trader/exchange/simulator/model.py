"""What the venue keeps about an account: orders, fills, positions, wallet. No rules live here."""

from __future__ import annotations

from collections import OrderedDict, deque
from copy import copy
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from quantum_trader.domain.order import OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.simulator.algo_model import AlgoOrder

ZERO: Final = Decimal(0)
ORDERS_KEPT_MAX: Final = 5000
ALGOS_KEPT_MAX: Final = 1000
AMENDMENTS_KEPT_MAX: Final = 1000
TRADES_KEPT_MAX: Final = 10_000
INCOMES_KEPT_MAX: Final = 10_000
SNAPSHOTS_KEPT_MAX: Final = 256
LEVERAGE_AT_FIRST: Final = 20


@dataclass(slots=True)
class Order:
    """One plain order. ``quantity``/``executed`` in base asset, ``quote`` = Σ quantity × price.

    ``stop_price`` and what follows it tell of the conditional order that it came from.
    """

    symbol: str
    order_id: int
    client_order_id: str
    side: Side
    position_side: PositionSide
    type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    reduce_only: bool
    created_ms: int
    updated_ms: int
    price_match: str = "NONE"
    self_trade_prevention: str = "EXPIRE_MAKER"
    good_till_ms: int = 0
    status: OrderStatus = OrderStatus.NEW
    executed: Decimal = ZERO
    quote: Decimal = ZERO
    expiry_reason: int = 0
    hidden_until_ms: int = 0
    stop_price: Decimal = ZERO
    original_type: str = ""  # the conditional type it came from, else empty
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    close_position: bool = False
    modify_id: int | None = None
    amendments: int = 0

    @property
    def remaining(self) -> Decimal:
        """What has not been filled yet."""
        return self.quantity - self.executed

    @property
    def leg(self) -> Leg:
        """The position that fills of this order change."""
        return Leg(self.symbol, self.position_side)

    @property
    def only_reduces(self) -> bool:
        """Whether the order can never enlarge a position (BINANCE.md 4, 12.1)."""
        return self.reduce_only or closes_hedge_leg(self.position_side, self.side)


def closes_hedge_leg(position_side: PositionSide, side: Side) -> bool:
    """SELL on LONG and BUY on SHORT only reduce."""
    return (position_side, side) in (
        (PositionSide.LONG, Side.SELL),
        (PositionSide.SHORT, Side.BUY),
    )


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill; ``commission`` and ``realized_pnl`` in USDT."""

    trade_id: int
    order_id: int
    symbol: str
    side: Side
    position_side: PositionSide
    price: Decimal
    quantity: Decimal
    commission: Decimal
    realized_pnl: Decimal
    maker: bool
    time_ms: int


@dataclass(frozen=True, slots=True)
class Amendment:
    """One change of a resting order; ``price`` and ``quantity`` as (before, after)."""

    number: int
    symbol: str
    order_id: int
    client_order_id: str
    price: tuple[Decimal, Decimal]
    quantity: tuple[Decimal, Decimal]
    modify_id: int | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class Income:
    """One change of the wallet, in USDT; types as ``GET /fapi/v1/income`` names them."""

    tran_id: int
    type: str
    symbol: str
    amount: Decimal
    time_ms: int
    trade_id: str = ""


@dataclass(slots=True)
class Holding:
    """A position: signed ``amount`` in base asset, ``entry`` price, ``fees`` paid to build it.

    ``isolated_wallet`` is the margin set aside for it (0 when cross).
    """

    amount: Decimal = ZERO
    entry: Decimal = ZERO
    isolated_wallet: Decimal = ZERO
    fees: Decimal = ZERO
    updated_ms: int = 0


@dataclass(slots=True)
class SymbolSetting:
    """What an account set for a symbol."""

    leverage: int = LEVERAGE_AT_FIRST
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The wallet and positions as they were from ``at_ms`` on."""

    at_ms: int
    wallet: Decimal
    positions: dict[Leg, Holding]


@dataclass(frozen=True, slots=True)
class Credentials:
    """How an account signs: an HMAC secret, or the PEM of an Ed25519 or RSA public key."""

    api_key: str
    api_secret: str = field(default="", repr=False)
    public_key_pem: str = field(default="", repr=False)


class Account:
    """One futures account in single-asset (USDT) mode. All collections are bounded."""

    def __init__(self, credentials: Credentials, alias: str, wallet: Decimal) -> None:
        self.credentials = credentials
        self.alias = alias
        self.wallet = wallet
        self.hedge_mode = False
        self.settings: dict[str, SymbolSetting] = {}
        self.positions: dict[Leg, Holding] = {}
        self.realized: dict[Leg, Decimal] = {}  # ever, in USDT, before fees
        self.open_orders: dict[tuple[str, int], Order] = {}
        self.orders: OrderedDict[tuple[str, int], Order] = OrderedDict()
        self.algos: OrderedDict[int, AlgoOrder] = OrderedDict()
        self.open_algos: dict[int, AlgoOrder] = {}
        self.triggered_algos: dict[tuple[str, int], AlgoOrder] = {}  # until their order is done
        self.by_client_id: dict[tuple[str, str], Order] = {}
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT_MAX)
        self.incomes: deque[Income] = deque(maxlen=INCOMES_KEPT_MAX)
        self.amendments: deque[Amendment] = deque(maxlen=AMENDMENTS_KEPT_MAX)
        self.countdowns: dict[str, int] = {}  # symbol to when (ms) its plain orders are cancelled
        self.snapshots: deque[Snapshot] = deque(maxlen=SNAPSHOTS_KEPT_MAX)
        self.updated_ms = 0
        self.remember(0)

    def setting(self, symbol: str) -> SymbolSetting:
        """The account's setting of ``symbol``; made on first use."""
        return self.settings.setdefault(symbol, SymbolSetting())

    def record(self, order: Order) -> None:
        """Remember ``order``; the oldest finished ones are forgotten beyond the bound."""
        self.orders[order.symbol, order.order_id] = order
        self.by_client_id[order.symbol, order.client_order_id] = order
        while len(self.orders) > ORDERS_KEPT_MAX + len(self.open_orders):
            self._forget_oldest_finished()

    def _forget_oldest_finished(self) -> None:
        key = next(key for key in self.orders if key not in self.open_orders)
        order = self.orders.pop(key)
        if self.by_client_id.get((order.symbol, order.client_order_id)) is order:
            del self.by_client_id[order.symbol, order.client_order_id]

    def record_algo(self, algo: AlgoOrder) -> None:
        """Remember a conditional order; the oldest finished ones are forgotten beyond the bound."""
        self.algos[algo.algo_id] = algo
        if not algo.is_final:
            self.open_algos[algo.algo_id] = algo
        while len(self.algos) > ALGOS_KEPT_MAX:
            finished = next((key for key, known in self.algos.items() if known.is_final), None)
            if finished is None:
                return
            del self.algos[finished]

    def find_algo(self, algo_id: int | None, client_algo_id: str) -> AlgoOrder | None:
        """The conditional order of an id, or the latest of a client id."""
        if algo_id is not None:
            return self.algos.get(algo_id)
        named = (algo for algo in reversed(self.algos.values()) if algo.client_algo_id == client_algo_id)
        return next(named, None)

    def open_on(self, symbol: str) -> list[Order]:
        """The symbol's resting orders, oldest first."""
        return [order for order in self.open_orders.values() if order.symbol == symbol]

    def amount(self, leg: Leg) -> Decimal:
        """Signed position of ``leg`` in base asset; 0 when flat."""
        held = self.positions.get(leg)
        return held.amount if held is not None else ZERO

    def has_open(self, client_order_id: str) -> bool:
        """Whether an open order, plain or conditional, carries this client id (BINANCE.md 12.3)."""
        return any(order.client_order_id == client_order_id for order in self.open_orders.values()) or any(
            algo.client_algo_id == client_order_id for algo in self.open_algos.values()
        )

    def seen_at(self, at_ms: int) -> Account:
        """This account as reads showed it at ``at_ms``: wallet and positions of then."""
        past = copy(self)
        known = [snapshot for snapshot in self.snapshots if snapshot.at_ms <= at_ms]
        if known or self.snapshots:
            snapshot = known[-1] if known else self.snapshots[0]
            past.wallet, past.positions = snapshot.wallet, snapshot.positions
        return past

    def isolated_wallets(self) -> Decimal:
        """Σ of the margins set aside for isolated positions."""
        return sum((held.isolated_wallet for held in self.positions.values()), ZERO)

    def remember(self, now_ms: int) -> None:
        """Keep a copy of wallet and positions, for reads that answer from the past."""
        held = {leg: replace(holding) for leg, holding in self.positions.items()}
        self.snapshots.append(Snapshot(now_ms, self.wallet, held))
