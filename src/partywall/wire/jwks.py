"""The JSON Web Key Set of the access tokens' verification keys. Source: RFC 7517, RFC 8037."""

from __future__ import annotations

import base64
from collections.abc import Mapping


def jwks(keys: Mapping[str, bytes]) -> dict[str, list[dict[str, str]]]:
    """Return the set, ordered by key id. keys: raw Ed25519 public keys, 32 bytes each, by key id."""
    return {"keys": [_jwk(kid, keys[kid]) for kid in sorted(keys)]}


def _jwk(kid: str, public_key: bytes) -> dict[str, str]:
    if len(public_key) != 32:
        raise ValueError("an Ed25519 public key has 32 bytes")
    coordinate = base64.urlsafe_b64encode(public_key).decode().rstrip("=")
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": coordinate}
