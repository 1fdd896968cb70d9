"""The tool provider: MCP tool servers of one cell at a time, called with exactly the bytes that were permitted.

Listing answers from the approved facts and the caller's grants, never from what a server says now. Calls validate their
arguments against the approved schema, go only to the registered address, carry nothing of the caller's request but
those arguments, and come back rebuilt and untrusted. Source: docs/adr/0009-mcp.md, attacks.md MCP-1 to MCP-7.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from partywall.decision.action import ActionType, Resource
from partywall.decision.facts import ServerFacts, TenantFacts, ToolFacts
from partywall.decision.labels import Label, Trust
from partywall.decision.manifest import canonical_json
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call, Clock, Directory, Effect, Located, Prepared, Road
from partywall.errors import Bug, CallerFault, NotFound, ProviderTimeout
from partywall.providers.tools.carried import NOT_HERE, Carried, carried
from partywall.providers.tools.drift import Manifest, of_prompts, of_tools
from partywall.providers.tools.exchange import Exchange, OnProgress
from partywall.providers.tools.listing import granted_tools
from partywall.providers.tools.offers import kind_of, prompt_entry, resource_entry
from partywall.providers.tools.progress import render_event, told
from partywall.providers.tools.reply import rebuild_reply
from partywall.providers.tools.result import rebuild
from partywall.providers.tools.upstream import Upstream
from partywall.reach import Reach

SERVERS_LIMIT: Final = 1_024
TOOLS: Final = "tools"
_decode = msgspec.json.decode


class _Link(msgspec.Struct):
    """What this worker knows of one server at one address. manifests: of what carries instructions to a model."""

    url: str
    upstream: Upstream
    manifests: dict[str, Manifest]


class ToolProvider:
    """Kind `tool`. Resource ids: `<server id>` to list, `<server id>/<tool>` to call.

    directory: the facts that `perform` reads again, for the permit's tenant only. timeout_s: of one upstream call.
    reply_limit_bytes: of one upstream reply. reach: the addresses that servers may have; public ones without.
    """

    kind = "tool"
    actions = frozenset({ActionType.TOOL_CALL, ActionType.TOOL_LIST})

    def __init__(
        self,
        directory: Directory,
        *,
        clock: Clock,
        timeout_s: float = 60.0,
        reply_limit_bytes: int = 4_194_304,
        reach: Reach | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._timeout_s = timeout_s
        self._exchange = Exchange(limit_bytes=reply_limit_bytes, reach=reach or Reach())
        self._links: OrderedDict[str, _Link] = OrderedDict()

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return the tool or server in this cell and the request body that would be sent.

        call.name: `<server slug or id>` to list, `<server slug or id>/<what>` to call (`carried.py`). call.payload: the
        arguments; to list, `of` what.
        Raises: NotFound; Malformed (`invalid-arguments`).
        """
        named, _, rest = call.name.partition("/")
        server = _server(facts, named)
        if call.action is ActionType.TOOL_LIST:
            member = _listed(call.payload)
            listed = {"list": server.id} | ({} if member == TOOLS else {"of": member})
            return Prepared(resource=_resource(facts, server.id), payload=canonical_json(listed), note=member)
        asked = carried(server, rest)
        resource = _resource(facts, f"{server.id}/{asked.tool.name}")
        try:
            body = asked.body(call.payload, progress=call.stream)
        except CallerFault as fault:
            fault.about = resource
            raise
        told = call.stream and asked.method == "tools/call"
        return Prepared(resource=resource, payload=body, note=msgspec.structs.replace(asked, told=told))

    def locate(self, action: ActionType, name: str, facts: TenantFacts) -> Located:
        """Return the tool or, to list, the server of this cell. Raises: NotFound."""
        server, tool = _named(facts, action, name)
        return Located(_resource(facts, server.id if tool is None else f"{server.id}/{tool.name}"))

    def names(self, action: ActionType, facts: TenantFacts) -> list[str]:
        """Return `<server>/<tool>` of every tool of this cell; to list, every server."""
        servers = sorted(facts.servers.values(), key=lambda server: server.slug)
        if action is ActionType.TOOL_LIST:
            return [server.slug for server in servers]
        return [f"{server.slug}/{tool}" for server in servers for tool in sorted(server.tools)]

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """List granted tools, or send payload to the registered server. Raises: ProviderFault; NotFound."""
        action = permit.claims.action.type
        if action not in self.actions:
            raise Bug("a permit of another provider", private=permit.claims.id)
        claims = permit.redeem(action, payload, self._clock())
        server, tool = self._find(claims)
        if isinstance(permit.note, str):
            return self._list(claims, server, permit.note)
        if tool is None or not isinstance(permit.note, Carried) or kind_of(tool) != kind_of(permit.note.tool):
            raise NotFound(NOT_HERE)
        return await self._call(claims, server, tool, permit.note, payload)

    async def close(self) -> None:
        """End upstream sessions and connections."""
        for link in self._links.values():
            await link.upstream.close()
        self._links.clear()
        await self._exchange.close()

    def _list(self, claims: PermitClaims, server: ServerFacts, member: str) -> Effect:
        facts = self._facts(claims)
        kind, entry = _LISTS[member]
        granted = granted_tools(claims.principal, facts, server, now_s=self._clock())
        return Effect(body=canonical_json({member: [entry(tool) for tool in granted if kind_of(tool) == kind]}))

    async def _call(
        self, claims: PermitClaims, server: ServerFacts, tool: ToolFacts, asked: Carried, payload: bytes
    ) -> Effect:
        link = self._link(server, claims.tenant)
        timeout_s = min(self._timeout_s, claims.expires_at_s - self._clock())
        if timeout_s <= 0:
            raise ProviderTimeout("there was no time left to call the tool")
        if (manifest := link.manifests.get(kind_of(tool) or "")) is not None:
            await manifest.check(tool, timeout_s=timeout_s)
        effect = Effect(
            body=b"", label=Label(tenant=claims.tenant, classification=server.classification, trust=Trust.UNTRUSTED)
        )

        async def call(on_progress: OnProgress | None = None) -> dict[str, Any]:
            response = await link.upstream.call(
                payload,
                asked.method,
                asked.header,
                owner=_owner(claims),
                timeout_s=timeout_s,
                on_progress=on_progress,
            )
            if asked.method != "tools/call":
                return rebuild_reply(asked.method, response)
            result, failed = rebuild(response, tool.output_schema)
            effect.error = "tool-error" if failed else None
            return result

        if asked.told:
            effect.body, effect.render = told(call), render_event
        else:
            effect.body = canonical_json(await call())
        return effect

    def _facts(self, claims: PermitClaims) -> TenantFacts:
        facts = self._directory.tenant(claims.tenant)
        if facts is None:
            raise NotFound(NOT_HERE)
        return facts

    def _find(self, claims: PermitClaims) -> tuple[ServerFacts, ToolFacts | None]:
        """Return what the permit names, as the facts have it now: it may have been approved anew, or removed."""
        server_id, _, tool_name = claims.action.resource.id.partition("/")
        server = self._facts(claims).servers.get(server_id)
        if server is None:
            raise NotFound(NOT_HERE)
        return server, server.tools.get(tool_name)

    def _link(self, server: ServerFacts, tenant: str) -> _Link:
        link = self._links.get(server.id)
        if link is None or link.url != server.url:
            upstream = Upstream(server.url, self._exchange, tenant)
            manifests = {"tool": of_tools(upstream, self._clock), "prompt": of_prompts(upstream, self._clock)}
            link = _Link(server.url, upstream, manifests)
            self._links[server.id] = link
            if len(self._links) > SERVERS_LIMIT:
                self._links.popitem(last=False)
        self._links.move_to_end(server.id)
        return link


def _named(facts: TenantFacts, action: ActionType, name: str) -> tuple[ServerFacts, ToolFacts | None]:
    """Return the server, to list, or the server and the approved entry, to call. Raises: NotFound."""
    named, _, rest = name.partition("/")
    server = _server(facts, named)
    if action is ActionType.TOOL_LIST:
        return server, None
    return server, server.tools.get(rest) or carried(server, rest).tool


def _listed(payload: Any) -> str:
    """Return the member of the list that is asked for."""
    member = payload.get("of", TOOLS) if isinstance(payload, dict) else TOOLS
    return member if member in _LISTS else TOOLS


def _server(facts: TenantFacts, named: str) -> ServerFacts:
    server = facts.servers.get(named)
    if server is not None:
        return server
    for candidate in facts.servers.values():
        if candidate.slug == named:
            return candidate
    raise NotFound(NOT_HERE)


def _resource(facts: TenantFacts, name: str) -> Resource:
    return Resource(region=facts.region, tenant=facts.id, kind="tool", id=name)


def _owner(claims: PermitClaims) -> str:
    """Whose upstream session a call may use: one agent, for one user, in one session of its own."""
    principal = claims.principal
    return "/".join((principal.id, principal.on_behalf_of or "", principal.session or ""))


def _entry(tool: ToolFacts) -> dict[str, Any]:
    """Return a tool as `tools/list` gives it, from what was approved."""
    entry: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": json.loads(tool.schema),
    }
    if tool.output_schema is not None:
        entry["outputSchema"] = json.loads(tool.output_schema)
    if annotations := json.loads(tool.annotations):
        entry["annotations"] = annotations
    return entry


_LISTS: Final[dict[str, tuple[str, Callable[[ToolFacts], dict[str, Any]]]]] = {
    TOOLS: ("tool", _entry),
    "prompts": ("prompt", prompt_entry),
    "resources": ("resource", resource_entry),
    "resourceTemplates": ("template", resource_entry),
}
"""What can be listed of a server: the member of the result, the kind of approved entry, and how it is shown."""
