"""Attacks on the database with the gateway's own role: what hostile SQL could do. Source: attacks.md, RLS-*.

They need the deployment's own files (run them on its machine, as its starter); elsewhere they are skipped.
"""

from __future__ import annotations

from partywall.assurance.probe import NotHere, probe
from partywall.assurance.target import Target


@probe("RLS-1", "the gateway's database role cannot step around row security", control="gateway role")
def role(target: Target) -> str:
    raise NotHere("filled in below")
