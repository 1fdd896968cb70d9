"""The demonstration's page: whatever was recorded is text on it, and the browser may load nothing for it."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from demo.page import document, drawing
from demo.page.markup import Safe, tag, text

EVIL = "</style></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'`\u202e\x00&"
NAMES = ("workspace", "banking", "travel", "slack")


def attempt(who: str, whose: str, **more: Any) -> dict[str, Any]:
    made = {
        "door": "MCP", "layer": "tools", "who": who, "whose": whose, "tried": "tools/list by slug", "status": 404,
        "code": "not-found", "reason": "there is no such tool server here", "held": True, "same": True,
        "at_s": 1_000_005.0, "trace": "0" * 32, "act": "act_" + "a" * 26, "leaf": 7,
    }  # fmt: skip
    return made | more


def ledger() -> dict[str, Any]:
    return {
        "leaves": 1234, "covered": 1234, "checkpoints": 2, "denials": 3, "unresolved": 0, "archive_bytes": 9,
        "made": {"tool.call": 5}, "recorded": {"tool.call": 5}, "by_phase": {}, "allowed": {"tools": 5, "ledger": 1},
        "moments": [[1_000_003.0, False], [1_000_005.0, True]],
        "head": {"size": 1234, "root": "cm9vdA==", "time_s": 1_000_009.0, "signer": "partywall.example"},
    }  # fmt: skip


def summary() -> dict[str, Any]:
    """A whole run, in small."""
    figures: dict[str, dict[str, Any]] = {
        "tenants": {name: {"tenant": f"ten_{name}", "tools": 3, "granted": 2} for name in NAMES},
        "work": {
            name: {
                "done": 1, "calls": 2, "p50_ms": 3.1, "credentials_seen_by_the_server": 0,
                "tasks": [{"id": "user_task_0", "prompt": "Pay", "tools": ["p"], "done": True, "era": "2026-07-28"}],
            }
            for name in NAMES
        },
        "probes": {
            "findings": [
                {"id": "MCP-1", "title": "a secret is in no record", "control": "c", "result": "held",
                 "evidence": "none", "duration_s": 0.5, "at_s": 1_000_006.0}
            ]
        },
        "knockouts": {
            "rows": [
                {"knock_out": "records-raw", "probe": "MCP-1", "product": "held", "knocked_out": "leak",
                 "evidence": "it stands in the log", "at_s": 1_000_004.0, "duration_s": 2.0}
            ]
        },
        "processes": {
            "level": "uid-per-process", "reason": "",
            "rows": [
                {"name": "gateway-0", "pid": 1, "user": "pw-gateway", "uid": 990, "capabilities": 0,
                 "no_new_privileges": True, "own_view": True, "dumps_core": False}
            ],
        },
        "ledger": {name: ledger() for name in NAMES},
    }  # fmt: skip
    chapters = [
        {"key": key, "name": key, "result": "right", "says": "so", "at_s": 1_000_000.0 + at, "duration_s": 1.0,
         "figures": one, "faults": []}
        for at, (key, one) in enumerate(figures.items())
    ]  # fmt: skip
    attempts = [attempt(who, whose) for who in NAMES for whose in NAMES if who != whose]
    return {
        "right": True, "began_s": 1_000_000.0, "duration_s": 10.0, "version": "0", "machine": "m",
        "chapters": chapters, "attempts": attempts,
    }  # fmt: skip


class Elements(HTMLParser):
    """Collects every element with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def poisoned(value: Any) -> Any:
    """Return the value with every string in it hostile, but those that choose how the page is built."""
    if isinstance(value, dict):
        kept = {"key", "result", "layer", "knocked_out", "product", "who", "whose"}
        return {name: inner if name in kept else poisoned(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner) for inner in value]
    return f"{value[:12]}{EVIL}" if isinstance(value, str) else value


def test_whatever_was_recorded_is_text() -> None:
    before, after = (Elements(document(made)).found for made in (summary(), poisoned(summary())))
    assert [name for name, _ in after] == [name for name, _ in before]
    allowed = {"script", "style"}
    assert [name for name, _ in after if name in allowed] == ["style", "script"]
    assert not any(attribute.startswith("on") for _, attributes in after for attribute in attributes)
    page = document(poisoned(summary()))
    assert "\u202e" not in page
    assert "\x00" not in page


def test_a_hostile_tenant_name_changes_no_element() -> None:
    made = summary()
    for chapter in made["chapters"]:
        if "slack" in chapter["figures"]:
            chapter["figures"][EVIL] = chapter["figures"].pop("slack")
    for one in made["attempts"]:
        for side in ("who", "whose"):
            one[side] = EVIL if one[side] == "slack" else one[side]
    assert [name for name, _ in Elements(document(made)).found] == [
        name for name, _ in Elements(document(summary())).found
    ]
    ET.fromstring(drawing(made))


def test_the_browser_may_load_nothing_and_run_only_what_is_here() -> None:
    page = document(summary())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    rules = policy[1].replace("&#x27;", "'")
    assert rules.startswith("default-src 'none';")
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert inside is not None
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in rules
    for name, attributes in Elements(page).found:
        assert not {"src", "href", "style", "srcset", "action"} & attributes.keys(), name
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_picture_counts_every_attempt_and_shows_one_that_came_through() -> None:
    made = summary()
    assert "3 refused" in drawing(made)
    assert "dart leak" not in drawing(made)
    made["attempts"][0]["held"] = False
    made["right"] = False
    assert drawing(made).count('class="dart leak"') == 1
    assert "2 refused" in drawing(made)
    assert "The wall did not hold." in document(made)


def test_another_fault_is_not_called_a_hole_in_the_wall() -> None:
    made = summary()
    made["right"] = False
    made["chapters"][1]["faults"] = ["banking: 0 of 1 tasks done"]
    made["chapters"][1]["result"] = "wrong"
    page = document(made)
    assert "Something else went wrong." in page
    assert "banking: 0 of 1 tasks done" in page


def stumps() -> Iterator[dict[str, Any]]:
    """Yield runs that broke off after each of their chapters."""
    whole = summary()
    for length in range(len(whole["chapters"]) + 1):
        made = copy.deepcopy(whole)
        made["chapters"], made["right"] = made["chapters"][:length], False
        made["attempts"] = [] if length < 3 else made["attempts"]
        yield made


@pytest.mark.parametrize("made", list(stumps()), ids=lambda made: f"{len(made['chapters'])}-chapters")
def test_a_run_that_broke_off_is_a_page_too(made: dict[str, Any]) -> None:
    page = document(made)
    assert page.endswith("</html>\n")
    ET.fromstring(drawing(made))


def test_only_what_is_made_here_is_markup() -> None:
    assert tag("p", "<b>", Safe("<i></i>"), class_='a"b', data_label=None) == (
        '<p class="a&quot;b">&lt;b&gt;<i></i></p>'
    )
    assert text("a\u202eb\x1b") == "a\ufffdb\ufffd"
