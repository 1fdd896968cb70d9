"""`partywall plan` as a pipeline runs it: exit statuses, places, exceptions, and the reports that it writes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.unit.assurance.plan.cases import GOOD, documents

from partywall.assurance.plan.command import plan

OPEN = """\
create table note (tenant text not null, body text);
"""
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: acme
  labels: {tenant: acme}
  annotations: {%s}
spec:
  hostNetwork: true
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true}
  containers:
    - name: web
      image: web
      resources: {limits: {cpu: 1, memory: 1Gi}}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""


def run(*words: object, given: str | None = None) -> Result:
    return CliRunner().invoke(plan, [str(word) for word in words], input=given)


def checked(*words: object, given: str | None = None) -> Any:
    return json.loads(run("check", "--json", *words, given=given).output)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_folder_that_holds_passes() -> None:
    said = run("check", GOOD)
    assert said.exit_code == 0, said.output
    assert "passed  5 files" in said.output


def test_a_finding_says_where_what_and_how_to_mend_it(tmp_path: Path) -> None:
    write(tmp_path, "0001.sql", f"-- notes\n\n{OPEN}")
    said = run("check", tmp_path)
    assert said.exit_code == 1
    assert "critical  PWP-301" in said.output
    assert f"{tmp_path}/0001.sql:3:1" in said.output
    assert "fix: In the same migration" in said.output


def test_fail_on_is_the_least_that_fails(tmp_path: Path) -> None:
    write(tmp_path, "0001.sql", "do $$ begin perform 1; end $$;")
    assert run("check", tmp_path).exit_code == 1
    assert run("check", tmp_path, "--fail-on", "high").exit_code == 0


def test_a_manifest_in_a_list_of_documents_is_placed_by_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "pods.yaml", f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\n---\n{POD % ''}")
    assert [(one["id"], one["line"]) for one in checked(path)["findings"]] == [("PWP-205", 5)]


def test_a_change_of_a_plan_is_placed_where_it_stands(tmp_path: Path) -> None:
    given = documents("aws.json")[0]["contents"]
    bucket = next(one for one in given["resource_changes"] if one["address"] == 'aws_s3_bucket_acl.documents["globex"]')
    bucket["change"]["after"]["acl"] = "public-read"
    path = write(tmp_path, "plan.json", json.dumps(given, indent=1))
    (finding,) = checked(path)["findings"]
    assert "globex" in path.read_text().splitlines()[finding["line"] - 1]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", "{", "it is no JSON"),
        ("a.json", '{"a": 1, "a": 2}', "stands twice"),
        ("a.json", '{"values": {}, "terraform_version": "1.14.0"}', "Terraform's state"),
        ("a.json", '{"resource_changes": [], "errored": true}', "says that it failed"),
        ("a.json", '{"resource_changes": {}}', "no list"),
        ("a.json", '{"name": "not ours"}', "no Terraform plan"),
        ("a.yaml", "a: [", "line 2"),
        ("a.yaml", "kind: Pod\nkind: Job\napiVersion: v1\n", "stands twice"),
        ("a.yaml", "kind: {{ .Values.kind }}\napiVersion: v1\n", ""),
        ("a.yaml", "a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a.yaml", "a: &a [*a]", "holds itself"),
        ("a.sql", "create table;", "Postgres cannot parse it: syntax error"),
        ("a.sql", "\\i other.sql\n", "Postgres cannot parse it"),
        ("a.sql", "", ""),
        ("a.json", "PK\x03\x04\x00", "show -json"),
    ],
)
def test_what_cannot_be_read_has_not_passed(tmp_path: Path, name: str, text: str, expected: str) -> None:
    path = write(tmp_path, name, text)
    said = run("check", path, GOOD)
    if text:
        assert said.exit_code == 2, said.output
        assert expected in said.output
        assert "not checked" in said.output
    else:
        assert said.exit_code == 0


def test_a_file_that_is_not_there_an_empty_folder_and_nothing_known(tmp_path: Path) -> None:
    assert run("check", tmp_path / "no.json").exit_code == 2
    assert run("check", tmp_path).exit_code == 2
    write(tmp_path, "package.json", '{"name": "web"}')
    assert run("check", tmp_path).exit_code == 2
    assert run("check", tmp_path, GOOD).exit_code == 0
    assert checked(tmp_path, GOOD)["skipped"] == [str(tmp_path / "package.json")]


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a.json", "{")
    write(tmp_path, "b.yaml", "a: [")
    write(tmp_path, "c.sql", OPEN)
    said = checked(tmp_path)
    assert len(said["unreadable"]) == 2
    assert [one["id"] for one in said["findings"]] == ["PWP-301"]
    assert said["status"] == 2


def test_what_is_left_out_of_a_folder_is_counted(tmp_path: Path) -> None:
    bad = write(tmp_path, "chart/templates/a.yaml", "a: [")
    write(tmp_path, "0001.sql", "select 1;")
    assert run("check", tmp_path).exit_code == 2
    said = checked(tmp_path, "--exclude", "*/templates/*")
    assert (said["status"], said["skipped"]) == (0, [str(bad)])


def test_from_a_pipe() -> None:
    said = checked("-", given=POD % "")
    assert [(one["id"], one["path"]) for one in said["findings"]] == [("PWP-205", "-")]
    assert [one["id"] for one in checked("-", given=json.dumps(documents("aws.json")))["findings"]] == []


def exceptions(
    *, expires: str = "2999-01-01", resource: str = "note", rule: str = "PWP-301", reason: str = "read by nobody"
) -> str:
    one = {"id": rule, "resource": resource, "reason": reason, "expires": expires}
    return json.dumps({"exceptions": [one]})


def test_an_exception_is_accepted_until_it_ends(tmp_path: Path) -> None:
    write(tmp_path, "0001.sql", OPEN)
    write(tmp_path, "partywall-exceptions.yaml", exceptions())
    said = checked(tmp_path)
    assert said["status"] == 0
    assert said["findings"][0]["accepted"] == "read by nobody (until 2999-01-01)"
    write(tmp_path, "partywall-exceptions.yaml", exceptions(expires="2020-01-01"))
    said = run("check", tmp_path)
    assert said.exit_code == 1
    assert "its exception ended on 2020-01-01" in said.output


def test_an_exception_is_for_its_own_rule_and_resource(tmp_path: Path) -> None:
    write(tmp_path, "0001.sql", OPEN)
    for text in (exceptions(resource="notes"), exceptions(rule="PWP-302")):
        write(tmp_path, "partywall-exceptions.yaml", text)
        said = run("check", tmp_path)
        assert said.exit_code == 1
        assert "unused" in said.output


@pytest.mark.parametrize(
    "text",
    [
        exceptions(resource="*"),
        exceptions(reason="ok"),
        exceptions(rule="PWP-3"),
        exceptions(expires="soon"),
        json.dumps({"exceptions": [{"id": "PWP-301", "resource": "note", "reason": "read by nobody"}]}),
        json.dumps({"exceptions": [], "all": True}),
        "[",
        "",
    ],
)
def test_an_exception_that_is_not_understood_accepts_nothing(tmp_path: Path, text: str) -> None:
    write(tmp_path, "0001.sql", OPEN)
    write(tmp_path, "partywall-exceptions.yaml", text)
    said = run("check", tmp_path)
    assert said.exit_code == 2
    assert "partywall-exceptions.yaml" in said.output


def test_exceptions_inside_what_is_checked(tmp_path: Path) -> None:
    comment = "-- partywall: allow PWP-301 until 2999-01-01 because it holds nobody's rows\n"
    write(tmp_path, "0001.sql", f"create table a (x int);\n{comment}create table b (x int);\n")
    said = checked(tmp_path)
    assert {one["resource"]: one["accepted_by"] for one in said["findings"]} == {"a": None, "b": "inSource"}
    write(tmp_path, "0001.sql", f"{comment}select 1;\ncreate table b (x int);\n")
    assert checked(tmp_path)["findings"][0]["accepted"] is None
    write(tmp_path, "0001.sql", "select 1; create table b (x int);")
    assert checked(tmp_path)["findings"][0]["column"] == 11
    allowed = '"partywall.dev/allow.PWP-205": until 2999-01-01 because it is the node exporter'
    assert run("check", "-", given=POD % allowed).exit_code == 0
    assert run("check", "-", given=POD % allowed.replace("205", "203")).exit_code == 1
    assert run("check", "-", given=POD % '"partywall.dev/allow.PWP-205": it is fine').exit_code == 2


def test_sarif_for_code_scanning(tmp_path: Path) -> None:
    write(tmp_path, "0001.sql", OPEN + "create table b (x int);")
    write(tmp_path, "bad.sql", "create;")
    write(tmp_path, "partywall-exceptions.yaml", exceptions(resource="b"))
    run("check", tmp_path, "--sarif", tmp_path / "out.sarif")
    log = json.loads((tmp_path / "out.sarif").read_text())
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    (run_,) = log["runs"]
    driver = run_["tool"]["driver"]
    assert all(set(rule) >= {"id", "shortDescription", "fullDescription", "help"} for rule in driver["rules"])
    assert run_["invocations"][0]["executionSuccessful"] is False
    assert len(run_["invocations"][0]["toolExecutionNotifications"]) == 1
    for result in run_["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"error", "warning", "note"}
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"].endswith("0001.sql")
        assert place["region"]["startLine"] >= 1
        assert result["message"]["text"]
        assert result["partialFingerprints"]
    accepted = [one for one in run_["results"] if "suppressions" in one]
    assert [one["suppressions"][0]["kind"] for one in accepted] == ["external"]


def test_junit_for_test_reports(tmp_path: Path) -> None:
    write(tmp_path, "0001.sql", OPEN)
    write(tmp_path, "0002.sql", "select '<&>\"';")
    write(tmp_path, "bad.sql", 'create "\x07";')
    run("check", tmp_path, "--junit", tmp_path / "out.xml")
    suite = ET.parse(tmp_path / "out.xml").getroot()[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
    }
    assert len(suite) == 3


def test_a_report_that_cannot_be_written_fails(tmp_path: Path) -> None:
    assert run("check", GOOD, "--sarif", tmp_path / "no" / "out.sarif").exit_code == 2


def test_parse_prints_what_the_rules_see(tmp_path: Path) -> None:
    path = write(tmp_path, "0001.sql", OPEN)
    said = run("parse", path)
    assert json.loads(said.output)["sql"]["statements"][0]["kind"] == "create_table"
    again = write(tmp_path, "0001.json", said.output)
    assert [one["id"] for one in checked(again)["findings"]] == ["PWP-301"]
    assert run("parse", tmp_path / "no.sql").exit_code == 2


def test_rules_are_listed_and_exported(tmp_path: Path) -> None:
    assert "PWP-301" in run("rules").output
    assert len(json.loads(run("rules", "--json").output)) >= 45
    run("rules", "--export", tmp_path / "rules")
    assert (tmp_path / "rules" / "main.rego").read_text().count("package main") == 1
