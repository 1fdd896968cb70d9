"""Each rule that a tenant's policy is held to, by its id; and that no text takes the checker down."""

from __future__ import annotations

import time

import pytest
from tests.policies import MODULES, module

from partywall.decision.lint import inspect_module
from partywall.decision.policy import Policy, PolicyFailed, validate_module

HEAD = "package tenant\n"

REFUSED = [
    ("PW101", "x" * 70_000),
    ("PW101", HEAD + "# " + "x" * 1_100),
    ("PW101", HEAD + "\n" * 4_000),
    ("PW101", HEAD + 'deny contains "\u202eevil" if true'),
    ("PW101", HEAD + 'deny contains "\ud800" if true'),
    ("PW102", HEAD + "deny contains"),
    ("PW102", HEAD + 'deny contains "x" if { input.a'),
    ("PW102", HEAD + 'deny contains $"{input.a}" if true'),
    ("PW103", HEAD + 'deny contains "x" if ' + "[" * 14 + "]" * 14),
    ("PW103", HEAD + 'deny contains "x" if 1 == ' + "1 -\n" * 30 + "1"),
    ("PW103", HEAD + 'deny contains "x" if input' + ".a" * 20),
    ("PW104", 'package other\ndeny contains "x" if true'),
    ("PW104", "package partywall.base\ngrant := true"),
    ("PW104", 'package tenant.sub\ndeny contains "x" if true'),
    ("PW105", HEAD + 'import data.partywall.base\ndeny contains "x" if true'),
    ("PW105", HEAD + 'import input.payload as p\ndeny contains "x" if p'),
    ("PW105", HEAD + 'deny contains "x" if data.partywall.base.grant.allow'),
    ("PW105", HEAD + 'deny contains "x" if data[input.a]'),
    ("PW105", HEAD + 'deny contains "x" if { some input in [1]; input }'),
    ("PW105", HEAD + 'count(x) := 0\ndeny contains "x" if count([1]) == 0'),
    ("PW106", HEAD + 'deny contains "x" if http.send({"url": "http://127.0.0.1"})'),
    ("PW106", HEAD + 'deny contains "x" if opa.runtime().env.HOME'),
    ("PW106", HEAD + 'deny contains "x" if time.now_ns() > 1'),
    ("PW106", HEAD + 'deny contains "x" if rand.intn("a", 2) == 1'),
    ("PW106", HEAD + 'deny contains "x" if net.lookup_ip_addr("a")'),
    ("PW106", HEAD + 'deny contains "x" if count(numbers.range(1, 1000000000)) > 1'),
    ("PW106", HEAD + 'deny contains "x" if replace(input.a, "a", "aaaa") == "b"'),
    ("PW106", HEAD + 'deny contains "x" if { trace("x") }'),
    ("PW106", HEAD + 'deny contains "x" if { print("x") }'),
    ("PW107", HEAD + 'deny contains "x" if regex.match(input.a, "b")'),
    ("PW107", HEAD + "deny contains `x` if regex.match(`\\d+`, input.a)"),
    ("PW107", HEAD + "deny contains `x` if regex.match(`(?i)a`, input.a)"),
    ("PW107", HEAD + "deny contains `x` if regex.match(`[a-z&&[b]]`, input.a)"),
    ("PW107", HEAD + "deny contains `x` if regex.match(`a**`, input.a)"),
    ("PW108", HEAD + "deny := true"),
    ("PW108", HEAD + "default deny := false\ndeny if input.a"),
    ("PW108", HEAD + "deny(x) := x"),
    ("PW108", HEAD + 'deny[x] contains "y" if some x in input.a'),
    ("PW109", HEAD + 'denny contains "x" if true'),
    ("PW110", HEAD + 'f(x) := f(x)\ndeny contains "x" if f(1)'),
    ("PW110", HEAD + 'f(x) := g(x)\ng(x) := f(x)\ndeny contains "x" if f(1)'),
    ("PW110", HEAD + 'a if b\nb if a\ndeny contains "x" if a'),
    ("PW110", HEAD + 'deny contains "x" if ' + "{ " + "; ".join(f"some v{n} in input.a" for n in range(5)) + " }"),
    ("PW110", HEAD + "".join(f"a{n} := [a{n + 1}, a{n + 1}]\n" for n in range(40))
     + 'a40 := 1\ndeny contains "x" if a0'),
    ("PW110", HEAD + "".join(f"f{n}(x) := f{n + 1}(x) + f{n + 1}(x)\n" for n in range(40))
     + 'f40(x) := 1\ndeny contains "x" if f0(1) == 1'),
    ("PW110", HEAD + 'deny contains "x" if { input.a with input as {"a": 1} }'),
    ("PW112", HEAD + 'deny contains "x" if nobody'),
    ("PW112", HEAD + 'deny contains "x" if startswith(input.principal.clearance, "x")'),
    ("PW113", HEAD + 'deny contains "x" if not startswith(input.payload.a, "x")'),
    ("PW113", HEAD + 'deny contains "x" if { {"a": a} = input.payload }'),
    ("PW113", HEAD + 'm[k] := 1 if some k in input.payload\ndeny contains "x" if m.a'),
    ("PW113", HEAD + 'deny contains "x" if { x := {1}; x | {2} == {1, 2} }'),
    ("PW113", HEAD + 'deny contains "x" if input.payload.a * 0.1 > 2'),
    ("PW113", HEAD + 'deny contains "x" if input.payload.a / 3 > 2'),
]  # fmt: skip


@pytest.mark.parametrize(("finding_id", "text"), REFUSED)
def test_refused(finding_id: str, text: str) -> None:
    findings = validate_module(text)
    assert finding_id in {finding.id for finding in findings}, findings
    assert all(finding.message and 0 <= finding.line <= text.count("\n") + 1 for finding in findings)
    if finding_id != "PW112":  # a policy that only its evaluation shows to be broken denies then
        with pytest.raises(PolicyFailed):
            Policy(text)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_policies_as_people_write_them_are_accepted(name: str) -> None:
    assert validate_module(module(name)) == []


def test_findings_come_in_order_and_name_their_lines() -> None:
    text = HEAD + 'deny contains "a" if time.now_ns() > 1\n\nnobody_uses := 1\ndeny contains "b" if rand.intn("a", 2)\n'
    assert [(finding.line, finding.id) for finding in validate_module(text)] == [
        (2, "PW106"),
        (4, "PW109"),
        (5, "PW106"),
    ]


HOSTILE_TEXTS = {
    "nested arrays": HEAD + "".join(f'deny contains "x" if [[[[[{n}]]]]] == 1\n' for n in range(40)),
    "nested objects": HEAD + 'deny contains "x" if 1 == {"a": {"a": {"a": {"a": {"a": 1}}}}}\n' * 30,
    "sums": HEAD + "".join(f"r{n} := {'1 + ' * 20}1\n" for n in range(400)) + 'deny contains "x" if r1 == 1\n',
    "negatives": HEAD + 'deny contains "x" if 1 == ' + "-\n" * 20_000 + "1",
    "parentheses": HEAD + 'deny contains "x" if ' + "(\n" * 2_900 + "1",
    "elses": HEAD + "r := 1 if input.a\n" + "else := 2 if input.b\n" * 900 + 'deny contains "x" if r == 1\n',
    "chain of rules": HEAD + "".join(f"r{n} if r{n + 1}\n" for n in range(480))
    + 'r480 := 1\ndeny contains "x" if r0\n',
    "many rules": HEAD + "".join(f'deny contains "{n}" if input.l[_] == {n}\n' for n in range(490)),
    "many nots": HEAD + 'deny contains "x" if {\n' + "not input.a\n" * 2_500 + "}\n",
    "open strings": HEAD + '"' * 60_000,
    "open raws": HEAD + "`" * 59_999,
    "dots": HEAD + "." * 900,
    "words": HEAD + "not " * 240,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOSTILE_TEXTS))
def test_no_text_takes_the_checker_down(name: str) -> None:
    started = time.perf_counter()
    validate_module(HOSTILE_TEXTS[name])
    assert time.perf_counter() - started < 20.0  # not a measurement: the parser alone would take hours or crash


def test_the_bound_keeps_each_evaluation_short() -> None:
    """Inputs that fit the bound are evaluated, larger ones are denied unseen."""
    pairs = HEAD + 'deny contains "x" if { some a in input.payload; some b in input.payload; a + b == 0 - 1 }\n'
    policy = Policy(pairs)
    assert inspect_module(pairs).cost.degree == 2
    assert policy.arguments(str({"payload": list(range(400))}).replace("'", '"')).deny is None
    with pytest.raises(PolicyFailed, match="too large"):
        policy.arguments(str({"payload": list(range(5_000))}).replace("'", '"'))
