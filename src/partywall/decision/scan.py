"""Bounds on a policy's text, before any engine parses it.

regorus' parser takes exponential time on nested brackets and overflows its stack on long chains of operators: either
would take a whole worker down. This scanner keeps both out, in linear time. Source: ADR-0004.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

MODULE_LIMIT_BYTES: Final = 65_536
LINE_LIMIT: Final = 1_000
LINES_LIMIT: Final = 3_000
DEPTH_LIMIT: Final = 12
OPERATORS_LIMIT: Final = 24
CHAIN_LIMIT: Final = 16
PARSE_LIMIT: Final = 6_000.0
"""Bound on the sum of 2.2^depth over all brackets: what the parser's backtracking costs."""

_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t]+)|(?P<newline>\r?\n)|(?P<comment>\#[^\n]*)
      |(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<raw>`[^`]*`)
      |(?P<number>[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?(?![0-9A-Za-z_]))
      |(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<open>[\[({])|(?P<close>[\])}])
      |(?P<assign>:=)|(?P<operator>==|!=|<=|>=|[-+*/%&|<>=])|(?P<stop>[,;:])|(?P<dot>\.)""",
    re.VERBOSE,
)
_WORD_OPERATORS: Final = frozenset({"in", "not"})
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}


class Finding(msgspec.Struct, frozen=True):
    """One thing to mend before a module can be activated. id: stable. line: from 1; 0 is the whole module."""

    id: str
    line: int
    message: str


class _Scanner:
    """Walks the tokens once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.line = 1
        self.opened: list[str] = []
        self.parse_work = 0.0
        self.operators = 0
        self.chain = 0
        self.after_operator = False
        self.fresh_line = True

    def run(self) -> Finding | None:
        position = 0
        while position < len(self.text):
            match = _TOKEN.match(self.text, position)
            if match is None:
                return self.finding("PW102", f"cannot read {self.text[position]!r} here")
            problem = self.take(str(match.lastgroup), match[0])
            if problem is not None:
                return problem
            position = match.end()
        return self.finding("PW102", f"{self.opened[-1]} is never closed") if self.opened else None

    def take(self, kind: str, token: str) -> Finding | None:
        if kind in {"space", "comment"}:
            return None
        if kind == "newline":
            self.line += 1
            self.fresh_line = True
            return None
        operator = kind == "operator" or (kind == "word" and token in _WORD_OPERATORS)
        if kind in {"assign", "stop"} or (
            self.fresh_line and not self.after_operator and (not operator or token == "not")  # noqa: S105  # a word
        ):
            self.operators = 0
        if kind == "word" and self.fresh_line and self.opened[-1:] in ([], ["{"]):
            self.chain = 0
        self.operators += operator
        self.after_operator, self.fresh_line = operator, False
        problem = self.nest(kind, token) if kind in {"open", "close"} else None
        self.line += token.count("\n")
        return problem or self.bounded(kind)

    def nest(self, kind: str, token: str) -> Finding | None:
        if kind == "close":
            if not self.opened or self.opened.pop() != _PAIRS[token]:
                return self.finding("PW102", f"{token} closes nothing")
            return None
        self.opened.append(token)
        if token != "(":  # noqa: S105  # a bracket
            self.parse_work += 2.2 ** len(self.opened)
        if len(self.opened) > DEPTH_LIMIT or self.parse_work > PARSE_LIMIT:
            return self.finding(
                "PW103", f"brackets nest too deeply here (at most {DEPTH_LIMIT}); name the parts as rules"
            )
        return None

    def bounded(self, kind: str) -> Finding | None:
        if self.operators > OPERATORS_LIMIT:
            return self.finding("PW103", f"more than {OPERATORS_LIMIT} operators in one expression; split it")
        links = kind in {"dot", "open", "close"}
        self.chain = self.chain + (kind in {"dot", "open"}) if links or kind == "word" else 0
        if self.chain > CHAIN_LIMIT:
            return self.finding("PW103", f"a path of more than {CHAIN_LIMIT} parts; name a part as a rule")
        return None

    def finding(self, finding_id: str, message: str) -> Finding:
        return Finding(finding_id, self.line, message)


def scan(text: str) -> Finding | None:
    """Return why no engine may parse this text, or None. Linear in its length, which is bounded first."""
    if len(text) > MODULE_LIMIT_BYTES or len(text.encode("utf-8", "replace")) > MODULE_LIMIT_BYTES:
        return Finding("PW101", 0, f"a policy has at most {MODULE_LIMIT_BYTES} bytes")
    lines = text.split("\n")
    if len(lines) > LINES_LIMIT:
        return Finding("PW101", 0, f"a policy has at most {LINES_LIMIT} lines")
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_LIMIT:
            return Finding("PW101", number, f"a line has at most {LINE_LIMIT} characters")
        hidden = _FORBIDDEN.search(line.rstrip("\r"))
        if hidden is not None or not _is_text(line):
            shown = "a lone surrogate" if hidden is None else f"U+{ord(hidden[0]):04X}"
            return Finding("PW101", number, f"{shown} hides what a reader sees; remove it")
    return _Scanner(text).run()


def _is_text(line: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in line) if not line.isascii() else True
