"""Alerts: what deserves waking a person, sent beside the engine and never in its way (SPEC 13)."""
