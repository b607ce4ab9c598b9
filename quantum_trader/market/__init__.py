"""Prices, trading rules, candles and what is computed from them, kept beside the hot path."""
