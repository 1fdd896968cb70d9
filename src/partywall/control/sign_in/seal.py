"""What the issuer remembers of a sign-in under way, kept by the person's own browser: sealed, so that it says and
changes nothing there.

Whoever has not signed in costs no row of any table, so nobody can fill one. A seal is AES-256-GCM under a key that only
the issuer has; what it was made for is its associated data.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from partywall.control.keyring import write_secret
from partywall.errors import Malformed

KEY_FILE: Final = "sign-in.key"
NONCE_BYTES: Final = 12


class Seal:
    """folder: the issuer's own (0700); the key in it is made at the first use."""

    def __init__(self, folder: Path) -> None:
        path = folder / KEY_FILE
        if not path.exists():
            write_secret(path, AESGCM.generate_key(256))
        self._cipher = AESGCM(path.read_bytes())

    def close(self, purpose: str, content: bytes) -> str:
        """Return content sealed, as base64url."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, content, purpose.encode())
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, purpose: str, sealed: str) -> bytes:
        """Return what was sealed for this purpose. Raises: Malformed for anything else."""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], purpose.encode())
        except (binascii.Error, ValueError, InvalidTag) as error:
            raise Malformed("this sign-in was not begun here", code="bad-sign-in") from error
