"""The words of the engine: plans, positions, evidence, verdicts, orders, results. No I/O."""
