"""`partywall policy check`: whole folders, everything at once, and reports for pipelines."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from partywall.cli.policy import policy
from partywall.cli.policy_check import RULES
from partywall.decision import lint

GOOD = 'package tenant\ndeny contains "too-much" if input.payload.amount > 5\n'


def run(*words: object) -> Result:
    return CliRunner().invoke(policy, ["check", *(str(word) for word in words)])


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_folder_and_all_below_it(tmp_path: Path) -> None:
    write(tmp_path, "acme.rego", GOOD)
    write(tmp_path, "teams/globex.rego", GOOD)
    said = run(tmp_path)
    assert said.exit_code == 0
    assert said.output.count("done") == 2


def test_every_problem_of_every_file_with_its_place(tmp_path: Path) -> None:
    one = write(tmp_path, "a.rego", f'{GOOD}\n  denny contains "x" if true\napprove contains http.send({{}}) if true\n')
    two = write(tmp_path, "b.rego", "package other\n")
    write(tmp_path, "c.rego", GOOD)
    said = run(tmp_path)
    assert said.exit_code == 1
    assert f"{one}:4:3: PW109" in said.output
    assert f"{one}:5:1: PW106" in said.output
    assert f"{two}:1:1: PW104" in said.output
    answer = json.loads(run(tmp_path, "--json").output)
    assert {path: [finding["id"] for finding in found] for path, found in answer.items()} == {
        str(one): ["PW109", "PW106"],
        str(two): ["PW104"],
        str(tmp_path / "c.rego"): [],
    }


def test_tests_must_compile_with_their_policy(tmp_path: Path) -> None:
    write(tmp_path, "a.rego", GOOD)
    beside = write(tmp_path, "a_test.rego", 'package tenant\ntest_it if "too-much" in deny with input as {\n')
    said = run(tmp_path)
    assert said.exit_code == 1
    assert f"{beside}:" in said.output
    write(tmp_path, "a_test.rego", 'package tenant\ntest_it if "x" in deny with input as {}\n')
    assert run(tmp_path).exit_code == 0


def test_what_cannot_be_read_has_not_passed(tmp_path: Path) -> None:
    assert run(tmp_path).exit_code == 2
    write(tmp_path, "a.rego", b"package tenant\xff")
    write(tmp_path, "b.rego", GOOD)
    said = run(tmp_path)
    assert said.exit_code == 2
    assert "unreadable" in said.output
    assert "b.rego: deny" in said.output


def test_reports_for_pipelines(tmp_path: Path) -> None:
    write(tmp_path, "policies/a.rego", "package other\n")
    run(tmp_path / "policies", "--sarif", tmp_path / "out.sarif", "--junit", tmp_path / "out.xml")
    (result,) = json.loads((tmp_path / "out.sarif").read_text())["runs"][0]["results"]
    assert result["ruleId"] == "PW104"
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 1, "startColumn": 1}
    assert '<failure type="high"' in (tmp_path / "out.xml").read_text()
    assert run(tmp_path / "policies", "--junit", tmp_path / "no" / "out.xml").exit_code == 1


def test_every_rule_of_the_checker_is_reported_by_name() -> None:
    documented = {line.split("|")[1].strip() for line in (lint.__doc__ or "").splitlines() if line.startswith("| PW")}
    assert documented == {rule.id for rule in RULES}
