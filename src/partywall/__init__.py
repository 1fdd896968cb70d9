"""Partywall keeps the tenants of an AI-agent platform apart, at every layer an agent touches."""

from partywall.version import __version__

__all__ = ["__version__"]
