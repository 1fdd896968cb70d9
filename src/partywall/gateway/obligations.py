"""Obligations on what the caller receives: redact, truncate, tag. Pure; RE2, so hostile text costs linear time.

Credentials of our own (`pw_…` keys, JWTs) are always redacted from what comes back. Source: ADR-0003, attacks.md ID-2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import re2

from partywall.decision.labels import Classification, Label
from partywall.decision.verdict import Obligation, Redact, Tag, Truncate

PATTERNS: Final[dict[str, str]] = {
    "credential": r"pw_[a-z2-7]{26}_[A-Za-z0-9_-]{43}|"
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{40,}",
    "email": r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}",
    "iban": r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
    "card": r"\b[0-9](?:[ -]?[0-9]){12,18}\b",
    "phone": r"\+[0-9](?:[ -]?[0-9]){7,14}\b",
    "secret": r"\b(?:sk|pk|ghp|gho|xox[abp]|AKIA)[-_A-Za-z0-9]{16,100}\b",
}
"""Detectors by name. RE2 repeats at most 1,000 times; what is unbounded here is bounded by `LONGEST_MATCH`."""

HELD_LIMIT: Final = 8_192
"""Characters that a stream holds back at most: a longer match hides the word that it stands in, to its end."""

LONGEST_MATCH: Final = {"credential": 4_096, "email": 384, "iban": 44, "card": 38, "phone": 31, "secret": 110}
"""Upper bounds in characters of what each detector can match."""

UNFINISHED: Final[dict[str, str]] = {
    "credential": r"(?:p|pw|pw_[a-z2-7]{0,26}|pw_[a-z2-7]{26}_[A-Za-z0-9_-]*|e|ey|eyJ[A-Za-z0-9_.-]*)$",
    "email": r"[A-Za-z0-9._%+-]+(?:@[A-Za-z0-9.-]*)?$",
    "iban": r"[A-Z][A-Z0-9 ]*$",
    "card": r"[0-9][0-9 -]*$",
    "phone": r"\+[0-9 -]*$",
    "secret": r"[A-Za-z][-_A-Za-z0-9]*$",
}
"""The end of a text that may yet grow into a match: what a stream must hold back."""

FRAME: Final = frozenset({"finish_reason", "id", "model", "name", "object", "role", "type"})
FRAME_LIMIT: Final = 128
"""Fields whose short text is a word of the protocol: redacted like all, but not what a policy means to cut short."""

ALWAYS: Final = ("credential",)
_COMPILED: Final = {name: re2.compile(pattern) for name, pattern in PATTERNS.items()}
_UNFINISHED: Final = {name: re2.compile(pattern) for name, pattern in UNFINISHED.items()}


class Shaper:
    """What one verdict's obligations do to text. hold_back: the most characters that a stream ever keeps back."""

    def __init__(self, obligations: Iterable[Obligation]) -> None:
        detectors = dict.fromkeys(ALWAYS)
        self.limit_bytes: int | None = None
        self.classification = Classification.PUBLIC
        for obligation in obligations:
            if isinstance(obligation, Redact):
                detectors.update(dict.fromkeys(obligation.detectors))
            elif isinstance(obligation, Truncate):
                limit = obligation.limit_bytes
                self.limit_bytes = limit if self.limit_bytes is None else min(self.limit_bytes, limit)
            elif isinstance(obligation, Tag):
                self.classification = max(self.classification, Classification(obligation.classification))
        self._detectors = tuple(detectors)
        self.hold_back = max(LONGEST_MATCH.get(name, 0) for name in self._detectors)
        self.only_credentials = self._detectors == ALWAYS and self.limit_bytes is None

    def redact(self, text: str, start: int = 0, stop: int | None = None) -> str:
        """Return text[start:stop] with every match replaced by `[redacted:<detector>]`.

        All detectors look at the original text, so that what one replaces is no context for another; what stands before
        start and after stop is context only, and no match crosses them (`safe_length`). An unknown detector redacts
        everything.
        """
        stop = len(text) if stop is None else stop
        spans: list[tuple[int, int, str]] = []
        for name in self._detectors:
            compiled = _COMPILED.get(name)
            if compiled is None:  # fail closed: the policy asked for something we cannot do
                return f"[redacted:{name}]" if start < stop else ""
            spans.extend(
                (match.start(), -match.end(), name)
                for match in compiled.finditer(text, start)
                if match.start() < stop and (name != "card" or _is_card(match.group(0)))
            )
        return _replace(text, sorted(spans), start, stop) if spans else text[start:stop]

    def safe_length(self, text: str, start: int = 0) -> int:
        """Return up to where no match that begins at or after start can reach any more in a growing text."""
        safe = len(text)
        for name in self._detectors:
            unfinished = _UNFINISHED.get(name)
            found = unfinished.search(text, start) if unfinished is not None else None
            if found is not None:
                safe = min(safe, max(found.start(), len(text) - LONGEST_MATCH[name]))
        return self._before_matches(text, start, safe) if start < safe < len(text) else safe

    def _before_matches(self, text: str, start: int, safe: int) -> int:
        """Return the last place at or before `safe` that lies inside no match."""
        moved = True
        while moved:
            moved = False
            for name in self._detectors:
                compiled = _COMPILED.get(name)
                for match in compiled.finditer(text, start) if compiled is not None else ():
                    if match.start() < safe < match.end():
                        safe, moved = match.start(), True
        return safe

    def shape(self, text: str) -> str:
        """Return text redacted, then truncated at a character boundary."""
        text = self.redact(text)
        return text if self.limit_bytes is None else truncate(text, self.limit_bytes)

    def label(self, label: Label | None) -> Label | None:
        """Return the label, raised by tags."""
        if label is None or label.classification >= self.classification:
            return label
        return msgspec.structs.replace(label, classification=self.classification)

    def touches(self, body: bytes) -> bool:
        """Whether a JSON body needs to be rebuilt: cheap, for the common case of no obligation at all."""
        return not self.only_credentials or b"pw_" in body or b"eyJ" in body


def truncate(text: str, limit_bytes: int) -> str:
    """Return text cut after at most limit_bytes of UTF-8, at a character boundary."""
    data = text.encode()
    return text if len(data) <= limit_bytes else data[:limit_bytes].decode("utf-8", "ignore")


class Budget:
    """What a truncated reply may still hold. limit_bytes None: everything."""

    def __init__(self, limit_bytes: int | None) -> None:
        self._left_bytes = limit_bytes

    def take(self, text: str) -> str:
        """Return as much of text as fits. What did not fit ends it: nothing shorter slips in after it."""
        if self._left_bytes is None:
            return text
        kept = truncate(text, self._left_bytes)
        self._left_bytes = self._left_bytes - len(kept.encode()) if kept == text else 0
        return kept


def shape_value(value: Any, shaper: Shaper, budget: Budget, name: str = "") -> Any:
    """Return a JSON value with every string redacted, names too, and cut where the budget ends. name: its field."""
    if isinstance(value, str):
        text = shaper.redact(value)
        return text if name in FRAME and len(text) <= FRAME_LIMIT else budget.take(text)
    if isinstance(value, dict):
        return {shaper.redact(key): shape_value(inner, shaper, budget, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape_value(inner, shaper, budget, name) for inner in value]
    return value


def shape_json(body: bytes, shaper: Shaper) -> bytes:
    """Return a JSON body with its strings shaped. Raises: msgspec.DecodeError, RecursionError when it is none."""
    if not shaper.touches(body):
        return body
    return msgspec.json.encode(shape_value(msgspec.json.decode(body), shaper, Budget(shaper.limit_bytes)))


def _replace(text: str, spans: list[tuple[int, int, str]], start: int, stop: int) -> str:
    """Return text[start:stop] without the spans (start, minus end, detector), sorted; of overlapping ones all is hidden
    under the first's name.
    """
    parts: list[str] = []
    done = start
    for begin, minus_end, name in spans:
        if begin >= done:
            parts += (text[done:begin], f"[redacted:{name}]")
        done = max(done, -minus_end)
    return "".join((*parts, text[done:stop]))


def _is_card(text: str) -> bool:
    """Luhn's check."""
    digits = [int(character) for character in text if character.isdigit()]
    total = 0
    for index, digit in enumerate(reversed(digits)):
        doubled = digit * 2 if index % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
