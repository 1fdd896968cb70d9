"""Probes: attacks on a live deployment, through the doors that everybody uses."""
