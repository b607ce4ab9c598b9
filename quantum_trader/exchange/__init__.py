"""Everything that speaks to Binance, and the exchange that is embedded for paper mode."""
