"""Routes of operator operations: each takes every field of one struct of `wire/operations.py` from one place."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final, Literal, get_type_hints

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call
from partywall.errors import Malformed
from partywall.gateway.routes.document import Doc
from partywall.gateway.routes.request import Asked, number, refuse_body, refuse_unknown
from partywall.providers.operator import table
from partywall.wire.operations import Operation

_builtins = msgspec.to_builtins
_NUMBERS = frozenset({"limit"})
PAGE: Final = ("limit", "cursor")
"""The query parameters of a list."""


class OperationRoute(msgspec.Struct, frozen=True):
    """An operator operation. fixed: fields that the path itself says. query: fields that are query parameters."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    pattern: str
    operation: type[Operation]
    doc: Doc
    fixed: dict[str, Any] = {}
    query: tuple[str, ...] = ()

    @property
    def action(self) -> ActionType:
        """What it asks of the wall."""
        return table.RULES[self.operation].action

    @property
    def kind(self) -> str:
        """The resource kind it works on."""
        return table.RULES[self.operation].kind

    @property
    def idempotent(self) -> bool:
        """Whether it takes an Idempotency-Key: it is no read, and no DELETE, which does no more the second time."""
        return self.method in {"POST", "PUT", "PATCH"} and "conditions" in self.operation.__struct_fields__

    @property
    def path_types(self) -> Mapping[str, Any]:
        """The types of the path's names: those of the operation's fields."""
        hints = types_of(self.operation)
        return {part[1:-1]: hints[part[1:-1]] for part in self.pattern.split("/") if part.startswith("{")}

    def call(self, asked: Asked) -> Call:
        """Return the call. Raises: Malformed."""
        refuse_unknown(asked.query, self.query)
        if self.method in {"GET", "DELETE"}:
            refuse_body(asked)
        given = asked.body or {}
        said = {"operation": _tag(self.operation), **self.fixed, **asked.path, **_conditions(asked)}
        said |= {name: number(name, text) if name in _NUMBERS else text for name, text in asked.query.items()}
        for name in (*said, *self.query, "conditions"):
            if name in given:
                raise Malformed(f"not a valid request: Object contains unknown field `{name}`", code="bad-request")
        self._check_path(asked.path)
        operation = table.parse_operation(said | given)
        return Call(
            action=self.action,
            kind=self.kind,
            name=table.target_of(operation),
            payload=_builtins(operation),
            trace_id=asked.trace_id,
            parameters=table.parameters_of(operation),
        )

    def _check_path(self, path: Mapping[str, str]) -> None:
        hints = types_of(self.operation)
        for name, value in path.items():
            try:
                msgspec.convert(value, hints[name])
            except msgspec.ValidationError as error:
                raise Malformed("not an id in the path", code="malformed-id") from error


@functools.cache
def types_of(operation: type[Operation]) -> Mapping[str, Any]:
    """Return the types of an operation's fields, with their bounds."""
    return get_type_hints(operation, include_extras=True)


def _conditions(asked: Asked) -> dict[str, Any]:
    return {} if asked.conditions is None else {"conditions": _builtins(asked.conditions)}


def _tag(operation: type[Operation]) -> str:
    return str(operation.__struct_config__.tag)
