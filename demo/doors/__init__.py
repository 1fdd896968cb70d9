"""Every door, and what a tenant tries there against its neighbour: one entry a door.

A door's module holds a function that yields `Try`s for an attacker and a victim; `DOORS` names it with the layer that
it guards. Nothing else has to know of a new door.
"""

from __future__ import annotations

from typing import Final

from demo.doors import administration, audit, authzen, collections, credentials, exchange, mcp, memory, openai
from demo.doors.attempt import Attempt, Door, Try

DOORS: Final = (
    Door("MCP 2025-11-25", "tools", mcp.legacy),
    Door("MCP 2026-07-28", "tools", mcp.modern),
    Door("OpenAI", "models", openai.tries),
    Door("Embeddings", "models", collections.embeddings, here=collections.here),
    Door("Memory", "memory", memory.tries),
    Door("Collections", "documents", collections.tries, here=collections.here),
    Door("REST", "administration", administration.tries),
    Door("Audit", "ledger", audit.tries),
    Door("AuthZEN", "decisions", authzen.tries, here=authzen.here),
    Door("Token exchange", "identity", exchange.tries, here=exchange.here),
    Door("Credentials", "identity", credentials.tries),
    Door("Own credentials", "identity", credentials.own, alone=True),
)

__all__ = ["DOORS", "Attempt", "Door", "Try"]
