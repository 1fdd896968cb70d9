"""JSON of any size that a file may have, with one meaning: a name twice in an object is refused."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from partywall.errors import Malformed

DEPTH_LIMIT: Final = 100
NODES_LIMIT: Final = 4_000_000


def parse_json_text(text: str) -> Any:
    """Return the value that a text means. Raises: Malformed, with the line where it stops being JSON."""
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise Malformed(f"line {error.lineno}: it is no JSON: {error.msg}", code="malformed-json") from error
    except (RecursionError, ValueError) as error:
        raise Malformed(f"it is no JSON: {error}", code="malformed-json") from error
    check_size(value)
    return value


def check_size(value: Any) -> None:
    """Raises: Malformed when a value is nested too deeply or has too many members."""
    stack, nodes = [(value, 1)], 0
    while stack:
        here, depth = stack.pop()
        children = here.values() if isinstance(here, dict) else here if isinstance(here, list) else ()
        nodes += 1 + len(children)
        if depth > DEPTH_LIMIT or nodes > NODES_LIMIT:
            message = f"it nests deeper than {DEPTH_LIMIT} or has more than {NODES_LIMIT} members"
            raise Malformed(message, code="input-too-large")
        stack.extend((child, depth + 1) for child in children if isinstance(child, dict | list))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:64]!r} stands twice in one object")
    return value


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number does not fit")
    return value
