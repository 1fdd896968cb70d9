"""The layers of the wall, in the order of the picture, and which of them each action belongs to."""

from __future__ import annotations

from typing import Final

TITLES: Final[dict[str, str]] = {
    "models": "Models",
    "tools": "Tools",
    "documents": "Documents",
    "memory": "Memory",
    "administration": "Admin API",
    "identity": "Credentials",
    "decisions": "Decisions",
    "ledger": "Ledger",
}
_ACTIONS: Final = {
    "model.request": "models",
    "model.list": "models",
    "tool.call": "tools",
    "tool.list": "tools",
    "retrieval.search": "documents",
    "ingest": "documents",
    "embed": "models",
    "memory": "memory",
    "decision.evaluate": "decisions",
    "decision.search": "decisions",
    "audit.read": "ledger",
    "operator.key": "identity",
    "operator.token": "identity",
    "operator.revoke": "identity",
}


def layer_of(action: str) -> str:
    """Return the layer of an action type; what is not named here administers."""
    return _ACTIONS.get(action, "administration")
