"""Intake, decide, claim, send, settle: the way of a plan through the engine."""
