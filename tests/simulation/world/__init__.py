"""A world of its own for the whole engine: time, Redis, exchange, faults and checks, all by seed."""
