"""The command line's own keys: one file of profiles, readable by its owner alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from partywall.settings import default_home


class Profile(msgspec.Struct, frozen=True):
    """Where to call, and with which API key or access token.

    refresh, ends_at_s (Unix seconds): of a sign-in that lasts, how to renew the token and when.
    """

    url: str
    key: str
    note: str = ""
    refresh: str = ""
    ends_at_s: float = 0.0


class _File(msgspec.Struct):
    current: str = "default"
    profiles: dict[str, Profile] = {}


class CredentialsStore:
    """`cli/credentials.json` of the home (0600)."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_home().path / "cli" / "credentials.json"

    def get(self, name: str | None = None) -> Profile | None:
        """Return a profile, the current one without a name. Raises: click.ClickException for an unknown name."""
        file = self._read()
        found = file.profiles.get(name or file.current)
        if name and found is None:
            known = ", ".join(sorted(file.profiles)) or "none yet"
            raise click.ClickException(f"there is no profile {name} (saved: {known}); `partywall login` makes one")
        return found

    def names(self) -> dict[str, Profile]:
        """Return all profiles."""
        return self._read().profiles

    @property
    def current(self) -> str:
        """The profile that is used without `--profile`."""
        return self._read().current

    def save(self, name: str, profile: Profile, *, use: bool) -> None:
        """Add or replace a profile; with use, it becomes the current one."""
        file = self._read()
        file.profiles[name] = profile
        if use or file.current not in file.profiles:
            file.current = name
        self._write(file)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from renewing a sign-in meanwhile: a refresh token is good once."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def forget(self, name: str) -> None:
        """Remove a profile. Raises: click.ClickException."""
        self.get(name)
        file = self._read()
        file.profiles.pop(name, None)
        self._write(file)

    def _write(self, file: _File) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self.path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(file)))
        fresh.replace(self.path)

    def use(self, name: str) -> None:
        """Make a saved profile the current one. Raises: click.ClickException."""
        profile = self.get(name)
        assert profile is not None
        self.save(name, profile, use=True)

    def _read(self) -> _File:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_File)
        except FileNotFoundError:
            return _File()
        except (msgspec.DecodeError, PermissionError) as error:
            raise click.ClickException(f"cannot read {self.path}: {error}") from error
