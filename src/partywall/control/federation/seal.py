"""Client secrets at rest: sealed under a key that only the issuer has, each for the one provider it was given to."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from partywall.control.keyring import write_secret
from partywall.errors import Unavailable

KEY_FILE: Final = "client-secrets.key"
NONCE_BYTES: Final = 12


class ClientSecrets:
    """folder: the issuer's own (0700); the key in it is made at the first use."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / KEY_FILE

    def seal(self, provider: str, secret: str) -> bytes:
        """Return what may lie in the database."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, secret.encode(), provider.encode())

    def open(self, provider: str, sealed: bytes) -> str:
        """Return a provider's client secret. Raises: Unavailable when it was sealed by another deployment."""
        try:
            return self._cipher().decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], provider.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise Unavailable("register the identity provider again: its secret cannot be opened here") from error

    def _cipher(self) -> AESGCM:
        if not self._path.exists():
            write_secret(self._path, AESGCM.generate_key(256))
        return AESGCM(self._path.read_bytes())
