"""Attacks on the token exchange: foreign tokens that prove nothing here, and wishes for more than was shown."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
import warnings
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import ECKey

from partywall.assurance.probe import expect, probe
from partywall.assurance.target import Side, Target
from partywall.assurance.wire import Answer
from partywall.gateway.form import FORM
from partywall.wire.oauth import ACCESS_TOKEN, JWT, TOKEN_EXCHANGE

SCOPES = ["memory", "model.request"]


class Foreign:
    """An issuer that one side trusts, by a pinned key, for its agent alone."""

    def __init__(self, side: Side, *, kind: str = "workload", issuer: str | None = None) -> None:
        self.side = side
        self.issuer = issuer or f"https://{secrets.token_hex(8)}.probe.invalid"
        self.audience = f"pw:{_region(side)}:{side.tenant}"
        self.key = ECKey.generate_key("P-256")
        public = {**self.key.as_dict(private=False), "kid": "one", "alg": "ES256"}
        body = {"slug": f"probe-{secrets.token_hex(4)}", "kind": kind, "issuer": self.issuer, "algorithms": ["ES256"]}
        made = side.api("POST", "/v1/identity-providers", body | {"jwks": {"keys": [public]}})
        bound = {"idp": made["id"], "subject": side.agent, "match_subject": "worker", "scopes": SCOPES}
        side.api("POST", "/v1/identity-bindings", bound)

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return what an honest token says."""
        now = int(time.time())
        honest = {"iss": self.issuer, "sub": "worker", "aud": self.audience, "iat": now, "exp": now + 200}
        return honest | {"jti": secrets.token_hex(8)} | changed

    def token(self, **changed: Any) -> str:
        """Return a token as the issuer signs it."""
        return self.sign(self.key, **changed)

    def sign(self, key: ECKey, **changed: Any) -> str:
        """Return a token that some key signed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return jwt.encode({"alg": "ES256", "kid": "one"}, self.claims(**changed), key, algorithms=["ES256"])

    def exchange(self, token: str, type_: str = JWT, **form: str) -> Answer:
        """Show a token at the token endpoint."""
        whole = {"grant_type": TOKEN_EXCHANGE, "subject_token": token, "subject_token_type": type_} | form
        raw = urlencode(whole).encode()
        return self.side.wire.send("POST", "/v1/oauth/token", raw=raw, headers={"content-type": FORM})


def _region(side: Side) -> str:
    claims = side.new_token(side.agent).split(".")[1]
    return str(json.loads(_decode(claims))["region"])


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _refused(attempts: dict[str, Answer]) -> None:
    for name, answer in attempts.items():
        expect(answer.status in {400, 401}, f"{name}: {answer.brief()}")
        expect(b"access_token" not in answer.body, f"{name}: a token was given")


@probe("ID-11", "a token that the trusted issuer did not sign is worth nothing", control="foreign token verification")
def foreign(target: Target) -> str:
    a = Foreign(target.a)
    b = Foreign(target.b, issuer=a.issuer)
    expect(a.exchange(a.token()).status == 200, "an honest token is refused, so nothing was proved")
    claims = _encode(a.claims())
    mac = _encode({"alg": "HS256", "kid": "one"})
    forged = hmac.digest(a.key.as_pem(private=False), f"{mac}.{claims}".encode(), "sha256")
    attempts = {
        "another key under the same id": a.sign(ECKey.generate_key("P-256")),
        "the key of a neighbour's provider of the same name": a.sign(b.key),
        "algorithm none": f"{_encode({'alg': 'none', 'kid': 'one'})}.{claims}.",
        "HMAC with the public key": f"{mac}.{claims}.{_encode(forged)}",
        "another issuer": a.token(iss="https://elsewhere.probe.invalid"),
        "a subject that nobody bound": a.token(sub="worker2"),
        "expired": a.token(iat=int(time.time()) - 100, exp=int(time.time()) - 1),
    }
    _refused({name: a.exchange(token, audience=a.audience) for name, token in attempts.items()})
    return f"{len(attempts)} foreign tokens refused"


@probe("ID-12", "a token that was made for somebody else is worth nothing here", control="foreign audience")
def for_somebody_else(target: Target) -> str:
    a, b = Foreign(target.a), Foreign(target.b)
    expect(a.exchange(a.token()).status == 200, "an honest token is refused, so nothing was proved")
    attempts = {
        "another service's": a.token(aud="https://other.probe.invalid"),
        "the neighbour's": a.token(aud=b.audience),
        "ours and another's": a.token(aud=[a.audience, "https://other.probe.invalid"]),
        "nobody's": a.token(aud=[]),
    }
    _refused({name: a.exchange(token, audience=a.audience) for name, token in attempts.items()})
    _refused({"shown to the neighbour": b.exchange(a.token(), audience=b.audience)})
    return f"{len(attempts) + 1} tokens for others refused"


@probe("ID-13", "an assertion is good once", control="assertion single use")
def replayed(target: Target) -> str:
    a = Foreign(target.a, kind="oidc")
    token = a.token()
    expect(a.exchange(token).status == 200, "an honest assertion is refused, so nothing was proved")
    again = [a.exchange(token) for _ in range(3)]
    _refused({f"time {number + 2}": answer for number, answer in enumerate(again)})
    return "used once, refused three times"


@probe("ID-14", "an exchange gives nothing that was not shown", control="exchange narrows")
def widened(target: Target) -> str:
    side = target.a
    a = Foreign(side)
    narrow = side.new_token(side.agent, scopes=["memory"])
    key = {"actor_token": side.key, "actor_token_type": ACCESS_TOKEN}
    attempts = {
        "a scope beyond the binding": a.exchange(a.token(), scope="model.request tool.call"),
        "a scope beyond the token": a.exchange(narrow, ACCESS_TOKEN, scope="model.request"),
        "an agent for an agent": a.exchange(a.token(), **key),
        "an agent for the neighbour's": a.exchange(target.b.new_token(target.b.agent), ACCESS_TOKEN, **key),
        "another tenant for the same token": a.exchange(narrow, ACCESS_TOKEN, audience=f"{a.audience[:-26]}{'a' * 26}"),
    }
    for name, answer in attempts.items():
        expect(answer.status >= 400 and b"access_token" not in answer.body, f"{name}: {answer.brief()}")
    given = a.exchange(a.token()).json()
    claims = json.loads(_decode(given["access_token"].split(".")[1]))
    expect(claims.get("scp") == SCOPES, f"the token carries {claims.get('scp')}, the binding {SCOPES}")
    expect(claims["exp"] <= time.time() + 200, "the token outlives what was shown for it")
    return f"{len(attempts)} wider wishes refused; scope and life as shown"
