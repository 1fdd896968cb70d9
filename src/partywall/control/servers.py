"""Tool servers of a tenant, with the manifest that its admin approved. Registering a slug again approves it anew.

Source: attacks.md MCP-3 and MCP-4.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import msgspec

from partywall.control.grants import end_grants
from partywall.control.models import RESOURCE_COUNT
from partywall.control.paging import paged, position_of
from partywall.control.work import RESOURCES_LIMIT, Reply, Work, new_id, not_found, require_room
from partywall.decision.manifest import canonical_json, manifest_digest, tool_digest
from partywall.errors import Malformed
from partywall.providers.tools.offers import offer_of
from partywall.providers.tools.schema import compile_schema
from partywall.wire.operations import ServerDelete, ServerList, ServerRegister, ServerShow, ToolSpec
from partywall.wire.strict_json import check_bounds

TOOLS_LIMIT: Final = 256
MANIFEST_LIMIT_CHARACTERS: Final = 1_048_576
ANNOTATIONS_LIMIT_CHARACTERS: Final = 4_096
SCHEMA_LIMIT_CHARACTERS: Final = 65_536
SCHEMA_DEPTH_LIMIT: Final = 32


class Entry(msgspec.Struct, frozen=True):
    """One approved tool as the table has it. schema, output_schema, annotations: canonical JSON."""

    name: str
    description: str
    schema: str
    output_schema: str | None
    annotations: str
    digest: str


def manifest_of(tools: list[ToolSpec]) -> list[Entry]:
    """Return the entries, by name. Pure. Raises: Malformed for a name given twice, or too much of it."""
    if len(tools) > TOOLS_LIMIT:
        raise Malformed(f"at most {TOOLS_LIMIT} tools a server", code="bad-manifest")
    entries = {tool.name: _entry(tool) for tool in tools}
    if len(entries) != len(tools):
        raise Malformed("two tools have the same name", code="bad-manifest")
    if (
        sum(len(entry.schema) + len(entry.output_schema or "") for entry in entries.values())
        > MANIFEST_LIMIT_CHARACTERS
    ):
        raise Malformed(f"the schemas together are over {MANIFEST_LIMIT_CHARACTERS} characters", code="bad-manifest")
    return [entries[name] for name in sorted(entries)]


def _entry(tool: ToolSpec) -> Entry:
    schema = canonical_json(tool.input_schema).decode()
    output = None if tool.output_schema is None else canonical_json(tool.output_schema).decode()
    annotations = canonical_json(tool.annotations).decode()
    if len(annotations) > ANNOTATIONS_LIMIT_CHARACTERS or "\x00" in tool.description:
        raise Malformed(f"{tool.name}: annotations or description are not acceptable", code="bad-manifest")
    offer_of(annotations)
    digest = tool_digest(tool.name, tool.description, tool.input_schema, tool.output_schema, tool.annotations)
    return Entry(tool.name, tool.description, schema, output, annotations, digest)


def check_schemas(tools: list[ToolSpec]) -> None:
    """Raises: Malformed for a schema that the tool provider could not use: not of an object, or reaching outside.

    Slow: compiles each of them, and keeps none.
    """
    manifest_of(tools)
    for tool in tools:
        for schema in filter(None, (tool.input_schema, tool.output_schema)):
            try:
                _check_schema(schema)
            except Malformed as error:
                raise Malformed(f"{tool.name}: {error.public}", code=error.code) from error
        if not tool.input_schema:
            raise Malformed(f'{tool.name}: the "type" of a tool\'s schema is "object"', code="bad-schema")


def _check_schema(schema: dict[str, Any]) -> None:
    check_bounds(schema, depth_limit=SCHEMA_DEPTH_LIMIT)
    text = canonical_json(schema).decode()
    if len(text) > SCHEMA_LIMIT_CHARACTERS:
        raise Malformed(f"the schema is over {SCHEMA_LIMIT_CHARACTERS} characters", code="bad-schema")
    if schema.get("type") != "object":
        raise Malformed('the "type" of a tool\'s schema is "object"', code="bad-schema")
    compile_schema.__wrapped__(text, strict=True)


async def register_server(work: Work, operation: ServerRegister) -> Reply:
    """Register a server, or approve its new address and manifest. Raises: Malformed, LimitExceeded."""
    entries = manifest_of(operation.tools)
    manifest = manifest_digest({entry.name: entry.digest for entry in entries})
    server = await _upsert(work, operation, manifest)
    await work.connection.execute("delete from control.tool where server = $1", server)
    await work.connection.executemany(
        """insert into control.tool (tenant, server, name, description, schema, output_schema, annotations, digest)
           values ($1, $2, $3, $4, $5, $6, $7, $8)""",
        [(work.tenant, server, *msgspec.structs.astuple(entry)) for entry in entries],
    )
    await work.touch(work.tenant)
    return _object(server, operation.slug, manifest, [entry.name for entry in entries])


async def _upsert(work: Work, operation: ServerRegister, manifest: str) -> str:
    server = await work.connection.fetchval(
        """update control.server set url = $3, manifest = $4, approved_at_s = $5
           where tenant = $1 and slug = $2 returning id""",
        work.tenant,
        operation.slug,
        operation.url,
        manifest,
        work.now_s,
    )
    if server is not None:
        return str(server)
    await require_room(work, RESOURCE_COUNT, work.tenant, RESOURCES_LIMIT, "models and servers a tenant")
    server = new_id("mcp")
    await work.connection.execute(
        """insert into control.server (id, tenant, slug, url, manifest, approved_at_s)
           values ($1, $2, $3, $4, $5, $6)""",
        server,
        work.tenant,
        operation.slug,
        operation.url,
        manifest,
        work.now_s,
    )
    return server


async def list_servers(work: Work, operation: ServerList) -> Reply:
    """Return a page of the tenant's servers with the names of their approved tools, by slug."""
    after = position_of(work, operation)
    rows = await work.connection.fetch(
        """select s.id, s.slug, s.manifest,
                  coalesce(array_agg(t.name order by t.name) filter (where t.name is not null), '{}') as tools
           from control.server s left join control.tool t on t.server = s.id
           where s.tenant = $1 and ($2::text is null or s.slug > $2) group by s.id order by s.slug limit $3""",
        work.tenant,
        after and after[0],
        operation.limit + 1,
    )
    page, following = paged(work, operation, rows, lambda row: (row["slug"],))
    servers = [_object(row["id"], row["slug"], row["manifest"], row["tools"]) for row in page]
    return {"servers": servers, "next_cursor": following}


async def show_server(work: Work, operation: ServerShow | ServerDelete) -> Reply:
    """Return a server with what was approved of each tool. Raises: NotFound."""
    row = await work.connection.fetchrow(
        """select id, slug, url, manifest, classification, approved_at_s from control.server
           where tenant = $1 and id = $2""",
        work.tenant,
        operation.server,
    )
    if row is None:
        raise not_found("server")
    tools = await work.connection.fetch(
        """select name, description, schema, output_schema, annotations, digest from control.tool
           where tenant = $1 and server = $2 order by name""",
        work.tenant,
        operation.server,
    )
    approved = [_approved(tool) for tool in tools]
    return dict(row) | {"tools": [tool["name"] for tool in tools], "approved": approved}


async def delete_server(work: Work, operation: ServerDelete) -> Reply:
    """Delete a server with its tools and every grant on them. Raises: NotFound."""
    await show_server(work, operation)
    await end_grants(work, work.tenant, f"tool/{operation.server}")
    for statement in (
        "delete from control.tool where tenant = $1 and server = $2",
        "delete from control.server where tenant = $1 and id = $2",
    ):
        await work.connection.execute(statement, work.tenant, operation.server)
    await work.touch(work.tenant)
    return {"deleted": operation.server}


def _approved(row: asyncpg.Record) -> Reply:
    tool = {
        "name": row["name"],
        "description": row["description"],
        "input_schema": msgspec.json.decode(row["schema"]),
        "annotations": msgspec.json.decode(row["annotations"]),
        "digest": row["digest"],
    }
    if row["output_schema"] is not None:
        tool["output_schema"] = msgspec.json.decode(row["output_schema"])
    return tool


def _object(server: str, slug: str, manifest: str, tools: list[str]) -> dict[str, Any]:
    return {"id": server, "slug": slug, "manifest": manifest, "tools": tools}
