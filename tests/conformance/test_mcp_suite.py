"""The official MCP conformance suite against a real deployment's `/mcp/{server}`, in both eras of the protocol.

Behind the door stands a server with everything (`everything.py`). What does not apply to a wall is in
`mcp_exemptions.json` with its reason: whole scenarios, or `scenario: check`. That list may only get shorter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.everything import approved
from tests.conformance.mcp_suite import Forwarder, everything, run
from tests.scenarios.platform_fixture import Platform

Checks = dict[str, list[dict[str, Any]]]
EXEMPTIONS = Path(__file__).with_name("mcp_exemptions.json")
MOST = {"2025-11-25": 9, "2026-07-28": 24}
"""As many as there were when the list was made."""
MUST_PASS = {"2025-11-25": 24, "2026-07-28": 29}
"""Scenarios that are neither exempt nor skipped, at least: an empty run is no pass."""


def exempt(revision: str) -> set[str]:
    """Return the exempt scenarios and checks of a revision."""
    groups = json.loads(EXEMPTIONS.read_text())
    return {name for group in groups.values() for name in group.get(revision, [])}


@pytest.fixture(scope="module")
def door(platform: Platform) -> Iterator[str]:
    """The address of a door that asks for no credential: a forwarder adds one."""
    side, _neighbour = platform.two_tenants()
    with everything() as port:
        body = {"slug": "everything", "url": f"http://127.0.0.1:{port}/mcp", "tools": list(approved())}
        side.api("POST", "/v1/servers", body)
        agent = side.subject("conformance", [{"action": "tool.call", "resource": "tool/everything/*"}])
        forwarder = Forwarder(platform.base_url, side.new_key(agent))
        try:
            yield f"{forwarder.url}/mcp/everything"
        finally:
            forwarder.close()


@pytest.fixture(scope="module", params=["2025-11-25", "2026-07-28"])
def ran(request: pytest.FixtureRequest, door: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Checks]:
    """Return (revision, the suite's checks by scenario)."""
    revision: str = request.param
    return revision, run(door, revision, tmp_path_factory.mktemp("suite"))


def failures(checks: Checks) -> dict[str, str]:
    """Return `scenario: check` and what was wrong."""
    return {
        f"{scenario}: {check['id']}": str(check.get("errorMessage"))
        for scenario, some in checks.items()
        for check in some
        if check["status"] == "FAILURE"
    }


def test_the_door_conforms(ran: tuple[str, Checks]) -> None:
    revision, checks = ran
    left_out = exempt(revision)
    assert {name: why for name, why in failures(checks).items() if not {name, name.partition(":")[0]} & left_out} == {}
    passed = set(checks) - left_out
    assert len(passed) >= MUST_PASS[revision], sorted(passed)


def test_what_is_exempt_still_needs_to_be(ran: tuple[str, Checks]) -> None:
    revision, checks = ran
    failed = failures(checks)
    assert exempt(revision) <= {*failed, *(name.partition(":")[0] for name in failed)}


def test_the_list_of_exemptions_only_shrinks() -> None:
    groups = json.loads(EXEMPTIONS.read_text())
    assert all(len(group["reason"]) > 80 for group in groups.values())
    for revision, most in MOST.items():
        assert len(exempt(revision)) <= most
