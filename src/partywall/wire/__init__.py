"""PURE. Bounded schemas of every process boundary."""
