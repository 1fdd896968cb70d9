"""Each folder of a home has its owner, and is closed to the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from partywall.app import read_settings
from partywall.settings import GatewaySettings, Home, Settings
from partywall.supervisor import layout
from partywall.supervisor.identity import Isolation, choose


@pytest.fixture(scope="module")
def isolation() -> Isolation:
    return choose()


def test_private_folders_are_closed_and_owned(tmp_path: Path, isolation: Isolation) -> None:
    home = Home(tmp_path / "home")
    layout.prepare(home, Settings(), isolation)
    private = {
        home.issuer: "issuer", home.ledger: "ledger", home.kek: "ledger", home.secrets("issuer"): "issuer",
        home.secrets("gateway"): "gateway", home.postgres_data("data"): "postgres-data",
    }  # fmt: skip
    for path, process in private.items():
        assert path.stat().st_mode & 0o7777 == 0o700, path
        assert path.stat().st_uid == isolation.of(process).uid, path
    assert home.log("x").parent.stat().st_mode & 0o777 == 0o700
    assert home.path.stat().st_mode & 0o077 in {0o011, 0}


def test_socket_folders_can_be_entered_by_their_callers_and_listed_by_nobody_else(
    tmp_path: Path, isolation: Isolation
) -> None:
    home = Home(tmp_path / "home")
    layout.prepare(home, Settings(), isolation)
    for path in (home.issuer_socket.parent, home.ledger_socket.parent, home.postgres_socket_dir("data")):
        assert path.stat().st_mode & 0o7777 == 0o2710
        assert path.stat().st_gid == isolation.sockets_gid


def test_a_second_start_makes_run_anew_and_keeps_the_rest(tmp_path: Path, isolation: Isolation) -> None:
    home = Home(tmp_path / "home")
    layout.prepare(home, Settings(), isolation)
    (home.run / "issuer" / "issuer.sock").touch()
    (home.ledger / "log").touch()
    layout.prepare(home, Settings(), isolation)
    assert not (home.run / "issuer" / "issuer.sock").exists()
    assert (home.ledger / "log").exists()


def test_processes_read_the_settings_of_this_start(tmp_path: Path, isolation: Isolation) -> None:
    home = Home(tmp_path / "home")
    settings = Settings(region="eu-1", gateway=GatewaySettings(port=1234))
    layout.prepare(home, settings, isolation)
    assert read_settings(home) == settings


@pytest.mark.skipif(os.geteuid() != 0, reason="ownership changes only as root")
def test_a_tree_of_an_earlier_user_is_handed_over(tmp_path: Path, isolation: Isolation) -> None:
    home = Home(tmp_path / "home")
    layout.prepare(home, Settings(), isolation)
    (home.ledger / "log").touch()
    os.chown(home.ledger, 12345, 12345)
    layout.prepare(home, Settings(), isolation)
    assert (home.ledger / "log").stat().st_uid == isolation.of("ledger").uid
