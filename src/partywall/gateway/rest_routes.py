"""Every route of the REST door, as data: what it asks of the wall and which fields it takes from where.

Pure: a route turns path, query and parsed body into a `Call`, or refuses with a CallerFault. A field comes from
exactly one place: what the path names may not stand in the body, and unknown fields and parameters are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call
from partywall.errors import Malformed, NotFound
from partywall.providers.operator import table
from partywall.wire import operations as ops
from partywall.wire.ids import is_id
from partywall.wire.operations import Operation

_builtins = msgspec.to_builtins


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, parsed but not judged. path: the values of the pattern's names; body: None without one."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: dict[str, Any] | None
    trace_id: str


class OperationRoute(msgspec.Struct, frozen=True):
    """An operator operation. fixed: fields that the path itself says."""

    method: Literal["GET", "POST", "PUT"]
    pattern: str
    operation: type[Operation]
    fixed: dict[str, Any] = {}

    @property
    def action(self) -> ActionType:
        """What it asks of the wall."""
        return table.RULES[self.operation].action

    @property
    def kind(self) -> str:
        """The resource kind it works on."""
        return table.RULES[self.operation].kind

    def call(self, asked: Asked) -> Call:
        """Return the call. Raises: Malformed."""
        refuse_unknown(asked.query, ())
        if self.method == "GET" and asked.body is not None:
            raise Malformed("this request takes no body", code="bad-request")
        given = asked.body or {}
        said = {"operation": _tag(self.operation), **self.fixed, **asked.path}
        for name in said:
            if name in given:
                raise Malformed(f"not a valid request: Object contains unknown field `{name}`", code="bad-request")
        for value in asked.path.values():
            if not is_id(value, value[:3]):
                raise Malformed("not an id in the path", code="malformed-id")
        operation = table.parse_operation(said | given)
        return Call(
            action=self.action,
            kind=self.kind,
            name=table.target_of(operation),
            payload=_builtins(operation),
            trace_id=asked.trace_id,
            parameters=table.parameters_of(operation),
        )


class MemoryRoute(msgspec.Struct, frozen=True):
    """One verb on the memory of the caller's own agent, or of `owner`, which the wall then judges."""

    method: Literal["GET", "PUT", "DELETE"]
    pattern: str
    verb: Literal["list", "get", "put", "delete"]
    action: ActionType = ActionType.MEMORY
    kind: str = "memory"

    def call(self, asked: Asked) -> Call:
        """Return the call. Raises: Malformed."""
        refuse_unknown(asked.query, ("owner",))
        payload: dict[str, Any] = {"operation": self.verb, **asked.path}
        if self.verb == "put":
            if asked.body is None or not {"value"} <= set(asked.body) <= {"value", "classification"}:
                raise Malformed('the body is {"value": …, "classification": 0 to 3}', code="bad-request")
            payload |= asked.body
        elif asked.body is not None:
            raise Malformed("this request takes no body", code="bad-request")
        return Call(
            action=self.action,
            kind=self.kind,
            name=asked.query.get("owner", "self"),
            payload=payload,
            trace_id=asked.trace_id,
            parameters={"operation": f"memory.{self.verb}", **asked.path},
        )


class AuditRoute(msgspec.Struct, frozen=True):
    """A read of the caller's own log. paged: whether `start` and `limit` mean something."""

    method: Literal["GET"]
    pattern: str
    mode: str
    paged: bool = True
    action: ActionType = ActionType.AUDIT_READ
    kind: str = "audit"

    def call(self, asked: Asked) -> Call:
        """Return the call. Raises: Malformed."""
        refuse_unknown(asked.query, ("start", "limit") if self.paged else ())
        if asked.body is not None:
            raise Malformed("this request takes no body", code="bad-request")
        query: dict[str, Any] = {"mode": self.mode}
        query |= {name: _number(name, text) for name, text in asked.query.items()}
        return Call(
            action=self.action, kind=self.kind, name="*", payload=query, trace_id=asked.trace_id, parameters=dict(query)
        )


Route = OperationRoute | MemoryRoute | AuditRoute


def refuse_unknown(query: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Raises: Malformed when the query has a parameter that the route does not know."""
    if any(name not in known for name in query):
        raise Malformed("an unknown query parameter", code="unknown-parameter")


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Malformed(f"{name} is a number", code="bad-request")
    return int(text)


def _tag(operation: type[Operation]) -> str:
    return str(operation.__struct_config__.tag)


OPERATIONS: Final = (
    OperationRoute("GET", "/v1/tenants", ops.TenantList),
    OperationRoute("POST", "/v1/tenants", ops.TenantCreate),
    OperationRoute("POST", "/v1/tenants/{tenant}/suspend", ops.TenantState, {"state": "suspended"}),
    OperationRoute("POST", "/v1/tenants/{tenant}/resume", ops.TenantState, {"state": "active"}),
    OperationRoute("POST", "/v1/tenants/{tenant}/admins", ops.AdminCreate),
    OperationRoute("POST", "/v1/tenants/{tenant}/models", ops.ModelCreate),
    OperationRoute("GET", "/v1/subjects", ops.SubjectList),
    OperationRoute("POST", "/v1/subjects", ops.SubjectCreate),
    OperationRoute("POST", "/v1/subjects/{subject}/suspend", ops.SubjectState, {"state": "suspended"}),
    OperationRoute("POST", "/v1/subjects/{subject}/resume", ops.SubjectState, {"state": "active"}),
    OperationRoute("PUT", "/v1/subjects/{subject}/grants", ops.GrantsSet),
    OperationRoute("GET", "/v1/keys", ops.KeyList),
    OperationRoute("POST", "/v1/keys", ops.KeyCreate),
    OperationRoute("POST", "/v1/operator-keys", ops.OperatorKeyCreate),
    OperationRoute("POST", "/v1/tokens", ops.TokenCreate),
    OperationRoute("POST", "/v1/revocations", ops.Revoke),
    OperationRoute("GET", "/v1/policy", ops.PolicyShow),
    OperationRoute("PUT", "/v1/policy", ops.PolicyActivate),
    OperationRoute("POST", "/v1/policy/rollback", ops.PolicyRollback),
    OperationRoute("GET", "/v1/servers", ops.ServerList),
    OperationRoute("POST", "/v1/servers", ops.ServerRegister),
)
AUDIT: Final = (
    AuditRoute("GET", "/v1/audit/leaves", "show"),
    AuditRoute("GET", "/v1/audit/export", "export"),
    AuditRoute("GET", "/v1/audit/checkpoint", "checkpoint", paged=False),
)
MEMORY: Final = (
    MemoryRoute("GET", "/v1/memory", "list"),
    MemoryRoute("GET", "/v1/memory/{key}", "get"),
    MemoryRoute("PUT", "/v1/memory/{key}", "put"),
    MemoryRoute("DELETE", "/v1/memory/{key}", "delete"),
)
ROUTES: Final[tuple[Route, ...]] = (*OPERATIONS, *AUDIT, *MEMORY)


class Router:
    """Finds the route of a method and a path. A pattern's `{name}` is one segment, never empty."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._patterns: dict[tuple[str | None, ...], dict[str, Route]] = {}
        for route in routes:
            shape = tuple(None if part.startswith("{") else part for part in route.pattern.split("/"))
            self._patterns.setdefault(shape, {})[route.method] = route

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
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
