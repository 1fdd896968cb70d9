"""The OpenAPI 3.1 document of every door, made of the routes as data and the structs that parse and answer.

Pure, and the same for everybody: nothing of any tenant is in it. Source: OpenAPI 3.1.1, RFC 9457.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from partywall.gateway.http_errors import TITLES
from partywall.gateway.routes.document import Documented, Link
from partywall.gateway.routes.operation import OperationRoute, types_of
from partywall.version import __version__
from partywall.wire import replies
from partywall.wire.conditions import IdempotencyKey

REF: Final = "#/components/schemas/{name}"
PROBLEM: Final = "application/problem+json"
JSON: Final = "application/json"
_DESCRIPTION: Final = """\
A wall between the tenants of an AI-agent platform. Whose data it is follows from the credential, and from nothing else;
another tenant's id is an id that does not exist. Lists take `limit` and `cursor`. `ETag` and `If-Match` keep a change
from undoing another's; `Idempotency-Key` makes a change happen once, within 24 hours."""

_ALWAYS: Final = {
    400: ("bad-request", "malformed"),
    429: ("limit-exceeded", "tenant-too-busy"),
    431: ("headers-too-large",),
    503: ("unavailable", "too-busy"),
}
_WITH_CREDENTIAL: Final = {
    401: ("unauthenticated",),
    403: ("denied-…",),
    404: ("not-found",),
    502: ("bad-reply",),
    504: ("provider-timeout",),
}
_WITH_BODY: Final = {408: ("request-timeout",), 413: ("body-too-large",), 415: ("unsupported-media-type",)}
_CONDITIONAL: Final = {412: ("precondition-failed",)}
_IDEMPOTENT: Final = {409: ("conflict",), 422: ("idempotency-key-reused",)}
_SHARED: Final = _ALWAYS | _WITH_CREDENTIAL | _WITH_BODY | _CONDITIONAL
_HEADERS: Final = {
    "If-Match": "Entity tags, one of which the resource must have now; else 412, and nothing is changed.",
    "If-None-Match": "Entity tags that you have already; the reply is 304 when it is one of them.",
    "Idempotency-Key": "The same key with the same request within 24 hours happens once and is answered alike.",
}
_TAG: Final = {"type": "string", "pattern": r'^"[!#-~]{0,128}"$'}


def document(routes: Iterable[Documented]) -> dict[str, Any]:
    """Return the document of these routes, ordered by path."""
    known = sorted(routes, key=lambda route: (route.pattern, route.method))
    schemas = _Schemas(known)
    paths: dict[str, dict[str, Any]] = {}
    for route in known:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Partywall",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in sorted({route.doc.tag for route in known})],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": {
                _name(status): _problem(status, said, {PROBLEM: {"schema": schemas.of(replies.Problem)}})
                for status, said in sorted(_SHARED.items())
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`pw_…`) or an access token, on every door alike.",
                }
            },
        },
    }


class _Schemas:
    """The schemas of every struct that a route names, each once."""

    def __init__(self, routes: Iterable[Documented]) -> None:
        types: list[Any] = [replies.Problem, replies.OpenAiProblem]
        for route in routes:
            types += [type_ for type_ in (route.doc.reply, route.doc.request) if type_ is not None]
            types += route.doc.faults.values()
            types += [*route.doc.query.values(), *route.path_types.values()]
            if isinstance(route, OperationRoute):
                types.append(route.operation)
        self._types = list({_key(type_): type_ for type_ in types}.values())
        found, components = msgspec.json.schema_components(self._types, ref_template=REF)
        self._found: dict[str, dict[str, Any]] = {
            _key(type_): _portable(schema) for type_, schema in zip(self._types, found, strict=True)
        }
        used = {route.operation.__name__ for route in routes if isinstance(route, OperationRoute)}
        self._bodies: dict[str, dict[str, Any]] = {name: _portable(components[name]) for name in used}
        self.components = {name: _portable(schema) for name, schema in sorted(components.items()) if name not in used}

    def of(self, type_: Any) -> dict[str, Any]:
        """Return the schema of a type that a route names."""
        return self._found[_key(type_)]

    def operation(self, route: OperationRoute) -> dict[str, Any]:
        """Return the whole schema of a route's operation, its parts in path, query and body together."""
        return self._bodies[route.operation.__name__]


def _key(type_: Any) -> str:
    return repr(type_)


def _portable(schema: Any) -> Any:
    r"""Return a schema whose patterns end as everybody's do: `$` and not Python's `\Z`."""
    if isinstance(schema, dict):
        return {name: _portable(value) for name, value in schema.items()}
    if isinstance(schema, list):
        return [_portable(value) for value in schema]
    return schema.replace(r"\Z", "$") if isinstance(schema, str) else schema


def _operation(route: Documented, schemas: _Schemas) -> dict[str, Any]:
    doc = route.doc
    body = _body(route, schemas)
    described: dict[str, Any] = {
        "operationId": operation_id(route.method, route.pattern),
        "summary": doc.summary,
        "tags": [doc.tag],
        "x-callers": [kind.value for kind in doc.who],
        "parameters": [*_path(route, schemas), *_query(route, schemas), *_conditions(route)],
        "responses": _successes(route, schemas) | _problems(route, schemas, with_body=body is not None),
    }
    if not doc.who:
        described["security"] = []
    if body is not None:
        described["requestBody"] = body
    return described


def operation_id(method: str, pattern: str) -> str:
    """Return the stable id of a route, such as `get_v1_tenants_tenant`."""
    words = pattern.replace("{", "").replace("}", "").replace(".", "").replace("-", "_").strip("/").split("/")
    return "_".join([method.lower(), *words])


# --- what is asked ----------------------------------------------------------------------------------------------------


def _path(route: Documented, schemas: _Schemas) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in route.pattern.split("/") if part.startswith("{")]
    types = route.path_types
    text = {"type": "string", "minLength": 1, "pattern": "^[A-Za-z0-9_.-]+$"}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _some(schemas.of(types[name])) if name in types else text,
        }
        for name in names
    ]


def _query(route: Documented, schemas: _Schemas) -> list[dict[str, Any]]:
    if isinstance(route, OperationRoute):
        whole = schemas.operation(route)
        return [_parameter(name, whole["properties"][name], required=name in whole["required"]) for name in route.query]
    return [_parameter(name, schemas.of(type_), required=False) for name, type_ in route.doc.query.items()]


def _parameter(name: str, schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": _some(schema)}


def _some(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A parameter is there or not: it is never null."""
    some = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    return some[0] if len(some) == 1 else {name: value for name, value in schema.items() if value is not None}


def _conditions(route: Documented) -> list[dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = {}
    if route.doc.conditional:
        schemas["If-Match"] = _TAG
    if route.doc.etag and route.method == "GET":
        schemas["If-None-Match"] = _TAG
    if takes_key(route):
        schemas["Idempotency-Key"] = _portable(msgspec.json.schema(IdempotencyKey))
    return [
        {"name": name, "in": "header", "required": False, "description": _HEADERS[name], "schema": schema}
        for name, schema in schemas.items()
    ]


def takes_key(route: Documented) -> bool:
    """Tell whether a route takes an Idempotency-Key."""
    return route.idempotent if isinstance(route, OperationRoute) else route.doc.idempotent


def _body(route: Documented, schemas: _Schemas) -> dict[str, Any] | None:
    if isinstance(route, OperationRoute):
        schema = _rest_of(route, schemas.operation(route))
    else:
        schema = None if route.doc.request is None else schemas.of(route.doc.request)
    if schema is None:
        return None
    content: dict[str, Any] = {"schema": schema}
    if route.doc.example is not None:
        content["example"] = route.doc.example
    return {"required": True, "content": {route.doc.request_media_type: content}}


def _rest_of(route: OperationRoute, whole: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what of an operation is left for the body; None when that is nothing."""
    elsewhere = {"operation", "conditions", *route.fixed, *route.query, *types_of_path(route)}
    properties = {name: schema for name, schema in whole["properties"].items() if name not in elsewhere}
    if not properties or route.method in {"GET", "DELETE"}:
        return None
    required = [name for name in whole["required"] if name in properties]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def types_of_path(route: OperationRoute) -> set[str]:
    """Return the fields that a route's path says."""
    return {part[1:-1] for part in route.pattern.split("/") if part.startswith("{")} & set(types_of(route.operation))


# --- what is answered -------------------------------------------------------------------------------------------------


def _successes(route: Documented, schemas: _Schemas) -> dict[str, Any]:
    doc = route.doc
    headers = {name: _header(text) for name, text in doc.headers.items()}
    if doc.etag:
        headers["ETag"] = {"description": "The entity tag of this state.", "schema": _TAG, "required": True}
    if takes_key(route):
        headers["Idempotency-Replayed"] = _header("`true`: an earlier request of this key did it.")
    answer: dict[str, Any] = {"description": doc.summary}
    if doc.reply is not None:
        answer["content"] = {doc.media_type: {"schema": schemas.of(doc.reply)}}
        if doc.event_stream:
            answer["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    if headers:
        answer["headers"] = headers
    if doc.links:
        answer["links"] = {_link_name(link): _link(link) for link in doc.links}
    answers = {"200": answer}
    if doc.etag and route.method == "GET":
        answers["304"] = {"description": "You have it already.", "headers": {"ETag": headers["ETag"]}}
    return answers | {str(status): {"description": text} for status, text in doc.also.items()}


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "required": False, "schema": {"type": "string"}}


def _link_name(link: Link) -> str:
    return operation_id(*link.to.split(" ", 1))


def _link(link: Link) -> dict[str, Any]:
    linked: dict[str, Any] = {
        "operationId": _link_name(link),
        "parameters": {f"path.{name}": _expression(value) for name, value in link.path.items()},
    }
    if link.body:
        linked["requestBody"] = {name: _expression(value) for name, value in link.body.items()}
    return linked


def _expression(value: str) -> str:
    return f"$response.body#{value}" if value.startswith("/") else f"${value}"


def _problems(route: Documented, schemas: _Schemas, *, with_body: bool) -> dict[str, Any]:
    doc = route.doc
    codes: dict[int, tuple[str, ...]] = dict(_ALWAYS)
    for applies, more in (
        (bool(doc.who), _WITH_CREDENTIAL),
        (not doc.who, {401: ("unauthenticated",)}),
        (with_body or route.method not in {"GET", "DELETE"}, _WITH_BODY),
        (doc.conditional, _CONDITIONAL),
        (takes_key(route), _IDEMPOTENT),
        (True, doc.errors),
    ):
        if applies:
            codes |= {status: (*codes.get(status, ()), *said) for status, said in more.items()}
    forms = {PROBLEM: replies.Problem, **doc.faults}
    if doc.openai:
        forms[JSON] = replies.OpenAiProblem
    content = {media_type: {"schema": schemas.of(form)} for media_type, form in forms.items()}
    return {
        str(status): {"$ref": f"#/components/responses/{_name(status)}"}
        if len(forms) == 1 and set(said) == set(_SHARED.get(status, ()))
        else _problem(status, said, content)
        for status, said in sorted(codes.items())
    }


def _name(status: int) -> str:
    return f"Problem{status}"


def _problem(status: int, said: Iterable[str], content: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": f"{TITLES.get(status, 'Error')}: {', '.join(dict.fromkeys(said))}", "content": content}
