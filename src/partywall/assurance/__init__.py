"""Probes: attacks on a live deployment."""
