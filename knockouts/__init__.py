"""Replacement ports, each with one control off: never in the wheel, never with an existing data directory."""
