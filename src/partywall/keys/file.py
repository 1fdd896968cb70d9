"""Data keys in files: one key-encryption key per tenant, wrapped data keys beside it.

    kek/<tenant>/kek                  32 random bytes, 0600
    kek/<tenant>/<purpose>.<version>  nonce (12) | AES-256-GCM(data key), bound to tenant, purpose and version

    kek/<tenant>/destroyed            the tenant's keys are gone for good

`destroy` unlinks the key-encryption key after overwriting it; on a disk that keeps old blocks (copy on write, flash,
backups of this folder) that is not erasure, and a key service is the answer. Source: ADR-0006, attacks.md CR-1.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from partywall.durable import sync_folder, write_durably
from partywall.errors import Malformed, NotFound, Unavailable
from partywall.wire.ids import TenantId

CACHE_LIMIT: Final = 4096
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_TENANT: Final = re.compile(r"ten_[a-z2-7]{26}|platform", re.ASCII)
_PURPOSE: Final = re.compile(r"[a-z]{1,16}", re.ASCII)


class FileKeys:
    """Implements `decision.ports.Keys`; the `*_now` methods are the same without a loop. folder: `Home.kek`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: OrderedDict[tuple[TenantId, str, int], bytes] = OrderedDict()
        self._newest: OrderedDict[tuple[TenantId, str], int] = OrderedDict()

    async def data_key(self, tenant: TenantId, purpose: str, version: int | None = None) -> tuple[int, bytes]:
        return self.data_key_now(tenant, purpose, version)

    async def rotate(self, tenant: TenantId, purpose: str) -> int:
        return self.rotate_now(tenant, purpose)

    async def destroy(self, tenant: TenantId) -> None:
        self.destroy_now(tenant)

    def data_key_now(self, tenant: TenantId, purpose: str, version: int | None = None) -> tuple[int, bytes]:
        """Return (version, key). Raises: NotFound when destroyed or never made; Unavailable when unreadable."""
        wanted = version or 0
        if version is None:
            wanted = self._newest_version(tenant, purpose) or self.rotate_now(tenant, purpose)
        key = self._cache.get((tenant, purpose, wanted))
        if key is None:
            key = self._unwrap(tenant, purpose, wanted)
            self._remember(tenant, purpose, wanted, key)
        return wanted, key

    def rotate_now(self, tenant: TenantId, purpose: str) -> int:
        """Make a new version; see `rotate`."""
        version = self._newest_version(tenant, purpose) + 1
        kek = self._kek(tenant, make=version == 1)
        key, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
        wrapped = nonce + AESGCM(kek).encrypt(nonce, key, _bound(tenant, purpose, version))
        _write(self._wrapped(tenant, purpose, version), wrapped)
        self._remember_newest(tenant, purpose, version)
        self._remember(tenant, purpose, version, key)
        return version

    def destroy_now(self, tenant: TenantId) -> None:
        """Overwrite and unlink the tenant's key-encryption key, and forget every data key.

        The marker is written first: a crash at any point leaves a tenant whose keys nobody is given any more.
        """
        path = self._home(tenant) / "kek"
        _write(path.with_name("destroyed"), b"")
        try:
            with path.open("r+b") as file:
                file.write(bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
            sync_folder(path.parent)
        except FileNotFoundError:
            pass
        for entry in [entry for entry in self._cache if entry[0] == tenant]:
            del self._cache[entry]
        for newest in [newest for newest in self._newest if newest[0] == tenant]:
            del self._newest[newest]

    def _home(self, tenant: TenantId) -> Path:
        if not _TENANT.fullmatch(tenant):
            raise Malformed("not a tenant", code="malformed-id")
        return self._folder / tenant

    def _wrapped(self, tenant: TenantId, purpose: str, version: int | str) -> Path:
        if not _PURPOSE.fullmatch(purpose):
            raise Malformed("not a purpose", code="malformed-purpose")
        return self._home(tenant) / f"{purpose}.{version}"

    def _newest_version(self, tenant: TenantId, purpose: str) -> int:
        folder, pattern = self._wrapped(tenant, purpose, "*").parent, f"{purpose}.*"
        known = self._newest.get((tenant, purpose))
        if known is not None:
            return known
        suffixes = [path.name.removeprefix(f"{purpose}.") for path in folder.glob(pattern)]
        newest = max((int(suffix) for suffix in suffixes if suffix.isdecimal()), default=0)
        if newest:
            self._remember_newest(tenant, purpose, newest)
        return newest

    def _kek(self, tenant: TenantId, *, make: bool) -> bytes:
        path = self._home(tenant) / "kek"
        if path.with_name("destroyed").exists():
            raise NotFound("this tenant's key was destroyed", code="key-destroyed")
        try:
            kek = path.read_bytes()
        except FileNotFoundError:
            if not make:
                raise NotFound("this tenant's key was destroyed", code="key-destroyed") from None
            kek = os.urandom(KEY_BYTES)
            _write(path, kek)
        except OSError as error:
            raise Unavailable("a key cannot be read", code="keys-unreadable") from error
        if len(kek) != KEY_BYTES:
            raise Unavailable("a key file is damaged", code="keys-damaged")
        return kek

    def _unwrap(self, tenant: TenantId, purpose: str, version: int) -> bytes:
        path = self._wrapped(tenant, purpose, version)
        kek = self._kek(tenant, make=False)
        try:
            wrapped = path.read_bytes()
        except FileNotFoundError:
            raise NotFound("no such key version", code="no-key-version") from None
        except OSError as error:
            raise Unavailable("a key cannot be read", code="keys-unreadable") from error
        try:
            return AESGCM(kek).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(tenant, purpose, version))
        except (InvalidTag, ValueError) as error:
            raise Unavailable("a wrapped key is damaged", code="keys-damaged") from error

    def _remember(self, tenant: TenantId, purpose: str, version: int, key: bytes) -> None:
        self._cache[(tenant, purpose, version)] = key
        if len(self._cache) > CACHE_LIMIT:
            self._cache.popitem(last=False)

    def _remember_newest(self, tenant: TenantId, purpose: str, version: int) -> None:
        self._newest[(tenant, purpose)] = version
        if len(self._newest) > CACHE_LIMIT:
            self._newest.popitem(last=False)


def _write(path: Path, data: bytes) -> None:
    try:
        write_durably(path, data)
    except OSError as error:
        raise Unavailable("a key cannot be written", code="keys-unwritable", retry_after_s=5.0) from error


def _bound(tenant: TenantId, purpose: str, version: int) -> bytes:
    return f"partywall/data-key/v1|{tenant}|{purpose}|{version}".encode()
