"""The other parts of the page: verdict, chapters, probes with their knock-outs, tasks, ledgers, processes, limits."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from demo.page.facts import Facts
from demo.page.markup import NONE, Safe, join, prose, tag

_WORDS: Final = {1: "One", 2: "Two", 3: "Three", 4: "Four"}
_BUT: Final = "The wall held. Something else went wrong."
LIMITS: Final = (
    "It is one machine, one run, and attacks that were thought of. It supports a penetration test and replaces none.",
    "The agents' calls are the suites' own ground truth, sent by the official clients: no model chose them.",
    "Whoever is root on the host, or holds the deployment's keys, is outside what this wall can stop.",
    "The AgentDojo suites are public benchmark data. The local model is small; its answers prove the protocol only.",
)


def verdict(facts: Facts) -> Safe:
    """The first thing that is read."""
    held = sum(one["held"] for one in facts.attempts)
    tried, pairs = (
        len(facts.attempts),
        len({(one["who"], one["whose"]) for one in facts.attempts if one["who"] != one["whose"]}),
    )
    done, tasks = facts.tasks
    held_all = held == tried and all(one["result"] != "leak" for one in facts.probes)
    headline = "The wall did not hold." if not held_all else "The wall held." if facts.right else _BUT
    who = _WORDS.get(len(facts.tenants), str(len(facts.tenants)))
    said = (
        f"{who} tenants' agents did {done} of {tasks} ordinary tasks side by side, through one gateway. Meanwhile each "
        f"tenant tried to reach every other: {held} of {tried} attempts over {pairs} ordered pairs were refused."
    )
    when = dt.datetime.fromtimestamp(facts.began_s, dt.UTC)
    version, machine = facts.summary["version"], facts.summary["machine"]
    about = f"{when:%-d %B %Y, %H:%M} UTC · {facts.duration_s:.0f} s · Partywall {version} · {machine}"
    return tag(
        "header",
        tag("p", "Partywall · demonstration report", class_="kicker"),
        tag("h1", headline, class_="good" if facts.right else "bad"),
        tag("p", prose(said), class_="lead"),
        _figures(facts),
        tag("p", about, class_="about"),
    )


def _figures(facts: Facts) -> Safe:
    done, tasks = facts.tasks
    twins = [one["same"] for one in facts.attempts if one["same"] is not None]
    held = sum(one["result"] == "held" for one in facts.probes)
    caught = sum(one["knocked_out"] == "leak" for one in facts.knockouts)
    cells: list[tuple[str, str, str]] = [
        (f"{done}/{tasks}", "tasks done", "by the suites' own checks"),
        (
            f"{sum(one['held'] for one in facts.attempts)}/{len(facts.attempts)}",
            "attempts refused",
            "across tenants and on credentials",
        ),
        (f"{sum(twins)}/{len(twins)}", "indistinguishable", "from names that do not exist"),
    ]
    if facts.probes:
        cells.append((f"{held}/{len(facts.probes)}", "probes held", "attacks that ship with the product"))
    if facts.knockouts:
        cells.append((f"{caught}/{len(facts.knockouts)}", "knock-outs caught", "each control removed once, alone"))
    cells.append((f"{facts.leaves:,}", "ledger leaves verified", "offline, with the public key only"))
    return tag(
        "dl",
        *(
            tag("div", tag("dt", what), tag("dd", tag("b", number), tag("span", prose(how))))
            for number, what, how in cells
        ),
        class_="figures",
    )


def chapters(facts: Facts) -> Safe:
    """What was played, in order, with every fault."""
    rows = []
    for number, one in enumerate(facts.chapters, 1):
        faults = tag("ul", *(tag("li", fault) for fault in one["faults"]), class_="faults") if one["faults"] else None
        rows.append(
            tag(
                "li",
                tag("b", one["name"]),
                tag(
                    "span",
                    {"right": "", "wrong": "wrong", "skipped": "skipped"}[one["result"]],
                    class_=f"mark {one['result']}",
                ),
                tag("span", f"{one['duration_s']:.1f} s", class_="time"),
                tag("p", one["says"]) if one["says"] else None,
                faults,
                value=number,
            )
        )
    return tag("ol", *rows, class_="chapters")


def probes(facts: Facts) -> Safe:
    """Each probe, with the knock-outs that it caught: a probe that no knock-out can fail proves nothing."""
    if not facts.probes:
        return tag("p", facts.result("probes")[1], class_="empty")
    caught: dict[str, list[dict[str, Any]]] = {}
    for row in facts.knockouts:
        caught.setdefault(row["probe"], []).append(row)
    rows = [_probe(one, caught.get(one["id"], [])) for one in facts.probes]
    return table(("Probe", "Attack", "On the product", "With the control removed"), rows, "probes")


def _probe(one: dict[str, Any], caught: list[dict[str, Any]]) -> Safe:
    good = one["result"] in {"held", "skipped"}
    outs = [
        tag(
            "div",
            _badge("caught" if row["knocked_out"] == "leak" else row["knocked_out"], row["knocked_out"] == "leak"),
            tag("code", row["knock_out"]),
            " ",
            tag("span", row.get("evidence", ""), class_="quiet"),
        )
        for row in caught
    ]
    return tag(
        "tr",
        tag("th", one["id"], scope="row", class_="code"),
        tag("td", one["title"], data_label="Attack"),
        tag(
            "td", _badge(one["result"], good), tag("span", one["evidence"], class_="quiet"), data_label="On the product"
        ),
        tag("td", *(outs or [tag("span", NONE, class_="quiet")]), data_label="With the control removed"),
    )


def _badge(said: str, good: object) -> Safe:
    return tag("span", said, class_="badge good" if good else "badge bad")


def tasks(facts: Facts) -> Safe:
    """One fold a tenant: each task, the tools it called, and the suite's verdict."""
    folds = []
    for name, one in facts.figures("work").items():
        marks = [
            tag("i", class_=f"task t{facts.index(name)}" if task["done"] else "task undone", title=task["prompt"])
            for task in one["tasks"]
        ]
        summary = tag(
            "summary",
            tag("span", name, class_=f"tenant t{facts.index(name)}"),
            tag("span", f"{one['done']} of {len(one['tasks'])} done", class_="what"),
            tag("span", f"{one['calls']} tool calls, p50 {one['p50_ms']} ms", class_="what"),
            tag("span", *marks, class_="tasks", aria_hidden="true"),
        )
        rows = [_task(task) for task in one["tasks"]]
        folds.append(
            tag("details", summary, table(("Task", "Asked", "Tools called", "Done"), rows, "work"), class_="work-fold")
        )
    return join(*folds) if folds else tag("p", facts.result("work")[1], class_="empty")


def _task(task: dict[str, Any]) -> Safe:
    return tag(
        "tr",
        tag("th", task["id"].removeprefix("user_task_"), scope="row", class_="code"),
        tag("td", task["prompt"], data_label="Asked"),
        tag("td", ", ".join(task["tools"]) or "none", class_="code", data_label="Tools called"),
        tag("td", _badge("done" if task["done"] else "not done", task["done"]), data_label="Done"),
    )


def ledgers(facts: Facts) -> Safe:
    """Each tenant's log: what it holds, and the head that its owner can keep."""
    rows = []
    for name, one in facts.ledgers.items():
        head = one["head"]
        asked, recorded = sum(one["made"].values()), sum(one["recorded"].get(action, 0) for action in one["made"])
        rows.append(
            tag(
                "tr",
                tag("th", tag("span", name, class_=f"tenant t{facts.index(name)}"), scope="row"),
                tag("td", f"{one['leaves']:,}", class_="number", data_label="Leaves verified"),
                tag("td", f"{asked:,} asked, {recorded:,} recorded", data_label="Agent's actions"),
                tag("td", f"{one['denials']:,}", class_="number", data_label="Denials in it"),
                tag(
                    "td",
                    tag("code", head["root"]),
                    tag("div", f"over {head['size']:,} leaves, signed by {head['signer']}", class_="quiet"),
                    data_label="Checkpoint head",
                ),
            )
        )
    if not rows:
        return tag("p", facts.result("ledger")[1], class_="empty")
    return table(("Tenant", "Leaves verified", "Agent's actions", "Denials in it", "Checkpoint head"), rows, "ledgers")


def processes(facts: Facts) -> Safe:
    """What the kernel says of each process."""
    figures = facts.figures("processes")
    if not figures:
        return tag("p", facts.result("processes")[1], class_="empty")
    rows = [
        tag(
            "tr",
            tag("th", one["name"], scope="row"),
            tag("td", f"{one['user']} ({one['uid']})", class_="code", data_label="Runs as"),
            tag("td", one["capabilities"] or "none", data_label="Capabilities"),
            tag("td", "cannot gain any" if one["no_new_privileges"] else "can gain some", data_label="Privileges"),
            tag("td", "its own" if one["own_view"] else "the host's", data_label="File system view"),
            tag("td", "never" if not one["dumps_core"] else "possible", data_label="Core dumps"),
        )
        for one in figures["rows"]
    ]
    said = tag(
        "p",
        "Measured isolation level: ",
        tag("code", figures["level"]),
        f" — {figures['reason']}" if figures["reason"] else None,
    )
    heads = ("Process", "Runs as", "Capabilities", "Privileges", "File system view", "Core dumps")
    return join(said, table(heads, rows, "processes"))


def limits() -> Safe:
    """What this run does not show."""
    return tag("ul", *(tag("li", prose(one)) for one in LIMITS), class_="limits")


def table(heads: tuple[str, ...], rows: list[Safe], kind: str) -> Safe:
    """Return a table that scrolls inside itself, never the page."""
    head = tag("tr", *(tag("th", name, scope="col") for name in heads))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows), class_=kind), class_="scroll")


def section(name: str, title: str, lead: str, *body: Safe) -> Safe:
    """Return one section with its heading and one sentence on what it shows."""
    return tag(
        "section", tag("h2", prose(title)), tag("p", prose(lead), class_="intro") if lead else None, *body, id=name
    )
