"""A tenant's own workload identity: a key that its SPIFFE bundle publishes, and the JWT-SVIDs that it signs."""

from __future__ import annotations

import time
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

LIFE_S = 300
ALGORITHM = "ES256"
KEY_ID = "demo"


class Workload:
    """Signs as `spiffe://<slug>.example/agent`."""

    def __init__(self, slug: str) -> None:
        self.issuer = f"spiffe://{slug}.example"
        self.name = f"{self.issuer}/agent"
        self._key = ECKey.generate_key("P-256")

    @property
    def bundle(self) -> dict[str, Any]:
        """The public key, as a SPIFFE bundle."""
        key = {**self._key.as_dict(private=False), "kid": KEY_ID, "use": "jwt-svid"}
        return {"spiffe_sequence": 1, "keys": [key]}

    def token(self, audience: str) -> str:
        """Return a JWT-SVID for an audience."""
        claims = {"sub": self.name, "aud": [audience], "exp": int(time.time()) + LIFE_S}
        header = {"alg": ALGORITHM, "kid": KEY_ID, "typ": "JWT"}
        return jwt.encode(header, claims, self._key, algorithms=[ALGORITHM])
