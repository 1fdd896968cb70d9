"""A newcomer's evening, on the command line alone: sign in, make a tenant, an agent, a server; revoke; read the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from tests.scenarios.platform_fixture import Platform
from tests.scenarios.test_embeddings_door import wait_for_embeddings

from partywall.assurance.upstream import Upstream
from partywall.assurance.wire import Wire

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def newcomer(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run one command with `--json` and return its answer; the sign-in is kept between commands."""
    home = tmp_path_factory.mktemp("h")

    def run(*words: str, status: int = 0) -> Any:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "partywall.app", *words, "--json"],
            env={**os.environ, "PARTYWALL_HOME": str(home), "PARTYWALL_URL": platform.base_url},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout)

    run("login", "--api-key", platform.operator_key())
    return run


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    served = Upstream()
    yield served
    served.close()


@pytest.fixture(scope="module")
def acme(newcomer: Run, upstream: Upstream) -> str:
    """The profile of a new tenant's admin."""
    made = newcomer("tenant", "create", "acme-cli", "--admin", "root")
    assert made["tenant"]["state"] == "active"
    newcomer("model", "add", "acme-cli", "small", "--upstream", upstream.url, "--upstream-model", "probe")
    return str(made["profile"])


def test_a_tenant_is_listed_suspended_and_resumed(newcomer: Run, acme: str) -> None:
    assert "acme-cli" in [tenant["slug"] for tenant in newcomer("tenant", "list")["tenants"]]
    newcomer("tenant", "create", "sleepy")
    assert newcomer("tenant", "suspend", "sleepy")["state"] == "suspended"
    assert newcomer("tenant", "resume", "sleepy")["state"] == "active"


def test_an_agent_does_what_it_is_granted_and_nothing_after_its_key_is_revoked(
    newcomer: Run, acme: str, platform: Platform
) -> None:
    made = newcomer("--profile", acme, "agent", "create", "scout", "--grant", "model.request=model/small")
    wire = Wire(platform.base_url)
    chat = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}

    def ask() -> int:
        return wire.send("POST", "/v1/chat/completions", credential=made["key"]["secret"], body=chat).status

    assert ask() == 200
    newcomer("--profile", acme, "key", "revoke", made["key"]["id"])
    assert ask() == 401


def test_a_servers_tools_are_approved_granted_and_called(
    newcomer: Run, acme: str, platform: Platform, upstream: Upstream
) -> None:
    server = newcomer("--profile", acme, "server", "add", "desk", f"{upstream.url}/mcp", "--only", "echo", "--yes")
    assert server["id"].startswith("mcp_")
    assert newcomer("--profile", acme, "server", "list")["servers"][0]["tools"] == ["echo"]
    newcomer("--profile", acme, "agent", "create", "clerk", "--no-key")
    newcomer("--profile", acme, "agent", "grant", "clerk", "tool.call=tool/desk/echo")
    key = newcomer("--profile", acme, "key", "create", "clerk", "--days", "1")["secret"]
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "hi"}}}
    headers = {"mcp-protocol-version": "2025-11-25"}
    answer = Wire(platform.base_url).send("POST", "/mcp/desk", credential=key, body=body, headers=headers)
    assert answer.json()["result"]["content"][0]["text"] == "hi"
    newcomer("--profile", acme, "agent", "suspend", "clerk")
    refused = Wire(platform.base_url).send("POST", "/mcp/desk", credential=key, body=body, headers=headers).json()
    assert refused["result"]["isError"]
    assert "suspended" in refused["result"]["content"][0]["text"]


def test_tokens_and_keys_are_made_and_listed(newcomer: Run, acme: str) -> None:
    newcomer("--profile", acme, "agent", "create", "reader", "--no-key")
    token = newcomer("--profile", acme, "token", "create", "reader", "--scope", "model.request")
    assert token["expires_in"] <= 900
    newcomer("--profile", acme, "key", "create", "reader", "--scope", "model.request")
    keys = newcomer("--profile", acme, "key", "list")["keys"]
    assert all("secret" not in key for key in keys)


def test_a_neighbours_things_are_not_found(newcomer: Run, acme: str) -> None:
    other = newcomer("tenant", "create", "rival-cli", "--admin", "root")["profile"]
    theirs = newcomer("--profile", other, "agent", "create", "spy", "--no-key")
    problem = newcomer("--profile", acme, "token", "create", theirs["id"], status=1)
    assert problem["code"] == "not-found"


def test_a_policy_is_activated_shown_and_rolled_back(newcomer: Run, acme: str, tmp_path: Path) -> None:
    module = tmp_path / "p.rego"
    module.write_text('package tenant\n\ndeny_grant contains "no tools" if input.action.type == "tool.call"\n')
    first = newcomer("--profile", acme, "policy", "activate", str(module))["revision"]
    module.write_text('package tenant\n\ndeny_grant contains "no models" if input.action.type == "model.request"\n')
    newcomer("--profile", acme, "policy", "activate", str(module))
    assert "no models" in newcomer("--profile", acme, "policy", "show")["module"]
    newcomer("--profile", acme, "policy", "rollback", first)
    assert "no tools" in newcomer("--profile", acme, "policy", "show")["module"]


def test_the_log_has_it_all_and_verifies(newcomer: Run, acme: str, tmp_path: Path) -> None:
    actions = {leaf["activity"]["action"] for leaf in newcomer("--profile", acme, "audit", "show")["leaves"]}
    assert {"operator.agent", "operator.key", "audit.read"} <= actions
    archive = tmp_path / "acme.jsonl"
    exported = newcomer("--profile", acme, "audit", "export", str(archive))
    report = newcomer("audit", "verify", str(archive))
    assert report["holds"]
    assert report["leaves"] == exported["leaves"] > 20


def test_documents_are_added_found_and_removed(newcomer: Run, acme: str, platform: Platform, tmp_path: Path) -> None:
    wait_for_embeddings(platform)
    newcomer("model", "add", "acme-cli", "minilm", "--minilm")
    mine = ("--profile", acme)
    made = newcomer(*mine, "collection", "create", "handbook", "--model", "minilm")
    assert newcomer(*mine, "collection", "list") == {"collections": [made]}
    rights = ("ingest=collection/handbook", "retrieval.search=collection/handbook", "embed=model/minilm")
    words = [word for right in rights for word in ("--grant", right)]
    key = ("--key", newcomer(*mine, "agent", "create", "librarian", *words)["key"]["secret"])
    files = {"mail.md": "Mail is answered within one day.", "holiday.txt": "Thirty days of holiday a year."}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in files]
    added = newcomer(*key, "collection", "add", "handbook", *paths, "--meta", "team=people")
    assert [one["changed"] for one in added["documents"]] == [True, True]
    again = newcomer(*key, "collection", "add", "handbook", *paths, "--meta", "team=people")
    assert [one["changed"] for one in again["documents"]] == [False, False]
    [best] = newcomer(*key, "collection", "search", "handbook", "vacation", "--limit", "1")["results"]
    assert best["text"] == files["holiday.txt"]
    assert newcomer(*key, "collection", "search", "handbook", "x", "--filter", "team=none")["results"] == []
    gone = newcomer(*key, "collection", "delete", "handbook", "--document", best["document"])
    assert gone == {"id": best["document"], "deleted": True}
    newcomer(*mine, "collection", "delete", "handbook", "--yes")
    refused = newcomer(*key, "collection", "search", "handbook", "vacation", status=1)
    assert refused["code"] == "not-found"


def test_an_issuer_is_trusted_bound_and_removed(newcomer: Run, acme: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.json"
    key = ECKey.generate_key("P-256").as_dict(private=False) | {"kid": "one", "use": "jwt-svid"}
    bundle.write_text(json.dumps({"keys": [key]}))
    mine = ("--profile", acme)
    newcomer(*mine, "agent", "create", "bound")
    made = newcomer(*mine, "idp", "add", "mesh", "spiffe://corp.example", "--kind", "spiffe", "--jwks", str(bundle))
    assert (made["slug"], made["pinned"], made["single_use"]) == ("mesh", True, False)
    assert newcomer(*mine, "idp", "show", "mesh") == made
    assert newcomer(*mine, "idp", "list") == {"identity_providers": [made]}
    bound = newcomer(*mine, "binding", "add", "mesh", "bound", "--prefix", "spiffe://corp.example/prod/")
    assert newcomer(*mine, "binding", "list") == {"bindings": [bound]}
    assert newcomer(*mine, "binding", "remove", bound["id"]) == {"deleted": bound["id"]}
    refused = newcomer(*mine, "binding", "add", "mesh", "bound", "--prefix", "spiffe://other/", status=1)
    assert refused["code"] == "bad-binding"
    assert newcomer(*mine, "idp", "remove", "mesh") == {"deleted": made["id"]}
    assert newcomer(*mine, "idp", "list") == {"identity_providers": []}


def test_resources_from_their_making_to_their_end(newcomer: Run, tmp_path: Path) -> None:
    newcomer("org", "create", "umbrella-cli")
    profile = newcomer("tenant", "create", "life-cli", "--organisation", "umbrella-cli", "--admin", "root")["profile"]
    assert [each["slug"] for each in newcomer("org", "show", "umbrella-cli")["tenants"]] == ["life-cli"]
    assert newcomer("tenant", "show", "life-cli")["organisation"] == "umbrella-cli"
    newcomer("model", "add", "life-cli", "m", "--upstream", "http://127.0.0.1:9", "--upstream-model", "one")
    assert newcomer("model", "change", "life-cli", "m", "--context-tokens", "4096")["context_tokens"] == 4096
    assert [each["slug"] for each in newcomer("--profile", profile, "model", "list")["models"]] == ["m"]

    made = newcomer("--profile", profile, "agent", "create", "clerk", "--grant", "model.request=model/m")
    assert newcomer("--profile", profile, "agent", "clearance", "clerk", "3")["clearance"] == 3
    assert newcomer("--profile", profile, "agent", "show", "clerk")["slug"] == "clerk"
    assert newcomer("--profile", profile, "key", "show", made["key"]["id"])["revoked"] is False
    newcomer("model", "delete", "life-cli", "m", "--yes")
    assert newcomer("--profile", profile, "agent", "show", "clerk")["grants"] == []
    newcomer("--profile", profile, "agent", "delete", "clerk", "--yes")
    assert newcomer("--profile", profile, "key", "show", made["key"]["id"])["revoked"] is True

    text = tmp_path / "next.rego"
    text.write_text("package tenant\nno rego")
    assert newcomer("--profile", profile, "policy", "draft", "save", "next", str(text), status=1)["valid"] is False
    text.write_text('package tenant\n\ndeny contains "never" if input.payload.amount > 1000\n')
    assert newcomer("--profile", profile, "policy", "draft", "save", "next", str(text))["valid"] is True
    active = newcomer("--profile", profile, "policy", "draft", "activate", "next")["revision"]
    assert [each["revision"] for each in newcomer("--profile", profile, "policy", "history")["revisions"]] == [active]
    assert newcomer("--profile", profile, "policy", "history", active)["module"] == text.read_text()
    newcomer("--profile", profile, "policy", "draft", "delete", "next")
    assert newcomer("--profile", profile, "policy", "draft", "list") == {"drafts": []}
