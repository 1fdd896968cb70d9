"""The decision point: what the wall would answer, for other systems that enforce it."""
