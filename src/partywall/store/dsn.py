"""DSN files: one line `postgresql://role:password@host/database?…`, readable by one process."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from partywall.errors import Unavailable


def format_dsn(role: str, password: str, database: str, socket_dir: Path) -> str:
    """Return the DSN of a role over a local socket."""
    return f"postgresql://{role}:{quote(password, safe='')}@/{database}?host={quote(str(socket_dir), safe='/')}"


def read_dsn(path: Path) -> str:
    """Return the DSN that a file holds. Raises: Unavailable."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"the DSN file {path.name} cannot be read", retry_after_s=1.0) from error


def password_of(path: Path) -> str | None:
    """Return the password in a DSN file, or None when there is no such file or it holds none."""
    try:
        found = urlsplit(path.read_text().strip()).password
    except (FileNotFoundError, UnicodeDecodeError, ValueError):
        return None
    return unquote(found) if found else None


def with_role(dsn: str, role: str, password: str) -> str:
    """Return the same place for another role. Raises: Unavailable unless it is a postgresql:// URL."""
    try:
        parts = urlsplit(dsn)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"postgresql", "postgres"}:
        raise Unavailable("a DSN file must hold one postgresql:// URL", code="bad-configuration")
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(password, safe='')}@{place}"))
