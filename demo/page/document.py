"""Puts the page together: one file, nothing from elsewhere, and a policy that lets the browser load nothing else."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from demo.page import picture, refusals, sections, timeline
from demo.page.facts import Facts
from demo.page.markup import Safe, join, literal, tag
from demo.page.sections import section

HERE = Path(__file__).parent


def document(summary: dict[str, Any]) -> str:
    """Return the whole page. summary: as `demo.report.Report.summary` gives it; all of it is taken for hostile."""
    facts = Facts(summary)
    style, script = _read("tokens.css", "picture.css", "style.css"), _read("script.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    title = f"Partywall: {'the wall held' if facts.right else 'the wall did not hold'}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", literal(style)),
    )
    body = tag("body", tag("main", *_parts(facts)), tag("script", literal(script)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def drawing(summary: dict[str, Any]) -> str:
    """Return the picture alone, as an SVG file with its own style."""
    return picture.standalone(Facts(summary), _read("tokens.css", "picture.css"))


def _read(*names: str) -> str:
    return "".join((HERE / name).read_text("utf-8") for name in names)


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _parts(facts: Facts) -> list[Safe]:
    faults = [fault for one in facts.chapters for fault in one["faults"]]
    wrong = tag("div", tag("h2", "What went wrong"), tag("ul", *(tag("li", fault) for fault in faults)), class_="wrong")
    parts = [sections.verdict(facts)]
    if faults:
        parts.append(wrong)
    return [
        *parts,
        section(
            "reach",
            "Who could reach what",
            "Each house is a tenant, each floor a layer. Inside: what its own people did there, allowed and recorded. "
            "Outside, the other tenants' attempts on that floor; an arrow that is refused ends at the wall.",
            picture.legend(facts),
            join(picture.wide(facts), picture.narrow(facts)),
        ),
        section(
            "run",
            "The run, second by second",
            "From each tenant's own ledger: allowed actions above its line, refused ones below. The bands are the "
            "chapters, numbered as in the list beneath.",
            join(timeline.wide(facts), timeline.narrow(facts)),
            sections.chapters(facts),
        ),
        section(
            "refusals",
            "Every refusal, with its reason",
            "The reason is what the refused caller was told. The act and the leaf are where the denial stands in the "
            "log of the tenant that tried; what was refused before anyone was known to ask stands in nobody's.",
            refusals.refusals(facts),
        ),
        section(
            "probes",
            "Probes, and proof that they can fail",
            "A probe that always passes proves nothing. So each control was removed once, alone, in a throwaway "
            "deployment, and the probe that guards it had to see the leak.",
            sections.probes(facts),
        ),
        section(
            "tasks",
            "The work that went on meanwhile",
            "Every user task of the four AgentDojo suites, sent by the official MCP client, half in each era of the "
            "protocol, and judged by the suite's own check.",
            sections.tasks(facts),
        ),
        section(
            "ledger",
            "Each tenant's ledger, verified offline",
            "Exported by the tenant itself and checked with nothing but the published key; a changed bit was noticed.",
            sections.ledgers(facts),
        ),
        section("processes", "What separates the processes", "", sections.processes(facts)),
        section("limits", "What this does not show", "", sections.limits()),
    ]
