"""The tenants, made through the public API only: an admin, a model, and an agent granted what its tasks need."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import Any, Final

import mcp_types
from mcp import Client

from demo import suites
from demo.desk import DeskProcess
from demo.report import Wrong
from demo.workload import Workload
from partywall.assurance.wire import Answer, Wire

SERVER: Final = {"workspace": "office", "banking": "bank", "travel": "agency", "slack": "chatroom"}
SAFE_TOOL: Final = {
    "workspace": "get_unread_emails",
    "banking": "get_balance",
    "travel": "get_user_information",
    "slack": "get_channels",
}
"""Of each suite, a tool without arguments that changes nothing: what a neighbour would call first."""
LOCAL_MODEL: Final = "smollm2"
DRAFT: Final = "package tenant\n"


class Tenant:
    """One suite's tenant. made: how many actions of each type its agent asked for, to compare with its ledger.

    canary: a secret that its agent keeps in memory, which no other tenant may ever see.
    """

    def __init__(self, wire: Wire, operator: str, suite: str) -> None:
        self.wire = wire
        self.suite = suite
        self.slug = suite
        self.server_slug = SERVER[suite]
        self.safe_tool = SAFE_TOOL[suite]
        self.model_slug = f"{suite}-{LOCAL_MODEL}"
        self.canary = f"CANARY-{suite}-{secrets.token_hex(12)}"
        self.made: Counter[str] = Counter()
        self.collection_slug, self.embedder_slug = f"{suite}-library", f"{suite}-minilm"
        self.server = self.server_url = self.model = self.agent = self.key = self.collection = self.embedder = ""
        self.workload = Workload(suite)
        self.names: dict[str, str] = {}
        self.id = str(must(wire.send("POST", "/v1/tenants", credential=operator, body={"slug": self.slug}))["id"])
        made = must(wire.send("POST", f"/v1/tenants/{self.id}/admins", credential=operator, body={"slug": "root"}))
        self.admin = str(made["key"]["secret"])

    def give_model(self, operator: str, upstream: str, upstream_model: str) -> None:
        """Register a model, which only the operator may."""
        body = {"slug": self.model_slug, "upstream": upstream, "upstream_model": upstream_model}
        path = f"/v1/tenants/{self.id}/models"
        self.model = str(must(self.wire.send("POST", path, credential=operator, body=body))["id"])

    async def register(self, desk: DeskProcess) -> int:
        """Approve every tool that the suite's server lists now; return how many."""
        async with Client(desk.url) as client:
            listed = (await client.list_tools()).tools
        body = {"slug": self.server_slug, "url": desk.url, "tools": [_spec(tool) for tool in listed]}
        self.server_url = desk.url
        self.server = str(self.api("POST", "/v1/servers", body)["id"])
        return len(listed)

    def hire(self) -> list[str]:
        """Make the agent `assistant`, granted what its tasks call, the model and its memory; return the tools."""
        tools = suites.tools_needed(self.suite)
        grants = [{"action": "tool.call", "resource": f"tool/{self.server_slug}/{tool}"} for tool in tools]
        if self.model:
            grants.append({"action": "model.request", "resource": f"model/{self.model_slug}"})
        body = {"kind": "agent", "slug": "assistant", "clearance": 2, "grants": grants}
        self.agent = str(self.api("POST", "/v1/subjects", body)["id"])
        grants += [
            {"action": "memory", "resource": f"memory/{self.agent}"},
            {"action": "decision.evaluate", "resource": "decision/*"},
            {"action": "decision.search", "resource": "decision/*"},
        ]
        self.api("PUT", f"/v1/subjects/{self.agent}/grants", {"grants": grants})
        self.key = self.new_key()
        must(self.ask("PUT", "/v1/memory/secret", {"value": self.canary}))
        self.made["memory"] += 1
        self.names |= {"tenant": self.id, "subject": self.agent, "key": key_id(self.key), "server": self.server}
        self.names |= {"model": self.model} if self.model else {}
        self._administer()
        return tools

    def _administer(self) -> None:
        """Leave one of everything that an admin may make, for neighbours to reach for."""
        draft = self.api("POST", "/v1/policies", {"slug": "next", "module": DRAFT})
        provider = {"slug": "mesh", "kind": "spiffe", "issuer": self.workload.issuer, "jwks": self.workload.bundle}
        idp = self.api("POST", "/v1/identity-providers", provider)
        bound = {"idp": idp["id"], "subject": self.agent, "match_subject": self.workload.name}
        binding = self.api("POST", "/v1/identity-bindings", bound)
        self.names |= {"policy": draft["id"], "idp": idp["id"], "binding": binding["id"]}

    @property
    def audience(self) -> str:
        """What a token for this tenant names."""
        return f"pw:local:{self.id}"

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What no neighbour may ever read: the canary, the ids, the credentials."""
        return tuple(text.encode() for text in (self.canary, self.id, self.agent, self.admin, self.key))

    def new_key(self, **more: Any) -> str:
        """Return a new API key of the agent."""
        return str(self.api("POST", "/v1/keys", {"subject": self.agent, **more})["secret"])

    def new_token(self, **more: Any) -> str:
        """Return a new access token of the agent."""
        return str(self.api("POST", "/v1/tokens", {"subject": self.agent, **more})["access_token"])

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Do something as the tenant's admin. Raises: Wrong."""
        return must(self.wire.send(method, path, credential=self.admin, body=body))

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Ask something as the tenant's agent."""
        return self.wire.send(method, path, credential=self.key, body=body)


def must(answer: Answer) -> Any:
    """Return the parsed body of a success. Raises: Wrong."""
    if not 200 <= answer.status < 300:
        raise Wrong(f"the API answered {answer.brief()}: {answer.body[:300].decode(errors='replace')}")
    return answer.json()


def key_id(key: str) -> str:
    """Return the public id of an API key."""
    return f"key_{key.split('_')[1]}"


def _spec(tool: mcp_types.Tool) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name, "description": tool.description or "", "input_schema": tool.input_schema}
    if tool.output_schema is not None:
        spec["output_schema"] = tool.output_schema
    return spec
