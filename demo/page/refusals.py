"""Each refusal with its reason, the denial's act, and its place in the ledger of the tenant that tried."""

from __future__ import annotations

from collections import Counter
from typing import Any

from demo.page.facts import Facts
from demo.page.markup import NONE, Safe, join, prose, tag

Attempts = list[dict[str, Any]]


def refusals(facts: Facts) -> Safe:
    """One fold a door; in it one row a thing tried; in that one line a pair."""
    doors: dict[str, Attempts] = {}
    for one in facts.attempts:
        doors.setdefault(one["door"], []).append(one)
    if not doors:
        return tag("p", "Nothing was tried.", class_="empty")
    search = tag(
        "p",
        tag("label", "Find ", tag("input", type="search", id="find", placeholder="a tenant, a reason, an act …")),
        tag("output", id="found", for_="find"),
        class_="find",
        hidden=True,
    )
    return join(search, *(_door(facts, door, ones) for door, ones in doors.items()))


def _door(facts: Facts, door: str, ones: Attempts) -> Safe:
    tried: dict[str, Attempts] = {}
    for one in ones:
        tried.setdefault(one["tried"], []).append(one)
    held = sum(one["held"] for one in ones)
    good = held == len(ones)
    summary = tag(
        "summary",
        tag("span", door, class_="door"),
        tag("span", f"{len(tried)} things tried", class_="what"),
        tag("span", f"{held} of {len(ones)} refused", class_="verdict good" if good else "verdict bad"),
    )
    head = tag(
        "tr",
        *(
            tag("th", name, scope="col")
            for name in ("Tried", "Answered", "Reason given", "Like a missing name", "Refused")
        ),
    )
    rows = [_row(facts, what, group) for what, group in tried.items()]
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="refusals")
    return tag("details", summary, tag("div", table, class_="scroll"), open=not good, class_="door-fold")


def _row(facts: Facts, what: str, ones: Attempts) -> Safe:
    answers = Counter(f"{one['status']} {one['code']}".strip() for one in ones)
    reasons = Counter(one["reason"] for one in ones)
    twins = [one["same"] for one in ones if one["same"] is not None]
    same = NONE if not twins else "same bytes" if all(twins) else "it differs"
    held = sum(one["held"] for one in ones)
    good = held == len(ones)
    fold = tag(
        "details",
        tag("summary", f"{held} of {len(ones)}", class_="good" if good else "bad"),
        tag("ol", *(_line(facts, one) for one in ones), class_="pairs"),
        class_="pairs-fold",
    )
    return tag(
        "tr",
        tag("th", what, scope="row"),
        tag("td", *_several(answers), class_="code", data_label="Answered"),
        tag("td", *_several(reasons), data_label="Reason given"),
        tag("td", same, class_="" if same != "it differs" else "bad", data_label="Like a missing name"),
        tag("td", fold, data_label="Refused"),
    )


def _several(counts: Counter[str]) -> list[Safe]:
    return [tag("div", said) for said, _count in counts.most_common(3)]


def _line(facts: Facts, one: dict[str, Any]) -> Safe:
    place = (
        join(tag("code", one["act"]), prose(f" leaf {one['leaf']} of {one['who']}'s log"))
        if one["act"]
        else tag("span", "before it was an action of anyone", class_="quiet")
    )
    toward = [" → ", _who(facts, one["whose"])] if one["whose"] != one["who"] else []
    return tag(
        "li",
        tag("span", _who(facts, one["who"]), *toward, class_="pair"),
        tag("span", place, class_="place"),
        tag("span", f"{max(0.0, one['at_s'] - facts.began_s):.1f} s", class_="time"),
        class_=None if one["held"] else "bad",
    )


def _who(facts: Facts, name: str) -> Safe:
    return tag("span", name, class_=f"tenant t{facts.index(name)}")
