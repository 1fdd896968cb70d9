"""YAML as Kubernetes reads it: several documents, plain values only, bounded before anything is built.

Refused, because two readers would differ or work would not end: a name twice in a mapping, tags of other types,
anchors that expand beyond the bound or hold themselves, deep nesting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import yaml
from yaml.constructor import ConstructorError

from partywall.assurance.plan.json_text import NODES_LIMIT, check_size
from partywall.errors import Malformed

DEPTH_LIMIT: Final = 64
LIMIT_CHARACTERS: Final = 16 * 1024 * 1024
_MERGE: Final = "tag:yaml.org,2002:merge"


class _Plain(yaml.CSafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Builds what JSON can say: dates stay text."""


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Plain, node: yaml.MappingNode) -> dict[str, Any]:
    own = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE]
    if len(set(own)) != len(own):
        twice = next(name for name in own if own.count(name) > 1)
        raise ConstructorError(None, None, f"{twice[:64]!r} stands twice in one mapping", node.start_mark)
    loader.flatten_mapping(node)
    value: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConstructorError(None, None, "a name is no text", key_node.start_mark)
        value[str(key_node.value)] = loader.construct_object(value_node, deep=True)
    return value


def _float(loader: _Plain, node: yaml.ScalarNode) -> float:
    value: float = yaml.constructor.SafeConstructor.construct_yaml_float(loader, node)
    if not math.isfinite(value):
        raise ConstructorError(None, None, "a number does not fit", node.start_mark)
    return value


_Plain.add_constructor("tag:yaml.org,2002:map", _mapping)
_Plain.add_constructor("tag:yaml.org,2002:float", _float)
for _tag in ("binary", "set", "omap", "pairs", "timestamp"):
    _Plain.add_constructor(f"tag:yaml.org,2002:{_tag}", _Plain.construct_undefined)


def parse_yaml_text(text: str) -> Iterator[tuple[Any, int]]:
    """Yield each document that is not empty, and the line where it begins. Raises: Malformed."""
    if len(text) > LIMIT_CHARACTERS:
        raise Malformed(
            f"YAML has at most {LIMIT_CHARACTERS} characters; larger plans are JSON", code="input-too-large"
        )
    try:
        _check_events(text)
        yield from _documents(text)
    except yaml.YAMLError as error:
        raise Malformed(_said(error), code="malformed-yaml") from error
    except (ValueError, RecursionError, OverflowError, TypeError, AttributeError) as error:
        raise Malformed(f"it is no YAML: {error}", code="malformed-yaml") from error


def _documents(text: str) -> Iterator[tuple[Any, int]]:
    loader = _Plain(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            _check_expansion(node)
            value = loader.construct_document(node)
            check_size(value)
            if value is not None:
                yield value, node.start_mark.line + 1
    finally:
        loader.dispose()


def _check_events(text: str) -> None:
    """Bound depth and size on the flat stream of events, before the composer recurses."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Plain)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_LIMIT or count > NODES_LIMIT:
            message = f"line {event.start_mark.line + 1}: it nests deeper than {DEPTH_LIMIT} or is too large"
            raise Malformed(message, code="input-too-large")


def _check_expansion(root: yaml.Node) -> None:
    """Count what a document is once its anchors are written out; each node is looked at once."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack: list[tuple[yaml.Node, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        children = _children(node)
        if done:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
            if sizes[id(node)] > NODES_LIMIT // 4:
                raise Malformed("its anchors expand beyond the bound", code="input-too-large")
        elif id(node) not in sizes:
            if id(node) in open_nodes:
                raise Malformed("an anchor holds itself", code="malformed-yaml")
            open_nodes.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for child in children)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _said(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it is no YAML"
    advice = "; render templates first (helm template, kustomize build)" if "{" in str(problem) else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}{advice}" if mark else f"it is no YAML: {problem}"
