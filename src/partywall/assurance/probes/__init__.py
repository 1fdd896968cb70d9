"""The attacks, one file per layer; importing this package registers them all in `PROBES`."""

from partywall.assurance.probe import PROBES
from partywall.assurance.probes import (
    collections,
    decisions,
    federation,
    identity,
    ledger,
    models,
    neighbours,
    sign_in,
    storage,
    tools,
)

__all__ = [
    "PROBES",
    "collections",
    "decisions",
    "federation",
    "identity",
    "ledger",
    "models",
    "neighbours",
    "sign_in",
    "storage",
    "tools",
]
