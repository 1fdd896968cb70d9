"""The folders of a home: who owns each, and who may enter.

A process's own folders are closed (0700). Socket folders can be entered, not listed, by the group of those who talk to
that process; being set-gid, they hand the group on to the sockets. The home itself can be passed, not listed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import msgspec

from partywall.errors import Unavailable
from partywall.settings import Home, Settings
from partywall.supervisor.identity import Isolation

INSTANCES: Final = ("control", "data")
SECRET_HOLDERS: Final = ("issuer", "ledger", "gateway")

SOCKET_PATH_LIMIT_BYTES: Final = 107
"""Source: unix(7), sun_path."""


def settings_copy(home: Home) -> Path:
    """Where the processes read the settings that this start resolved: the operator's file may be closed to them."""
    return home.run / "settings.json"


def prepare(home: Home, settings: Settings, isolation: Isolation) -> None:
    """Make the folders, give each to its owner, and write the settings of this start.

    Raises: Unavailable when the home belongs to somebody else, or its path is too long.
    """
    if len(os.fsencode(home.issuer_socket)) > SOCKET_PATH_LIMIT_BYTES:
        raise Unavailable(f"the path {home.path} is too long for local sockets: set PARTYWALL_HOME to a shorter one")
    passable = 0o711 if isolation.separate else 0o700
    try:
        _folder(home.path, passable)
        if home.run.exists():
            shutil.rmtree(home.run)
        for shared in (home.run, home.secrets("any").parent, home.postgres_data("any").parent):
            _folder(shared, passable)
        _folder(home.log("any").parent, 0o700)
        for process, path in _owned(home):
            _folder(path, 0o700, owner=isolation.of(process).uid, group=isolation.of(process).gid)
        for process, path in _sockets(home):
            _folder(path, 0o2710, owner=isolation.of(process).uid, group=isolation.sockets_gid)
        _folder(
            home.public_keys, 0o1775 if isolation.separate else 0o755, owner=os.geteuid(), group=isolation.public_gid
        )
        _write(settings_copy(home), msgspec.json.encode(settings))
    except PermissionError as error:
        owner = home.path.stat().st_uid if home.path.exists() else os.geteuid()
        raise Unavailable(
            f"{error.filename or home.path} is closed to you: start as the user that made this home (uid {owner}), "
            "or set PARTYWALL_HOME to another folder"
        ) from error


def _owned(home: Home) -> list[tuple[str, Path]]:
    postgres = [(f"postgres-{instance}", home.postgres_data(instance)) for instance in INSTANCES]
    secrets = [(process, home.secrets(process)) for process in SECRET_HOLDERS]
    own = [("issuer", home.issuer), ("ledger", home.ledger), ("ledger", home.kek), ("gateway", home.run / "gateway"),
           ("model", home.model)]  # fmt: skip
    return [*postgres, *secrets, *own]


def _sockets(home: Home) -> list[tuple[str, Path]]:
    postgres = [(f"postgres-{instance}", home.postgres_socket_dir(instance)) for instance in INSTANCES]
    return [*postgres, ("issuer", home.issuer_socket.parent), ("ledger", home.ledger_socket.parent),
            ("model", home.run / "model"), ("embeddings", home.embeddings_socket.parent)]  # fmt: skip


def _folder(path: Path, mode: int, *, owner: int = -1, group: int = -1) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.stat()
    if os.geteuid() == 0 and owner not in {-1, found.st_uid}:
        _give(path, owner, group)
    if group != -1 and path.stat().st_gid != group:
        os.chown(path, -1, group)
    if path.stat().st_mode & 0o7777 != mode:
        path.chmod(mode)


def _give(path: Path, owner: int, group: int) -> None:
    """Hand a whole tree over: an earlier start may have used other users."""
    for folder, _, files in os.walk(path):
        for name in (folder, *(f"{folder}/{file}" for file in files)):
            os.chown(name, owner, group, follow_symlinks=False)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o644)
