"""Executes a program as another user, in a view of the file system where it reaches what it needs and no more.

The interpreter, the environment or the home may lie below a folder that the platform's users cannot pass (`/root` is
0700). Nobody's permissions are changed for that: the child gets a mount namespace of its own, in which each closed
ancestor is covered by an empty read-only tmpfs, and only the named folders are bound back at their own paths. Whatever
else lies there is out of the child's sight.

Runs as a script, with the standard library only and without `site`, so that it costs some 20 ms of a start.

Invariant: the parent-death signal is set after the last change of credentials (the kernel clears it then), and the
parent is checked once more after that, so no child outlives a supervisor that was killed in between.
Source: mount_namespaces(7), prctl(2) PR_SET_PDEATHSIG, docs/adr/0008-processes.md.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import signal
import stat
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

FAILED_STATUS: Final = 126
CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWNET: Final = 0x4000_0000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x4_0000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

_libc = ctypes.CDLL(None, use_errno=True)


class ConfineError(Exception):
    """The view or the identity could not be made; the text says which step."""


class Bind(NamedTuple):
    """A folder that the program must reach at its own path."""

    path: str
    writable: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Confine this process and execute; returns only on failure."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        confine(options)
        os.execve(options.argv[0], options.argv, dict(os.environ))  # noqa: S606  # the supervisor names the program
    except (ConfineError, OSError) as error:
        line = {"level": "error", "process": "confine", "event": "confine.failed", "reason": str(error)[:256]}
        sys.stderr.write(json.dumps(line, separators=(",", ":")) + "\n")
    return FAILED_STATUS


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="confine")
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--groups", default="")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--death-signal", type=int, default=int(signal.SIGKILL))
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("--bind-read-only", action="append", default=[])
    parser.add_argument("--no-network", action="store_true")
    parser.add_argument("argv", nargs="+")
    return parser.parse_args(list(arguments))


def confine(options: argparse.Namespace) -> None:
    """Apply all of it to this process. Raises: ConfineError, OSError."""
    os.umask(0o022)
    os.chdir("/")
    if options.uid is not None and os.geteuid() == 0:
        groups = [int(group) for group in options.groups.split(",") if group]
        binds = [Bind(path, True) for path in options.bind] + [Bind(path, False) for path in options.bind_read_only]
        open_view(binds, options.uid, {options.gid, *groups})
        if options.no_network:
            leave_network()
        os.setgroups(groups)
        os.setresgid(options.gid, options.gid, options.gid)
        os.setresuid(options.uid, options.uid, options.uid)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_PDEATHSIG, options.death_signal)
    if os.getppid() != options.parent:
        raise ConfineError("the supervisor is gone")


def leave_network() -> None:
    """Leave this process without any network, loopback included; sockets of the file system stay.

    Where the starter may not (a container without the right), the process keeps what its starter has: see ADR-0008.
    """
    _libc.unshare(CLONE_NEWNET)


def open_view(binds: Sequence[Bind], uid: int, groups: set[int]) -> None:
    """Make every bind reachable for this user, in a mount namespace of its own; nothing to do when all are."""
    covered: dict[str, list[Bind]] = {}
    for bind in sorted(set(binds), key=lambda bind: len(bind.path)):
        closed = first_closed_ancestor(bind.path, uid, groups)
        if closed is not None:
            covered.setdefault(closed, []).append(bind)
    if not covered:
        return
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise ConfineError(f"cannot make a mount namespace: {os.strerror(ctypes.get_errno())}")
    _mount(None, "/", MS_REC | MS_PRIVATE)
    for closed, wanted in covered.items():
        _cover(closed, wanted)


def first_closed_ancestor(path: str, uid: int, groups: set[int]) -> str | None:
    """Return the topmost folder above path that this user may not pass, or None."""
    ancestor = ""
    for part in os.path.dirname(os.path.normpath(path)).split("/"):  # noqa: PTH120  # no pathlib: it costs start-up
        ancestor = (ancestor.rstrip("/") + "/" + part) if part else "/"
        found = os.stat(ancestor)  # noqa: PTH116
        bit = stat.S_IXUSR if found.st_uid == uid else stat.S_IXGRP if found.st_gid in groups else stat.S_IXOTH
        if not found.st_mode & bit:
            return ancestor
    return None


def _cover(closed: str, wanted: Sequence[Bind]) -> None:
    """Put an empty tmpfs over a closed folder and bind the wanted ones back."""
    sources = [(bind, os.open(bind.path, os.O_PATH | os.O_DIRECTORY)) for bind in wanted]
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _mount("tmpfs", closed, flags, kind="tmpfs", data="mode=0755,size=256k")
    for bind, source in sources:
        os.makedirs(bind.path, mode=0o755, exist_ok=True)  # noqa: PTH103
        _mount(f"/proc/self/fd/{source}", bind.path, MS_BIND | MS_REC)
        remount = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | (MS_NOEXEC if bind.writable else MS_RDONLY)
        _mount(None, bind.path, remount)
        os.close(source)
    _mount(None, closed, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def _mount(source: str | None, target: str, flags: int, *, kind: str | None = None, data: str | None = None) -> None:
    encoded = [text.encode() if text is not None else None for text in (source, target, kind, data)]
    if _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]) != 0:
        raise ConfineError(f"cannot mount on {target}: {os.strerror(ctypes.get_errno())}")


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if _libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise ConfineError(f"prctl {option} failed: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    sys.exit(main())
