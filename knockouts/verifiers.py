"""Offline verification without its checks: what `partywall audit verify` would miss. Source: attacks.md, AU-1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from partywall.assurance.probes import ledger as probes
from partywall.ledger.verify import Report, verify_archive

CAUGHT_BY: Final = (("roots-unchecked", "AU-1"),)


@contextmanager
def knocked_out(name: str) -> Iterator[None]:
    """Let the probe verify without comparing the log's roots and sequence with what was signed."""
    assert name == "roots-unchecked"

    def lenient(*what: Any, **options: Any) -> Report:
        report = verify_archive(*what, **options)
        report.findings = [found for found in report.findings if found.kind in {"malformed", "key"}]
        return report

    probes.verify_archive = lenient  # type: ignore[attr-defined]
    try:
        yield
    finally:
        probes.verify_archive = verify_archive  # type: ignore[attr-defined]
