"""The attacks, one file per layer; importing this package registers them all."""

from partywall.assurance.probes import identity, ledger, models, neighbours, storage, tools

__all__ = ["identity", "ledger", "models", "neighbours", "storage", "tools"]
