"""What is held: the live view, the ledger that follows it, and their reconciliation."""
