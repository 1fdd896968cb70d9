"""The attacks, one file per layer; importing this package registers them all in `PROBES`."""

from partywall.assurance.probe import PROBES
from partywall.assurance.probes import (
    break_glass,
    collections,
    decisions,
    federation,
    identity,
    ledger,
    models,
    neighbours,
    resources,
    sign_in,
    storage,
    tools,
)

__all__ = [
    "PROBES",
    "break_glass",
    "collections",
    "decisions",
    "federation",
    "identity",
    "ledger",
    "models",
    "neighbours",
    "resources",
    "sign_in",
    "storage",
    "tools",
]
