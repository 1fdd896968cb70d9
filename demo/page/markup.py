"""HTML and SVG that escapes everything: a string becomes text unless it was made here. What was recorded is hostile."""

from __future__ import annotations

from html import escape
from typing import Final

_VOID: Final = frozenset({"meta", "br", "input", "col", "hr"})
_CONTROL: Final = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127), "\ufffd")
_BIDI: Final = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd")
_SHOWN: Final = str.maketrans(_CONTROL | _BIDI)


NONE: Final = "\N{EN DASH}"
"""What a cell says that has nothing to say."""


class Safe(str):
    """Markup that needs no escaping. Made by `tag`, `join` and `literal` only."""

    __slots__ = ()


Child = str | int | float | Safe | None
Attribute = str | int | float | bool | None


def text(value: object) -> Safe:
    """Return a value as text: markup escaped, control characters and text-direction overrides shown as U+FFFD."""
    if isinstance(value, Safe):
        return value
    return Safe(escape(str(value).translate(_SHOWN), quote=True))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Safe:
    """Return an element. Of an attribute's name a trailing `_` is dropped, others become `-`; None, False: left out."""
    opened = name
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        said = key.rstrip("_").replace("_", "-")
        opened += f" {said}" if value is True else f' {said}="{text(value)}"'
    if name in _VOID:
        return Safe(f"<{opened}>")
    return Safe(f"<{opened}>{join(*children)}</{name}>")


def join(*children: Child) -> Safe:
    """Return children after one another; None is nothing."""
    return Safe("".join(text(child) for child in children if child is not None))


def prose(words: str) -> str:
    """Return words of this package's own with a printer's apostrophe."""
    return words.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")


def literal(markup: str) -> Safe:
    """Return markup of this package's own (a style sheet, a script) as it is; never anything that was recorded."""
    return Safe(markup)
