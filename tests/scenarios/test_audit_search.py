"""Search and filtered export of a tenant's own log, through the API and the command line of a whole deployment."""

import json
import os
import subprocess
import sys

import pytest
from tests.scenarios.platform_fixture import platform as _platform

from partywall.assurance.target import must

platform = _platform


@pytest.fixture(scope="module")
def sides(platform):
    a, b = platform.two_tenants()
    for n in range(6):
        a.chat(a.key, f"question {n}")
        b.chat(b.key, f"question {n}")
        a.call_tool(a.bystander_key, "echo", {"text": "x"})  # no grant: denied
    return a, b


def search(side, query="", credential=None):
    path = "/v1/audit/search" + (f"?{query}" if query else "")
    return must(side.wire.send("GET", path, credential=credential or side.admin))


def test_each_filter_narrows_to_what_it_says(sides):
    a, _b = sides
    denied = search(a, f"verdict=deny&principal={a.bystander}&action=tool.call")
    assert len(denied["leaves"]) == 6
    assert {leaf["activity"]["reason"] for leaf in denied["leaves"]} == {"not-granted"}
    one = denied["leaves"][2]["activity"]
    assert [leaf["activity"]["act"] for leaf in search(a, f"act={one['act']}")["leaves"]] == [one["act"]]
    assert [leaf["activity"]["act"] for leaf in search(a, f"trace_id={one['trace_id']}")["leaves"]] == [one["act"]]
    kinds = {leaf["activity"]["resource"].split(":")[3].split("/")[0] for leaf in search(a, "kind=model")["leaves"]}
    assert kinds == {"model"}
    named = search(a, f"resource=model/{a.model}&phase=outcome&result=complete")
    assert len(named["leaves"]) == 6
    newest = [leaf["seq"] for leaf in search(a, "order=newest&limit=5")["leaves"]]
    assert newest == sorted(newest, reverse=True)


def test_pages_meet_and_say_where_they_are(sides):
    a, _b = sides
    whole = search(a, f"principal={a.agent}&order=oldest&limit=500")
    assert whole["at_head"]
    assert whole["next_cursor"] is None
    assert whole["searched"] == whole["size"] >= whole["checkpoint_size"]
    seen, cursor = [], ""
    while cursor is not None:
        page = search(a, f"principal={a.agent}&order=oldest&limit=3" + (f"&cursor={cursor}" if cursor else ""))
        seen += page["leaves"]
        cursor = page["next_cursor"]
    assert seen == whole["leaves"]


def test_a_search_finds_nothing_of_a_neighbour_and_no_neighbours_cursor_works(sides):
    a, b = sides
    body = a.wire.send("GET", "/v1/audit/search?limit=500", credential=a.admin).body
    for foreign in (b.tenant, b.agent, b.model, b.canary):
        assert foreign.encode() not in body
    act = search(b, f"principal={b.agent}&limit=1")
    for query in (f"act={act['leaves'][0]['activity']['act']}", f"principal={b.agent}", f"resource=model/{b.model}"):
        assert search(a, query)["leaves"] == []
        assert search(a, query)["next_cursor"] is None
    cursor = search(b, "limit=1")["next_cursor"]
    answer = a.wire.send("GET", f"/v1/audit/search?limit=1&cursor={cursor}", credential=a.admin)
    assert (answer.status, answer.json()["code"]) == (400, "bad-cursor")


def test_a_search_is_recorded_with_what_it_asked_for(sides):
    a, _b = sides
    search(a, f"reason=not-granted&principal={a.bystander}&since=2020-01-01T00:00:00Z")
    asked = search(a, "action=audit.read&phase=intent&limit=2")["leaves"][1]["activity"]["parameters"]
    assert asked["mode"] == "search"
    assert asked["principal"] == a.bystander
    assert asked["reason"] == "(text)"
    assert asked["since_us"] == 1_577_836_800_000_000


@pytest.mark.parametrize(
    "query",
    [
        "log=ten_" + "a" * 26, "tenant=x", "action=Tool", "verdict=maybe", "limit=0", "limit=501", "limit=x",
        "since=soon", "until=-5", "since=1e400", "trace_id=zz", "principal=root", "cursor=%00", "order=random",
        "from_seq=-1", "act=", "reason=", "search={}", "resource=pw:local", "action=a&action=b",
    ],
)  # fmt: skip
def test_what_is_no_search_is_refused(sides, query):
    a, _b = sides
    answer = a.wire.send("GET", f"/v1/audit/search?{query}", credential=a.admin)
    if query == "resource=pw:local":  # well formed, and nobody's
        assert answer.json()["leaves"] == []
    else:
        assert answer.status == 400


def test_only_who_reads_the_log_searches_it(platform, sides):
    a, _b = sides
    for path in ("search", "extract"):
        for credential in (a.key, a.bystander_key):
            assert a.wire.send("GET", f"/v1/audit/{path}", credential=credential).status == 403
        assert a.wire.send("GET", f"/v1/audit/{path}").status == 401
    body = a.wire.send("GET", "/v1/audit/search?limit=500", credential=platform.operator_key()).body
    assert a.canary.encode() not in body
    assert b"model.request" not in body


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def command(platform, sides, tmp_path_factory):
    home = tmp_path_factory.mktemp("h")

    def run(*words, status=0, json_=True):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "partywall.app", *words, *(["--json"] if json_ else [])],
            env={**os.environ, "PARTYWALL_HOME": str(home), "PARTYWALL_URL": platform.base_url,
                 "PARTYWALL_KEY": sides[0].admin, "COLUMNS": "200"},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout) if json_ else done.stdout

    return run


def test_the_command_line_searches(command, sides):
    a, _b = sides
    found = command("audit", "search", "--verdict", "deny", "--who", a.bystander, "--since", "1h", "--limit", "4")
    assert [leaf["activity"]["verdict"] for leaf in found["leaves"]] == ["deny"] * 4
    table = command("audit", "search", "--verdict", "deny", "--action-prefix", "tool.", json_=False)
    assert "not-granted" in table
    assert a.bystander in table
    assert "Nothing like it" in command("audit", "search", "--trace", "f" * 32, json_=False)
    assert "Examples:" in command("audit", "search", "--help", json_=False)


def test_a_filtered_export_is_proven_and_says_that_it_is_not_whole(command, platform, tmp_path):
    file, key = tmp_path / "denials.jsonl", platform.home.public_keys / "ledger.pub"
    exported = command("audit", "export", str(file), "--verdict", "deny", "--action", "tool.call")
    assert exported["leaves"] == 6
    assert file.stat().st_mode & 0o777 == 0o600
    report = command("audit", "verify", str(file), "--key", str(key))
    assert (report["holds"], report["complete"], report["proven"], report["opened"]) == (True, False, 6, 6)
    said = command("audit", "verify", str(file), "--key", str(key), json_=False)
    assert "6 leaves proven" in said
    assert "completeness not claimed" in said
    shut = tmp_path / "shut.jsonl"
    command("audit", "export", str(shut), "--action", "tool.call", "--no-keys")
    assert command("audit", "verify", str(shut), "--key", str(key))["opened"] == 0
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], lines[1], *lines[2:]]))
    assert not command("audit", "verify", str(file), "--key", str(key), status=1)["holds"]


def test_the_command_line_breaks_glass(command, platform, sides):
    a, _b = sides
    operator = ("--key", platform.operator_key())
    asked = command(*operator, "break-glass", "ask", a.slug, "--why", "ticket 4711: it answers twice", "--minutes", "5")
    assert command("break-glass", "list")["requests"][0]["id"] == asked["id"]
    assert "4711" in command("break-glass", "list", json_=False)
    approved = command("break-glass", "approve", asked["id"])
    token = command(*operator, "break-glass", "token", asked["id"])
    guest = ("--key", token["access_token"])
    assert command(*guest, "audit", "search", "--verdict", "deny", "--limit", "1")["leaves"]
    assert command("audit", "search", "--who", approved["subject"], "--action", "audit.read")["leaves"]
    assert command("break-glass", "refuse", asked["id"])["state"] == "withdrawn"
