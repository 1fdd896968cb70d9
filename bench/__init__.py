"""One file per number in SPECIFICATION.md."""
