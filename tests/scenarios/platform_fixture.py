"""A whole real deployment for the scenarios: every process, in a home of its own below a folder that others can't pass.

`platform` lives as long as the test session and is shared: make tenants of your own (`two_tenants`), and break nothing.
`own_platform` is one test's own, to break.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from partywall.assurance.target import Side, Target
from partywall.supervisor import lock
from partywall.supervisor.throwaway import Throwaway

CONFIG = """
[federation]
loopback_http = true

[sign_in.clients.desk]
name = "The desk"
redirect_uris = ["https://desk.example/callback", "http://127.0.0.1/back"]
"""


class Platform(Throwaway):
    """base_url, home, operator_key(), state(), process(), kill(), wait_restarted(), stop(); and tenants with agents.

    config: settings beside those of every test's deployment (TOML tables that they do not have).
    """

    def __init__(self, *options: str, config: str = "") -> None:
        # mkdtemp makes a folder that only its owner may pass: the children need their own view to get below it
        self.folder = Path(tempfile.mkdtemp(prefix="pw-")).resolve()
        super().__init__("--no-model", *options, path=self.folder / "home")
        self.home.path.mkdir(mode=0o711)
        # identity providers of the tests are on this machine, without certificates
        self.home.config.write_text(CONFIG + config)
        self.home.config.chmod(0o644)
        self._targets: list[Target] = []

    @property
    def base_url(self) -> str:
        return self.url

    def two_tenants(self) -> tuple[Side, Side]:
        """Return two fresh tenants, each with an admin, two agents with keys, and a watched model and MCP server."""
        target = Target(self.base_url, self.operator_key())
        self._targets.append(target)
        return target.a, target.b

    def close(self) -> None:
        for target in self._targets:
            target.upstream_a.close()
            target.upstream_b.close()
        super().close()
        lock.see_off(self.home)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    with Platform() as running:
        yield running


@pytest.fixture
def own_platform() -> Iterator[Platform]:
    with Platform() as running:
        yield running
