"""Token exchange through a whole deployment, beside the verification alone: one workload's token, one at a time.

A real platform (Postgres, issuer, ledger, gateway as processes) shares the machine's cores with the client. The
workload's issuer is pinned, so nothing is fetched. Each exchange is on record, durably, before it is answered. Rounds
are interleaved over agents, because a subject has at most 1,000 live tokens. Every exchange shows a fresh token;
`again` one that was shown before, and `first` one of a workload that has not been here.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httptools
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

from bench.report import Target, report, wants_json
from partywall.assurance.wire import Wire
from partywall.control.federation.fetch import Fetcher
from partywall.control.federation.identity import IdentityProvider, ProviderKind
from partywall.control.federation.keys import ProviderKeys
from partywall.control.federation.verifier import Verifier
from partywall.gateway.form import FORM
from partywall.settings import FederationSettings
from partywall.supervisor.throwaway import Throwaway
from partywall.wire.oauth import ACCESS_TOKEN, JWT, TOKEN_EXCHANGE, TRANSACTION_TOKEN

ISSUER = "https://cluster.example"
AGENTS = 6
STRANGERS = 60
CALLS = 100
WARM = 30
PATH = "/v1/oauth/token"


class Workload:
    """A pinned issuer and the tokens that it gives."""

    def __init__(self, algorithm: str, key: Key) -> None:
        self.algorithm = algorithm
        self.key = key
        self.key_set = {"keys": [{**key.as_dict(private=False), "kid": "one", "use": "sig", "alg": algorithm}]}

    def token(self, subject: str, audience: str) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": subject, "aud": audience, "iat": now, "exp": now + 3_000}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return jwt.encode({"alg": self.algorithm, "kid": "one"}, claims, self.key, algorithms=[self.algorithm])


class Tenant:
    """A tenant of the deployment, with agents that workloads are bound to."""

    def __init__(self, platform: Throwaway, workload: Workload, slug: str) -> None:
        self._wire = Wire(platform.url)
        operator = platform.operator_key()
        self.id = self._call("POST", "/v1/tenants", operator, {"slug": slug})["id"]
        admin = self._call("POST", f"/v1/tenants/{self.id}/admins", operator, {"slug": "root"})["key"]["secret"]
        body = {"slug": "cluster", "kind": "workload", "issuer": ISSUER, "jwks": workload.key_set}
        idp = self._call("POST", "/v1/identity-providers", admin, body)["id"]
        self.keys: list[str] = []
        grants = [{"action": "memory", "resource": "memory/self"}]
        for number in range(AGENTS + STRANGERS):
            subject = {"kind": "agent", "slug": f"a{number}", "grants": grants}
            agent = self._call("POST", "/v1/subjects", admin, subject)["id"]
            bound = {"idp": idp, "subject": agent, "match_subject": f"worker-{number}"}
            self._call("POST", "/v1/identity-bindings", admin, bound)
            self.keys.append(self._call("POST", "/v1/keys", admin, {"subject": agent})["secret"])
        self.kept = [self.token(workload, number) for number in range(AGENTS)]

    def token(self, workload: Workload, number: int) -> str:
        """Return a fresh token of the workload that is bound to an agent."""
        return workload.token(f"worker-{number}", f"pw:local:{self.id}")

    def _call(self, method: str, path: str, credential: str, body: Any) -> Any:
        answer = self._wire.send(method, path, credential=credential, body=body)
        assert answer.status in {200, 201}, answer.body
        return answer.json()


class Kept:
    """One connection that asks for one token after the other."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._host = f"{host}:{port}"
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, form: dict[str, str]) -> float:
        """Return the milliseconds that a form took to be answered."""
        data = urlencode({"grant_type": TOKEN_EXCHANGE} | form)
        head = f"POST {PATH} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: {FORM}\r\n"
        sent = f"{head}content-length: {len(data)}\r\n\r\n{data}".encode()
        self._done, self._body = False, b""
        parser = httptools.HttpResponseParser(self)
        started = time.perf_counter()
        self._socket.sendall(sent)
        while not self._done:
            parser.feed_data(self._socket.recv(65_536))
        taken = (time.perf_counter() - started) * 1e3
        assert parser.get_status_code() == 200, self._body
        return taken

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._done = True

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def forms(tenant: Tenant, workload: Workload) -> dict[str, Callable[[int], dict[str, str]]]:
    """Return what is asked, by name: of which agent -> the form. again: a token that was shown a moment ago."""
    return {
        "exchange": lambda n: {"subject_token": tenant.token(workload, n), "subject_token_type": JWT},
        "again": lambda n: {"subject_token": tenant.kept[n], "subject_token_type": JWT},
        "own": lambda n: {"subject_token": tenant.keys[n], "subject_token_type": ACCESS_TOKEN, "scope": "memory"},
        "transaction": lambda n: {
            "subject_token": tenant.keys[n],
            "subject_token_type": ACCESS_TOKEN,
            "requested_token_type": TRANSACTION_TOKEN,
            "scope": "memory",
        },
    }


def verified_ms(workload: Workload) -> list[float]:
    """Return what verifying such a token alone takes, in this process."""
    provider = IdentityProvider(
        id="idp_bench",
        tenant="ten_bench",
        organisation=None,
        slug="bench",
        kind=ProviderKind.WORKLOAD,
        issuer=ISSUER,
        audiences=("us",),
        algorithms=(workload.algorithm,),
        max_age_s=3_600.0,
        single_use=False,
        jwks=json.dumps(workload.key_set),
    )
    token = workload.token("worker-0", "us")

    async def run() -> list[float]:
        keys = ProviderKeys(Fetcher(FederationSettings()), clock=time.monotonic)
        verifier = Verifier(keys, clock=time.time)
        taken = []
        for _ in range(300):
            started = time.perf_counter()
            await verifier.verify(provider, token)
            taken.append((time.perf_counter() - started) * 1e3)
        return taken

    return asyncio.run(run())


def measure() -> tuple[list[Target], dict[str, Any]]:
    """Return the targets with their values, and the figures."""
    workload = Workload("ES256", ECKey.generate_key("P-256"))
    rsa = Workload("RS256", RSAKey.generate_key(2048))
    taken: dict[str, list[float]] = {}
    with Throwaway("--no-model") as platform:
        tenant = Tenant(platform, workload, f"bench-{secrets.token_hex(3)}")
        asked, line = forms(tenant, workload), Kept(platform.url)
        for name, form in asked.items():
            for number in range(WARM):
                line.ask(form(number % AGENTS))
            taken[name] = []
        for number in range(CALLS * AGENTS):
            for name, form in asked.items():
                taken[name].append(line.ask(form(number % AGENTS)))
        first = [
            line.ask({"subject_token": tenant.token(workload, number), "subject_token_type": JWT})
            for number in range(AGENTS, AGENTS + STRANGERS)
        ]
        line.close()
    alone = verified_ms(workload)
    figures: dict[str, Any] = {"calls": CALLS * AGENTS, "algorithm": workload.algorithm}
    for name, values in taken.items():
        figures[f"{name}_p50_ms"] = round(statistics.median(values), 3)
        figures[f"{name}_p99_ms"] = round(statistics.quantiles(values, n=100)[98], 3)
    figures["first_of_its_workload_p50_ms"] = round(statistics.median(first), 3)
    figures["verification_alone_p50_ms"] = round(statistics.median(alone), 3)
    figures["verification_alone_rs256_p50_ms"] = round(statistics.median(verified_ms(rsa)), 3)
    return [Target("token exchange p50", figures["exchange_p50_ms"], "<=", 3.0, "ms")], figures


def main() -> int:
    targets, figures = measure()
    return report("doors_exchange", targets, figures, wants_json())


if __name__ == "__main__":
    sys.exit(main())
