"""Execution-safety engine for programmatic traders of Binance USDⓈ-M Futures."""

__version__ = "0.1.0"
