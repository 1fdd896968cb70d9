"""Which JSON Schemas a tool may have: bounded, compiled once to see that they hold, and never reaching outside.

A remote reference would make the wall fetch what a tool's author chose. Source: components.md "tool schemas".
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

import jsonschema_rs

from partywall.decision.manifest import canonical_json
from partywall.errors import Malformed

SCHEMA_LIMIT_BYTES: Final = 65_536
DEPTH_LIMIT: Final = 32
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_DRAFTS: Final = frozenset(
    {
        "http://json-schema.org/draft-07/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    }
)


def check_schema(schema: dict[str, Any], where: str) -> str:
    """Return the schema's canonical JSON. where: names it in the refusal. Raises: Malformed."""
    try:
        _walk(schema, 0)
        text = canonical_json(schema)
        if len(text) > SCHEMA_LIMIT_BYTES:
            raise Malformed(f"over {SCHEMA_LIMIT_BYTES} bytes")
        if schema.get("type") != "object":
            raise Malformed('its "type" is not "object"')
        jsonschema_rs.validator_for(
            schema, retriever=_refuse, validate_formats=False, pattern_options=jsonschema_rs.RegexOptions()
        )
    except Malformed as error:
        raise Malformed(f"{where}: {error.public}", code="bad-schema") from error
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{where}: not a valid JSON Schema", code="bad-schema") from error
    return text.decode()


def _walk(value: Any, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        raise Malformed(f"nested deeper than {DEPTH_LIMIT}")
    if isinstance(value, list):
        for item in value:
            _walk(item, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_reference(name, item)
            _walk(item, depth + 1)
    elif isinstance(value, str) and "\x00" in value:
        raise Malformed("a string holds a null character")


def _check_reference(name: str, item: Any) -> None:
    if "\x00" in name:
        raise Malformed("a name holds a null character")
    if not isinstance(item, str):
        return
    if name in _REFERENCES and not item.startswith("#"):
        raise Malformed(f"{name} reaches outside the schema")
    if name == "$schema" and item.removesuffix("#") not in _DRAFTS:
        raise Malformed("$schema is no draft that we know")


def _refuse(_uri: str) -> NoReturn:
    raise ValueError("schemas are never fetched")
