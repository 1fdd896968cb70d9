"""The embedding process of a real deployment: who it is, what it can reach, and what it does not hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.scenarios.platform_fixture import Platform
from tests.scenarios.test_embeddings_door import wait_for_embeddings

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="another uid and network can be had only by root")


@pytest.fixture(scope="module")
def proc(platform: Platform) -> Path:
    wait_for_embeddings(platform)
    return Path(f"/proc/{platform.process('embeddings').pid}")


@root_only
def test_it_has_no_network_at_all_and_a_uid_of_its_own(platform: Platform, proc: Path) -> None:
    assert (proc / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    interfaces = [line.split(":")[0].strip() for line in (proc / "net/dev").read_text().splitlines()[2:]]
    assert interfaces == ["lo"]
    assert (proc / "net/route").read_text().count("\n") <= 1
    uids = [process.uid for process in platform.state().processes]
    assert uids.count(platform.process("embeddings").uid) == 1


def test_it_is_told_to_report_to_nobody_and_to_start_no_threads_of_its_own(proc: Path) -> None:
    environment = dict(pair.split("=", 1) for pair in (proc / "environ").read_text().split("\0") if "=" in pair)
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert environment["OPENBLAS_NUM_THREADS"] == environment["OMP_NUM_THREADS"] == "1"
    assert not [name for name in environment if "KEY" in name or "TOKEN" in name.replace("TOKENIZERS", "")]
    assert len(list((proc / "task").iterdir())) <= 8


@root_only
def test_the_folders_of_others_are_closed_to_it_and_only_the_gateway_reaches_its_socket(platform: Platform) -> None:
    home, own = platform.home, platform.process("embeddings").uid
    closed = [home.issuer, home.ledger, home.secrets("gateway"), home.secrets("issuer"), home.postgres_data("data")]
    for folder in closed:
        found = folder.stat()
        assert found.st_uid != own
        assert found.st_mode & 0o077 == 0
    socket = home.embeddings_socket.parent.stat()
    assert (socket.st_uid, socket.st_mode & 0o007) == (own, 0)
    assert socket.st_gid == home.ledger_socket.parent.stat().st_gid
