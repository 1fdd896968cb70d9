"""The command line against a small real HTTP server: what it sends, what it prints, and what it says to do next."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from partywall.app import COMMANDS
from partywall.cli import grants
from partywall.cli.credentials import CredentialsStore, Profile
from partywall.cli.manifest import fetch_tools
from partywall.cli.root import build

SCOUT = "agt_" + "a" * 26


class Server(ThreadingHTTPServer):
    """Answers what `answers` says for `METHOD path`, and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def handle_any(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        what = f"{self.command} {self.path}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((what, headers, body))
        status, answer = self.server.answers.get(what, (404, {"title": "Not found", "detail": f"no {what}"}))
        if callable(answer):
            answer = answer(body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARTYWALL_HOME", str(tmp_path))
    return tmp_path


def run(server: Server, *words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(build(COMMANDS), ["--url", server.url, "--key", "pw_k", *words], input=given)


def test_every_command_has_help_with_an_example(server: Server) -> None:
    for name, (place, _summary) in COMMANDS.items():
        group = run(server, name, "--help")
        assert group.exit_code == 0, (place, group.output)
        commands = build(COMMANDS).get_command(click.Context(build(COMMANDS)), name)
        for words in words_of(commands):
            shown = run(server, name, *words, "--help").output
            assert "Example" in shown, f"{name} {words}"
            assert "--json" in shown, f"{name} {words}"


def words_of(command: Any) -> Iterator[tuple[str, ...]]:
    """How each command below a group is typed."""
    for name, below in getattr(command, "commands", {}).items():
        if isinstance(below, click.Group):
            yield from ((name, *words) for words in words_of(below))
        else:
            yield (name,)


def test_an_agent_is_made_with_its_grants_and_its_key_is_shown_once(server: Server) -> None:
    server.answers["POST /v1/subjects"] = (200, {"id": SCOUT, "slug": "scout", "kind": "agent", "grants": []})
    server.answers["POST /v1/keys"] = (200, {"id": "key_x", "secret": "pw_secret"})
    done = run(server, "agent", "create", "scout", "--grant", "tool.call=tool/mail/*")
    assert done.exit_code == 0, done.output
    assert "pw_secret" in done.output
    assert server.asked[0][2]["grants"] == [{"action": "tool.call", "resource": "tool/mail/*"}]
    assert server.asked[0][1]["authorization"] == "Bearer pw_k"
    assert server.asked[1][2] == {"subject": SCOUT}


def test_grants_are_added_replaced_and_taken(server: Server) -> None:
    has = [{"action": "memory", "resource": "memory/x"}]
    server.answers["GET /v1/subjects"] = (200, {"subjects": [{"id": SCOUT, "slug": "scout", "grants": has}]})
    server.answers[f"PUT /v1/subjects/{SCOUT}/grants"] = (200, lambda body: {"slug": "scout", **body})
    added = {"action": "tool.call", "resource": "tool/a/b"}
    assert run(server, "agent", "grant", "scout", "tool.call=tool/a/b").exit_code == 0
    assert server.asked[-1][2] == {"grants": [*has, added]}
    assert run(server, "agent", "grant", "scout", "tool.call=tool/a/b", "--replace").exit_code == 0
    assert server.asked[-1][2] == {"grants": [added]}
    assert run(server, "agent", "ungrant", "scout", "memory=memory/x").exit_code == 0
    assert server.asked[-1][2] == {"grants": []}
    refused = run(server, "agent", "ungrant", "scout", "memory=memory/y")
    assert "has no grant memory=memory/y (it has: memory=memory/x)" in refused.output


def test_a_problem_says_what_to_do_next_and_is_json_with_json(server: Server) -> None:
    problem = {"title": "Denied", "status": 403, "detail": "policy denied it", "code": "denied", "act": "act_1",
               "advice": "ask for model.request"}  # fmt: skip
    server.answers["GET /v1/keys"] = (403, problem)
    said = run(server, "key", "list")
    assert said.exit_code == 1
    assert said.output == "Error: policy denied it\nNext: ask for model.request\nRecorded as act_1\n"
    asked = run(server, "key", "list", "--json")
    assert asked.exit_code == 1
    assert json.loads(asked.output)["code"] == "denied"


def test_an_unknown_slug_lists_what_there_is(server: Server) -> None:
    server.answers["GET /v1/subjects"] = (200, {"subjects": [{"id": SCOUT, "slug": "scout", "grants": []}]})
    assert "there is no agent or user scuot (there is: scout)" in run(server, "agent", "suspend", "scuot").output


def test_nobody_there_says_how_to_start_it(home: Path) -> None:
    done = CliRunner().invoke(build(COMMANDS), ["--url", "http://127.0.0.1:1", "tenant", "list"])
    assert done.exit_code == 1
    assert "start it with `partywall up`" in done.output


def test_sign_in_saves_a_key_that_only_its_owner_reads(server: Server, home: Path) -> None:
    server.answers["POST /v1/bootstrap"] = (200, {"key": {"id": "key_x", "secret": "pw_first"}})
    assert run(server, "login", "--bootstrap", "pwb_token").exit_code == 0
    store = CredentialsStore()
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    assert store.get("operator") == Profile(url=server.url, key="pw_first")
    assert "authorization" not in server.asked[0][1], "the token is the credential"
    shown = run(server, "profile", "list")
    assert "operator" in shown.output
    assert "pw_first" not in shown.output


def test_a_saved_key_goes_only_where_it_was_saved_for(server: Server) -> None:
    CredentialsStore().save("p", Profile(url="http://127.0.0.1:9", key="pw_other"), use=True)
    server.answers["GET /v1/tenants"] = (200, {"tenants": []})
    CliRunner().invoke(build(COMMANDS), ["--url", server.url, "tenant", "list"])
    assert "authorization" not in server.asked[0][1]


def test_a_tenants_admin_becomes_a_profile(server: Server) -> None:
    ten = "ten_" + "b" * 26
    server.answers["POST /v1/tenants"] = (200, {"id": ten, "slug": "acme"})
    server.answers[f"POST /v1/tenants/{ten}/admins"] = (200, {"admin": {}, "key": {"secret": "pw_admin"}})
    done = run(server, "tenant", "create", "acme", "--admin", "root", "--json")
    assert json.loads(done.output)["profile"] == "acme-root"
    saved = CredentialsStore().get("acme-root")
    assert saved is not None
    assert saved.key == "pw_admin"


def test_tools_are_shown_and_approved_before_they_are_registered(server: Server) -> None:
    tools = [{"name": name, "description": "d", "inputSchema": {"type": "object", "properties": {"to": {}}}}
             for name in ("read", "send")]  # fmt: skip
    server.answers["POST /mcp"] = (200, lambda body: answer(body, tools))
    server.answers["POST /v1/servers"] = (200, {"id": "srv_x"})
    refused = run(server, "server", "add", "mail", f"{server.url}/mcp", given="n\n")
    assert refused.exit_code == 1
    assert "POST /v1/servers" not in [what for what, _, _ in server.asked]
    done = run(server, "server", "add", "mail", f"{server.url}/mcp", "--only", "read", "--yes")
    assert done.exit_code == 0, done.output
    assert [tool["name"] for tool in server.asked[-1][2]["tools"]] == ["read"]
    assert "pw_k" not in str([headers for what, headers, _ in server.asked if what == "POST /mcp"])


def test_pages_of_tools_are_followed(server: Server) -> None:
    pages = {None: ("a", "1"), "1": ("b", None)}

    def page(body: Any) -> Any:
        if body["method"] != "tools/list":
            return answer(body, [])
        name, following = pages[body["params"].get("cursor")]
        return answer(body, [{"name": name, "inputSchema": {"type": "object"}}], following)

    server.answers["POST /mcp"] = (200, page)
    assert [tool["name"] for tool in fetch_tools(f"{server.url}/mcp")] == ["a", "b"]


def answer(body: Any, tools: list[Any], following: str | None = None) -> Any:
    result = {"tools": tools} if body["method"] == "tools/list" else {"protocolVersion": "2025-11-25"}
    if following:
        result["nextCursor"] = following
    return {"jsonrpc": "2.0", "id": body.get("id"), "result": result}


def test_what_is_no_grant_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="is not ACTION=RESOURCE"):
        grants.parse(("model.request",))


def test_a_list_is_read_page_by_page(server: Server) -> None:
    tenants = [{"slug": f"t{n}", "id": f"ten_{n:026}".replace("0", "a"), "state": "active"} for n in range(3)]
    server.answers = {
        "GET /v1/tenants": (200, {"tenants": tenants[:2], "next_cursor": "abc"}),
        "GET /v1/tenants?limit=200&cursor=abc": (200, {"tenants": tenants[2:], "next_cursor": None}),
    }
    result = run(server, "tenant", "list", "--json")
    assert [each["slug"] for each in json.loads(result.output)["tenants"]] == ["t0", "t1", "t2"]


def test_a_draft_is_made_or_replaced_by_its_name(server: Server, tmp_path: Path) -> None:
    text = tmp_path / "next.rego"
    text.write_text("package tenant\n")
    draft = "pol_" + "a" * 26
    saved = {"id": draft, "slug": "next", "valid": True, "findings": []}
    server.answers = {
        "GET /v1/policies": (200, {"drafts": [], "next_cursor": None}),
        "POST /v1/policies": (200, saved),
        f"PUT /v1/policies/{draft}": (
            200,
            saved | {"valid": False, "findings": [{"id": "PW1", "line": 2, "message": "no"}]},
        ),
    }
    assert run(server, "policy", "draft", "save", "next", str(text)).exit_code == 0
    server.answers["GET /v1/policies"] = (200, {"drafts": [saved], "next_cursor": None})
    again = run(server, "policy", "draft", "save", "next", str(text))
    assert again.exit_code == 1
    assert "line 2: PW1 no" in again.output
    assert [what for what, _headers, _body in server.asked if not what.startswith("GET")] == [
        "POST /v1/policies",
        f"PUT /v1/policies/{draft}",
    ]


def test_a_model_is_changed_by_what_is_given(server: Server) -> None:
    tenant, model = "ten_" + "a" * 26, "mdl_" + "a" * 26
    path = f"/v1/tenants/{tenant}/models"
    server.answers = {
        "GET /v1/tenants": (200, {"tenants": [{"slug": "acme", "id": tenant}], "next_cursor": None}),
        f"GET {path}": (200, {"models": [{"slug": "small", "id": model}], "next_cursor": None}),
        f"PATCH {path}/{model}": (200, {"slug": "small", "id": model}),
        f"DELETE {path}/{model}": (200, {"deleted": model}),
    }
    assert run(server, "model", "change", "acme", "small", "--not-hosted", "--context-tokens", "8").exit_code == 0
    assert server.asked[-1][2] == {"hosted": False, "context_tokens": 8}
    assert "give what is to change" in run(server, "model", "change", "acme", "small").output
    asked = len(server.asked)
    assert run(server, "model", "delete", "acme", "small", given="n\n").exit_code == 1
    assert not any(what.startswith("DELETE") for what, _headers, _body in server.asked[asked:])
    assert run(server, "model", "delete", "acme", "small", "--yes").exit_code == 0
    unknown = run(server, "model", "show", "acme", "large")
    assert "there is no model large (there is: small)" in unknown.output


def test_a_subject_is_shown_cleared_and_ended(server: Server) -> None:
    shown = {"slug": "scout", "id": SCOUT, "kind": "agent", "state": "active", "clearance": 2, "grants": []}
    server.answers = {
        f"GET /v1/subjects/{SCOUT}": (200, shown),
        f"PATCH /v1/subjects/{SCOUT}": (200, shown),
        f"DELETE /v1/subjects/{SCOUT}": (200, {"revoked": SCOUT}),
    }
    assert "scout" in run(server, "agent", "show", SCOUT).output
    assert "has clearance 2" in run(server, "agent", "clearance", SCOUT, "2").output
    assert server.asked[-1][2] == {"clearance": 2}
    assert run(server, "agent", "delete", SCOUT, "--yes").exit_code == 0
