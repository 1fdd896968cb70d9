"""Which user each process runs as: one of its own where the starter may choose, the starter's otherwise.

As root, system users without home, shell or password are made once. A folder that several processes share belongs to
a group; groups are given to a process when it starts (`confine`), so `/etc/group` needs no members.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final

import msgspec

from partywall.errors import Unavailable

USERS: Final[Mapping[str, str]] = {
    "postgres-control": "partywall-pg-control",
    "postgres-data": "partywall-pg-data",
    "issuer": "partywall-issuer",
    "ledger": "partywall-ledger",
    "gateway": "partywall-gateway",
    "model": "partywall-model",
    "embeddings": "partywall-embeddings",
}
"""Process (a gateway worker counts as `gateway`) -> system user."""

SOCKETS_GROUP: Final = "partywall"
"""May enter the socket folders of the issuer, the ledger and Postgres: the gateway and the issuer."""

PUBLIC_GROUP: Final = "partywall-public"
"""May add to the folder of public keys: the issuer and the ledger."""

_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "issuer": (SOCKETS_GROUP, PUBLIC_GROUP),
    "gateway": (SOCKETS_GROUP,),
    "ledger": (PUBLIC_GROUP,),
}


class Identity(msgspec.Struct, frozen=True):
    """A user as the kernel knows it. groups: supplementary gids."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class Isolation(msgspec.Struct, frozen=True):
    """level: `uid-per-process` or `shared-uid`; reason: why not the first, for the operator to read."""

    level: str
    reason: str
    identities: dict[str, Identity]
    sockets_gid: int
    public_gid: int

    @property
    def separate(self) -> bool:
        """Whether each process has a uid of its own."""
        return self.level == "uid-per-process"

    def of(self, process: str) -> Identity:
        """Return the identity of a process; `gateway-3` is a `gateway`."""
        return self.identities["gateway" if process.startswith("gateway") else process]


def choose() -> Isolation:
    """Return the best isolation that this starter may set up, making missing system users.

    Raises: Unavailable when the starter is root and not even a shared unprivileged user exists (Postgres refuses root).
    """
    if os.geteuid() != 0:
        user = _name_of(os.geteuid())
        return _shared(user, os.geteuid(), os.getegid(), "started without root, so all processes share your uid")
    try:
        groups = {name: _ensure_group(name) for name in (SOCKETS_GROUP, PUBLIC_GROUP)}
        identities = {process: _ensure_user(process, user, groups) for process, user in USERS.items()}
    except Unavailable as error:
        return _nobody(error.public)
    return Isolation("uid-per-process", "", identities, groups[SOCKETS_GROUP], groups[PUBLIC_GROUP])


def _shared(user: str, uid: int, gid: int, reason: str) -> Isolation:
    identity = Identity(user, uid, gid)
    return Isolation("shared-uid", reason, dict.fromkeys(USERS, identity), gid, gid)


def _nobody(reason: str) -> Isolation:
    try:
        found = pwd.getpwnam("nobody")
    except KeyError:
        raise Unavailable(f"{reason}, and there is no user `nobody`: start partywall without root") from None
    return _shared("nobody", found.pw_uid, found.pw_gid, reason)


def _ensure_group(name: str) -> int:
    with contextlib.suppress(KeyError):
        return grp.getgrnam(name).gr_gid
    _run("groupadd", "--system", name)
    return grp.getgrnam(name).gr_gid


def _ensure_user(process: str, user: str, groups: Mapping[str, int]) -> Identity:
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        _run("useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--user-group",
             "--shell", "/usr/sbin/nologin", user)  # fmt: skip
        found = pwd.getpwnam(user)
    if found.pw_uid == 0:
        raise Unavailable(f"the user {user} has uid 0")
    return Identity(user, found.pw_uid, found.pw_gid, tuple(groups[name] for name in _GROUPS.get(process, ())))


def _run(program: str, *arguments: str) -> None:
    found = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise Unavailable(f"{program} is missing, so all processes share one uid")
    try:
        done = subprocess.run([found, *arguments], capture_output=True, check=False, timeout=30)  # noqa: S603  # fixed
    except (OSError, subprocess.TimeoutExpired):
        raise Unavailable(f"{program} failed, so all processes share one uid") from None
    if done.returncode not in {0, 9}:  # 9: another starter made it first
        raise Unavailable(f"{program} failed ({done.returncode}), so all processes share one uid")


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
