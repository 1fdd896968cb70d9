"""Finds the route of a method and a path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from partywall.errors import Malformed, NotFound


class Patterned(Protocol):
    """What can be found: a method, and a pattern such as `/v1/tenants/{tenant}`."""

    @property
    def method(self) -> str: ...
    @property
    def pattern(self) -> str: ...


Found = TypeVar("Found", bound=Patterned)


class Router(Generic[Found]):
    """A pattern's `{name}` is one segment, never empty. Of two patterns that fit, the one with fewer names is meant."""

    def __init__(self, routes: Iterable[Found]) -> None:
        patterns: dict[tuple[str | None, ...], dict[str, Found]] = {}
        for route in routes:
            shape = tuple(None if part.startswith("{") else part for part in route.pattern.split("/"))
            patterns.setdefault(shape, {})[route.method] = route
        self._patterns = dict(sorted(patterns.items(), key=lambda entry: entry[0].count(None)))

    def match(self, method: str, path: str) -> tuple[Found, dict[str, str]]:
        """Return the route and the values of its names. Raises: NotFound; Malformed (method-not-allowed)."""
        parts = path.split("/")
        for shape, by_method in self._patterns.items():
            if not _fits(shape, parts):
                continue
            route = by_method.get(method)
            if route is None:
                raise Malformed(f"use {' or '.join(sorted(by_method))} here", code="method-not-allowed")
            names = (part[1:-1] for part in route.pattern.split("/") if part.startswith("{"))
            values = (part for want, part in zip(shape, parts, strict=True) if want is None)
            return route, dict(zip(names, values, strict=True))
        raise NotFound("there is nothing here")


def _fits(shape: tuple[str | None, ...], parts: list[str]) -> bool:
    if len(shape) != len(parts):
        return False
    return all(part == want if want is not None else part != "" for want, part in zip(shape, parts, strict=True))
