"""`partywall policy check|test|eval`, as a policy author meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from partywall.cli.policy import policy

ACME = """package tenant

deny contains {"reason": "too-large", "advice": "Ask for at most 1000."} if input.payload.amount > 1000

obligations contains {"redact": ["iban"]} if input.resource.name == "bank/send_money"

approve contains "large" if input.payload.amount > 100
"""
TESTS = """package tenant

test_large_is_denied if count(deny) == 1 with input as {"payload": {"amount": 5000}}

test_small_is_not if count(deny) == 0 with input as {"payload": {"amount": 5}}
"""


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    path = tmp_path / "acme.rego"
    path.write_text(ACME)
    return path


def run(*arguments: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(policy, [str(argument) for argument in arguments], input=stdin)


def test_check_says_what_a_policy_does(acme: Path) -> None:
    result = run("check", acme)
    assert result.exit_code == 0
    assert "approve, deny, obligations" in result.output


def test_check_names_each_finding_with_its_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.rego"
    bad.write_text('package tenant\ndenny contains "x" if true\ndeny contains "y" if time.now_ns() > 3\n')
    result = run("check", bad)
    assert result.exit_code == 1
    assert "bad.rego:2:1: PW109" in result.output
    assert "bad.rego:3:1: PW106" in result.output
    result = run("check", "--json", bad)
    assert result.exit_code == 1
    assert [finding["id"] for finding in json.loads(result.output)[str(bad)]] == ["PW109", "PW106"]


def test_test_runs_the_file_beside_and_reports_what_is_covered(acme: Path) -> None:
    beside = acme.with_name("acme_test.rego")
    beside.write_text(TESTS)
    for where in (acme, acme.parent, beside):
        result = run("test", where)
        assert result.exit_code == 0, result.output
        assert result.output.count("pass") == 2
        assert "covered; not reached: lines 5, 7" in result.output
    document = json.loads(run("test", "--json", acme).output)
    assert document[0]["coverage_percent"] == pytest.approx(100 / 3)


def test_test_fails_when_one_fails_or_none_is_there(acme: Path) -> None:
    assert run("test", acme).exit_code == 1
    acme.with_name("acme_test.rego").write_text(TESTS + "\ntest_wrong if count(deny) == 7\n")
    result = run("test", acme)
    assert result.exit_code == 1
    assert "fail" in result.output
    assert run("test", "--json", acme).exit_code == 1


def test_test_fails_on_a_rule_that_errors(acme: Path) -> None:
    acme.write_text(ACME + '\ntest_error if startswith(1, "x")\n')
    result = run("test", acme)
    assert result.exit_code == 1
    assert "startswith" in result.output


def test_test_refuses_what_would_not_be_activated(acme: Path) -> None:
    acme.write_text(ACME + "\nunused := 1\n")
    result = run("test", acme)
    assert result.exit_code == 1
    assert "PW109" in result.output


def test_a_folder_without_policies_is_an_error_that_helps(tmp_path: Path) -> None:
    result = run("test", tmp_path)
    assert result.exit_code == 1
    assert "--help" in result.output


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({"payload": {"amount": 5}}, "allow"),
        ({"payload": {"amount": 500}}, "needs-approval"),
        ({"payload": {"amount": 5000}}, "deny"),
        ({"principal": {"grants": []}}, "deny"),
        ({"principal": None}, "deny"),
    ],
)
def test_eval_prints_the_verdict_and_checks_what_was_expected(acme: Path, given: object, verdict: str) -> None:
    result = run("eval", acme, "--input", "-", "--json", stdin=json.dumps(given))
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["verdict"] == verdict
    assert run("eval", acme, "--input", "-", "--expect", verdict, stdin=json.dumps(given)).exit_code == 0
    other = "allow" if verdict != "allow" else "deny"
    assert run("eval", acme, "--input", "-", "--expect", other, stdin=json.dumps(given)).exit_code == 1


def test_eval_shows_obligations(acme: Path) -> None:
    given = {"payload": {"amount": 5}, "resource": {"name": "bank/send_money"}}
    result = run("eval", acme, "--input", "-", stdin=json.dumps(given))
    assert "redact" in result.output
    assert "iban" in result.output


@pytest.mark.parametrize("text", ["[", "[]", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), ""])
def test_eval_refuses_an_input_that_is_no_object(acme: Path, text: str) -> None:
    result = run("eval", acme, "--input", "-", stdin=text)
    assert result.exit_code == 1
    assert "no JSON object" in result.output


def test_help_shows_the_rules_and_examples() -> None:
    assert "deny_grant contains reason" in run("--help").output
    for command in ("check", "test", "eval"):
        assert "Example" in run(command, "--help").output
