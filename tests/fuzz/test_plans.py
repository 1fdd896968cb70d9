"""Any file is findings or a typed error, in bounded time: nothing raises, hangs, or passes by being unreadable."""

from __future__ import annotations

import copy
import json
import random
import time
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.opa import Opa
from tests.unit.assurance.plan.cases import GOOD, documents

from partywall.assurance.plan.documents import Document, parse
from partywall.assurance.plan.rules import evaluate, modules, settings_module
from partywall.assurance.plan.sql import parse_migration
from partywall.assurance.plan.yaml_text import parse_yaml_text
from partywall.decision.rego import RegoEngine
from partywall.errors import Malformed

BUDGET_S = 20.0
"""Generous: what is not bounded takes minutes or all memory."""
ENGINES = {}
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "*",
    "x" * 50,
    "169.254.169.254/33",
    "1-2-3",
    "{",
    [],
    {},
    [None],
    [[]],
    {"": None},
    [{}],
]


def read(name: str, raw: bytes) -> list[Document] | None:
    try:
        return parse(name, raw)
    except Malformed:
        return None


def judge(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if "ours" not in ENGINES:
        texts = {**modules(), "settings.rego": settings_module([])}
        ENGINES.update(ours=RegoEngine(texts), reference=Opa(texts))
    text = json.dumps(given)
    answers = [
        sorted(
            json.dumps(one, sort_keys=True)
            for query in ("deny", "warn")
            for one in json.loads(engine.evaluate(f"data.main.{query}", text))
        )
        for engine in ENGINES.values()
    ]
    assert answers[0] == answers[1]
    return [json.loads(one) for one in answers[0]]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200), st.sampled_from(["a.json", "a.yaml", "a.sql", "-"]))
def test_any_bytes(raw: bytes, name: str) -> None:
    found = read(name, raw)
    if found:
        evaluate([one.given for one in found])


@pytest.mark.parametrize("file", sorted(file.name for file in GOOD.iterdir()))
def test_bytes_near_a_good_file(file: str) -> None:
    draw, raw = random.Random(f"bytes {file}"), (GOOD / file).read_bytes()
    for _ in range(25):
        changed = bytearray(raw)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(changed))
            changed[place : place + draw.randint(0, 6)] = bytes(
                draw.choices(b"{}[]:,-\"'&*!|>\n \x00x1", k=draw.randint(0, 5))
            )
        found = read(file, bytes(changed))
        if found:
            evaluate([one.given for one in found])


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    found, stack = [], [value]
    while stack:
        here = stack.pop()
        pairs = here.items() if isinstance(here, dict) else enumerate(here) if isinstance(here, list) else ()
        for key, inner in pairs:
            found.append((here, key))
            stack.append(inner)
    return found


@pytest.mark.parametrize("file", sorted(file.name for file in GOOD.iterdir()))
def test_values_of_another_type_anywhere_are_judged_alike_by_both_engines(file: str) -> None:
    draw = random.Random(f"values {file}")
    for _ in range(60):
        given = documents(file)
        for _ in range(draw.randint(1, 5)):
            container, key = draw.choice(
                [one for document in given for one in places(document["contents"])] or [({}, "")]
            )
            container[key] = copy.deepcopy(draw.choice(ODD))
        judge(given)


def test_a_value_of_another_type_never_stops_the_rules() -> None:
    """Each place of a manifest in turn: types that no schema allows are judged, not passed over by an error."""
    draw = random.Random("each place")
    manifests = documents("tenants.yaml")
    every = [(index, number) for index, one in enumerate(manifests) for number in range(len(places(one["contents"])))]
    for index, number in draw.sample(every, 150):
        given = copy.deepcopy(manifests)
        container, key = places(given[index]["contents"])[number]
        container[key] = copy.deepcopy(draw.choice(ODD))
        evaluate(given)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", BOMB),
        ("a.yaml", "[" * 100_000),
        ("a.yaml", "{a: " * 100_000),
        ("a.yaml", "- " * 100_000),
        ("a.yaml", "&a [*a]"),
        ("a.yaml", "a: &a\n  <<: *a\n"),
        ("a.yaml", "? [a, b]\n: c\n"),
        ("a.yaml", "kind: Pod\napiVersion: v1\nx: .nan\n"),
        ("a.yaml", "kind: Pod\napiVersion: v1\nx: !!binary aGk=\n"),
        ("a.yaml", "!!set {a, b}"),
        ("a.json", "[" * 1_000_000),
        ("a.json", '{"a":' * 100_000),
        ("a.json", "9" * 100_000),
        ("a.json", '{"a": 1e999}'),
        ("a.json", '{"a": NaN}'),
        ("a.sql", "select " + "(" * 100_000),
        ("a.sql", "select " + "not " * 200_000 + "true"),
        ("a.sql", "create policy p on t using (" + "(" * 20_000 + "true" + ")" * 20_000 + ")"),
        ("a.sql", "-- " + "x" * 5_000_000),
    ],
    ids=lambda text: text[:20],
)
def test_bombs_are_refused_at_once(name: str, text: str) -> None:
    begun = time.perf_counter()
    assert read(name, text.encode()) is None
    assert time.perf_counter() - begun < BUDGET_S


def test_yaml_means_what_kubernetes_reads() -> None:
    text = "kind: Pod\napiVersion: v1\nwhen: 2026-01-01\non: yes\nbase: &b {x: 1}\nmore: {<<: *b, y: 2}\n"
    ((value, line),) = parse_yaml_text(text)
    assert line == 1
    assert value["when"] == "2026-01-01"
    assert value["on"] is True
    assert value["more"] == {"x": 1, "y": 2}


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )
)
def test_yaml_reads_back_what_a_writer_wrote(value: Any) -> None:
    text = yaml.safe_dump({"kind": "X", "apiVersion": "v1", "value": value})
    try:
        ((read_back, _),) = parse_yaml_text(text)
    except Malformed:
        return
    assert read_back["value"] == value


def test_many_statements_and_a_large_plan_end() -> None:
    begun = time.perf_counter()
    parse_migration("create table t (x int);\n" * 5_000)
    plan = documents("aws.json")[0]["contents"]
    changes = plan["resource_changes"]
    plan["resource_changes"] = [
        one | {"address": f"{one['address']}.{number}"} for number in range(60) for one in changes
    ]
    assert len(plan["resource_changes"]) > 1_500
    evaluate([{"path": "plan.json", "contents": plan}])
    assert time.perf_counter() - begun < BUDGET_S
