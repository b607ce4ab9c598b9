"""The venue's symbols: about twenty USDT perpetuals with plausible filters of 2026 (BINANCE.md 7).

Some ticks and steps are written with more decimals than they use (BTCUSDT 0.10), so that the precision
is wider than they are, as on the real venue: a client that rounds by precision is caught here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

ONBOARD_MS: Final = 1_567_965_300_000
DELIVERY_MS: Final = 4_133_404_800_000  # what Binance reports for a contract that never delivers
MULTIPLIER_UP: Final = Decimal("1.0500")
MULTIPLIER_DOWN: Final = Decimal("0.9500")
TAKE_BOUND: Final = Decimal("0.05")
LIQUIDATION_FEE: Final = Decimal("0.012500")
OPEN_ORDERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class SymbolSpec:
    """One contract: its filters, and how the synthetic market moves it.

    Quantities in base asset, prices in USDT. ``price_typical`` is where the synthetic path
    wanders around, ``daily_moves_bps`` its usual daily range in basis points, ``beta`` its share
    in the common move of all symbols. ``tier`` names a table of brackets.py.
    """

    symbol: str
    tick: Decimal
    step: Decimal
    quantity_max: Decimal
    market_max: Decimal
    notional_min: Decimal
    price_typical: Decimal
    daily_moves_bps: int
    beta: float
    tier: str
    price_precision: int
    status: str = "TRADING"

    @property
    def base_asset(self) -> str:
        """The contract's base asset (``BTC`` of BTCUSDT)."""
        return self.symbol.removesuffix("USDT")

    @property
    def quantity_precision(self) -> int:
        """Most decimals that a quantity may have."""
        return max(0, -int(self.step.as_tuple().exponent))

    @property
    def price_min(self) -> Decimal:
        """Lowest price of an order."""
        return max(self.tick, (self.price_typical / 138 // self.tick) * self.tick)

    @property
    def price_max(self) -> Decimal:
        """Highest price of an order."""
        return (self.price_typical * 58 // self.tick) * self.tick


def _spec(
    base: str,
    price: str,
    tick: str,
    step: str,
    maxima: tuple[int, int],
    *,
    moves_bps: int,
    beta: float,
    tier: str = "small",
    notional_min: int = 5,
) -> SymbolSpec:
    return SymbolSpec(
        symbol=f"{base}USDT",
        tick=Decimal(tick),
        step=Decimal(step),
        quantity_max=Decimal(maxima[0]),
        market_max=Decimal(maxima[1]),
        notional_min=Decimal(notional_min),
        price_typical=Decimal(price),
        daily_moves_bps=moves_bps,
        beta=beta,
        tier=tier,
        price_precision=len(tick.partition(".")[2]),
    )


SYMBOLS: Final[dict[str, SymbolSpec]] = {
    spec.symbol: spec
    for spec in (
        _spec(
            "BTC", "76900", "0.10", "0.001", (1000, 120), moves_bps=220, beta=1.0, tier="btc", notional_min=50
        ),
        _spec(
            "ETH",
            "2450",
            "0.01",
            "0.001",
            (10000, 2000),
            moves_bps=320,
            beta=1.25,
            tier="eth",
            notional_min=20,
        ),
        _spec("BNB", "840", "0.010", "0.01", (100_000, 2000), moves_bps=260, beta=0.9, tier="large"),
        _spec("SOL", "118", "0.0100", "0.01", (1_000_000, 20_000), moves_bps=420, beta=1.45, tier="large"),
        _spec("XRP", "1.62", "0.0001", "0.1", (10_000_000, 2_000_000), moves_bps=380, beta=1.2, tier="large"),
        _spec(
            "DOGE",
            "0.12430",
            "0.000010",
            "1",
            (50_000_000, 30_000_000),
            moves_bps=480,
            beta=1.5,
            tier="large",
        ),
        _spec("ADA", "0.4100", "0.00010", "1", (2_000_000, 300_000), moves_bps=430, beta=1.35, tier="mid"),
        _spec("LINK", "12.300", "0.001", "0.01", (200_000, 20_000), moves_bps=420, beta=1.3, tier="mid"),
        _spec("AVAX", "13.400", "0.0010", "1", (100_000, 5000), moves_bps=460, beta=1.4, tier="mid"),
        _spec("LTC", "74.00", "0.01", "0.001", (10_000, 5000), moves_bps=330, beta=1.0, tier="mid"),
        _spec("BCH", "512.00", "0.01", "0.001", (10_000, 850), moves_bps=350, beta=1.0, tier="mid"),
        _spec("TRX", "0.28000", "0.00001", "1", (50_000_000, 5_000_000), moves_bps=180, beta=0.5, tier="mid"),
        _spec("DOT", "2.400", "0.001", "0.1", (500_000, 50_000), moves_bps=440, beta=1.35),
        _spec("UNI", "5.9000", "0.0010", "1", (1_000_000, 50_000), moves_bps=470, beta=1.4),
        _spec("NEAR", "1.7800", "0.0010", "1", (1_000_000, 100_000), moves_bps=500, beta=1.5),
        _spec("ATOM", "2.700", "0.001", "0.01", (1_000_000, 50_000), moves_bps=410, beta=1.2),
        _spec("AAVE", "162.000", "0.010", "0.10", (100_000, 2500), moves_bps=430, beta=1.35),
        _spec("ETC", "12.800", "0.001", "0.01", (500_000, 20_000), moves_bps=400, beta=1.2),
        _spec("FIL", "1.520", "0.001", "0.1", (1_000_000, 100_000), moves_bps=480, beta=1.45),
        _spec("1000SHIB", "0.007820", "0.000001", "1", (50_000_000, 10_000_000), moves_bps=460, beta=1.4),
    )
}


def exchange_info_row(spec: SymbolSpec) -> dict[str, Any]:
    """The symbol's object of ``GET /fapi/v1/exchangeInfo`` (BINANCE.md 7)."""
    return {
        "symbol": spec.symbol,
        "pair": spec.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": DELIVERY_MS,
        "onboardDate": ONBOARD_MS,
        "status": spec.status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": spec.base_asset,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": spec.price_precision,
        "quantityPrecision": spec.quantity_precision,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["Crypto"],
        "triggerProtect": "0.0500",
        "liquidationFee": str(LIQUIDATION_FEE),
        "marketTakeBound": str(TAKE_BOUND),
        "maxMoveOrderLimit": 10000,
        "filters": _filters(spec),
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY", "DCA", "PSB"],
    }


def _filters(spec: SymbolSpec) -> list[dict[str, Any]]:
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": f"{spec.price_min:f}",
            "maxPrice": f"{spec.price_max:f}",
            "tickSize": f"{spec.tick:f}",
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": f"{spec.step:f}",
            "maxQty": f"{spec.quantity_max:f}",
            "stepSize": f"{spec.step:f}",
        },
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": f"{spec.step:f}",
            "maxQty": f"{spec.market_max:f}",
            "stepSize": f"{spec.step:f}",
        },
        {"filterType": "MAX_NUM_ORDERS", "limit": OPEN_ORDERS_MAX},
        {"filterType": "MIN_NOTIONAL", "notional": f"{spec.notional_min:f}"},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": str(MULTIPLIER_UP),
            "multiplierDown": str(MULTIPLIER_DOWN),
            "multiplierDecimal": "4",
        },
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
    ]
