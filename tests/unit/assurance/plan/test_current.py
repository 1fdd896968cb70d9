"""What we say of the rules is what they are, and our own migrations obey them."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import yaml

from partywall.assurance.plan.check import check
from partywall.assurance.plan.rules import rules, table
from partywall.wire.findings import SEVERITIES

ROOT = Path(__file__).parents[4]
RELEASED = dt.date(2026, 11, 24)


def test_our_own_migrations_pass_and_every_exception_is_needed() -> None:
    result = check([str(ROOT / "src/partywall/store/sql")], stdin=io.BytesIO(), today=RELEASED)
    assert result.status("low") == 0, (result.failures("low"), result.unreadable)
    assert len(result.checked) >= 10
    assert result.unused == ()


def test_the_documented_table_is_current() -> None:
    """`partywall plan rules --markdown` prints it."""
    assert table() in (ROOT / "docs/policy-as-code.md").read_text()


def test_every_rule_is_described() -> None:
    for rule in rules():
        assert rule.severity in SEVERITIES
        assert all(len(text) > 10 for text in (rule.title, rule.why, rule.fix)), rule.id
        assert rule.threat


def test_every_threat_of_a_rule_is_in_the_threat_model() -> None:
    model = (ROOT / "docs/threat-model.md").read_text()
    named = {threat for rule in rules() for threat in rule.threat.split(", ")}
    assert {threat for threat in named if threat.startswith("IAC-") and threat not in model} == set()


def test_the_snippets_are_what_their_systems_read() -> None:
    actions = yaml.safe_load((ROOT / "docs/ci/github-actions.yml").read_text())
    steps = [step for job in actions["jobs"].values() for step in job["steps"]]
    assert any("partywall plan check" in step.get("run", "") for step in steps)
    assert any("upload-sarif" in step.get("uses", "") for step in steps)
    gitlab = yaml.safe_load((ROOT / "docs/ci/gitlab-ci.yml").read_text())
    scripts = [line for job in gitlab.values() if isinstance(job, dict) for line in job.get("script", [])]
    assert any("partywall plan check" in line for line in scripts)
    conftest = yaml.safe_load((ROOT / "docs/ci/conftest.yml").read_text())
    assert any("conftest test" in step.get("run", "") for job in conftest["jobs"].values() for step in job["steps"])
