"""Every rule: a good plan passes, one change fails it by that rule alone, and without the rule it would pass.

The same findings come from our engine and from the Open Policy Agent's own library.
"""

from __future__ import annotations

import json
import re

import pytest
from tests.opa import Opa
from tests.unit.assurance.plan.cases import CASES, GOOD, Case, documents

from partywall.assurance.plan.rules import evaluate, modules, rules, settings_module, without_rule
from partywall.decision.rego import RegoEngine

FILES = sorted(file.name for file in GOOD.iterdir())
RULES = [rule.id for rule in rules()]


def named(case: Case) -> str:
    return f"{case.rule} {case.name}"


@pytest.fixture(scope="module")
def engines() -> tuple[RegoEngine, Opa]:
    texts = {**modules(), "settings.rego": settings_module([])}
    return RegoEngine(texts), Opa(texts)


def asked(engine: RegoEngine | Opa, given: list[dict[str, object]]) -> list[str]:
    found = [
        one
        for query in ("deny", "warn")
        for one in json.loads(engine.evaluate(f"data.main.{query}", json.dumps(given)))
    ]
    return sorted(json.dumps(one, sort_keys=True) for one in found)


@pytest.mark.parametrize("file", FILES)
def test_a_good_one_passes(file: str) -> None:
    assert evaluate(documents(file)) == []


@pytest.mark.parametrize("case", CASES, ids=named)
def test_one_change_fails_it_by_its_rule_alone(case: Case) -> None:
    assert {one["id"] for one in evaluate(documents(case.file, case.break_it))} == {case.rule}


@pytest.mark.parametrize("rule", RULES)
def test_without_the_rule_it_passes(rule: str) -> None:
    texts = {
        name: without_rule(text, rule) if f"#   id: {rule}\n" in text else text for name, text in modules().items()
    }
    missed = [case for case in CASES if case.rule == rule]
    assert missed, f"{rule} has no failing case"
    for case in missed:
        assert evaluate(documents(case.file, case.break_it), sources=texts) == [], case.name


@pytest.mark.parametrize("file", FILES)
def test_opa_finds_the_same(file: str, engines: tuple[RegoEngine, Opa]) -> None:
    ours, reference = engines
    for given in [documents(file), *(documents(file, case.break_it) for case in CASES if case.file == file)]:
        assert asked(ours, given) == asked(reference, given)


@pytest.mark.parametrize("file", FILES)
def test_one_document_alone_is_an_input_too(file: str, engines: tuple[RegoEngine, Opa]) -> None:
    """As `conftest test FILE` and `opa eval -i FILE` give it, without a list around it."""
    for document in documents(file):
        given = document["contents"]
        assert asked(engines[0], given) == asked(engines[1], given)
        if not file.endswith(".yaml"):
            assert asked(engines[0], given) == []


def test_opa_alone_works_without_our_settings() -> None:
    case = next(case for case in CASES if case.rule == "PWP-203")
    found = json.loads(Opa(modules()).evaluate("data.main.deny", json.dumps(documents(case.file, case.break_it))))
    assert [one["id"] for one in found] == ["PWP-203"]
    assert found[0]["msg"].startswith("PWP-203 Deployment/acme/agent: ")


def test_every_finding_has_annotations_and_every_module_is_read() -> None:
    texts = modules()
    reported = set(re.findall(r'(?:finding|found)\("(PWP-\d{3})"', "".join(texts.values())))
    assert reported == set(RULES)
    for name, text in texts.items():
        package = re.search(r"^package (\S+)$", text, re.MULTILINE)
        assert package is not None, name
        for kind in ("deny", "warn"):
            collected = f"{kind} contains finding if some finding in data.{package[1]}.{kind}" in texts["main.rego"]
            assert collected == (f"\n{kind} contains " in text and package[1] != "main"), name


def test_warnings_are_the_low_ones() -> None:
    warned = {match for text in modules().values() for match in re.findall(r'warn contains \S*\("(PWP-\d{3})"', text)}
    assert warned == {rule.id for rule in rules() if rule.severity == "low"}


def test_a_tenant_label_of_ones_own() -> None:
    plan = documents("aws.json")
    text = json.dumps(plan).replace('"tenant":', '"cost-owner":')
    assert {one["id"] for one in evaluate(json.loads(text))} >= {"PWP-121"}
    assert evaluate(json.loads(text), tenant_labels=["cost-owner"]) == []
