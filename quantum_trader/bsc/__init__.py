"""BSC, the Baseline Safety Controller: an exit-only watchdog with its own way to the exchange (SPEC 10)."""
