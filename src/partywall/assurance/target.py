"""The deployment under attack: two throwaway tenants, each with agents, keys, a model, a tool server and a secret.

Everything is made through the public API with an operator's key, and suspended again at the end.
"""

from __future__ import annotations

import secrets
from typing import Any

from partywall.assurance.upstream import Upstream
from partywall.assurance.wire import Answer, Wire
from partywall.settings import Home, default_home


class SetupFailed(Exception):
    """The deployment did not let the probes set up their tenants."""


class NotHere(Exception):
    """The probe needs something that this deployment or this place does not offer; the text is the reason."""


class Side:
    """One throwaway tenant, seen by its own admin."""

    def __init__(self, wire: Wire, operator: str, upstream: Upstream, name: str) -> None:
        self.wire = wire
        self.slug = name
        self.upstream = upstream
        self.canary = f"CANARY-{name}-{secrets.token_hex(12)}"
        self.tenant = must(wire.send("POST", "/v1/tenants", credential=operator, body={"slug": name}))["id"]
        path = f"/v1/tenants/{self.tenant}"
        made = must(wire.send("POST", f"{path}/admins", credential=operator, body={"slug": "root"}))
        self.admin = secret_of(made["key"])
        model = {"slug": "probe-model", "upstream": upstream.url, "upstream_model": "probe"}
        self.model = must(wire.send("POST", f"{path}/models", credential=operator, body=model))["id"]
        self.server = self.register()
        grants = [
            {"action": "model.request", "resource": "model/probe-model"},
            {"action": "tool.call", "resource": "tool/probe-tools/echo"},
            {"action": "memory", "resource": "memory/self"},
        ]
        self.agent = self.subject("worker", grants)
        self.bystander = self.subject("bystander", [{"action": "memory", "resource": "memory/self"}])
        self.key = self.new_key(self.agent)
        self.bystander_key = self.new_key(self.bystander)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API as this tenant's admin. Raises: SetupFailed."""
        return must(self.wire.send(method, path, credential=self.admin, body=body))

    def register(self) -> str:
        """Register (or approve again) the tool server as it now is; return its id."""
        tools = [
            {"name": tool["name"], "description": tool["description"], "input_schema": tool["inputSchema"]}
            for tool in self.upstream.tools
        ]
        body = {"slug": "probe-tools", "url": f"{self.upstream.url}/mcp", "tools": tools}
        return str(self.api("POST", "/v1/servers", body)["id"])

    def subject(self, slug: str, grants: list[dict[str, Any]]) -> str:
        """Make an agent with these grants; return its id."""
        subject = self.api("POST", "/v1/subjects", {"kind": "agent", "slug": slug, "clearance": 2})
        for grant in grants:
            grant["resource"] = grant["resource"].replace("memory/self", f"memory/{subject['id']}")
        self.api("PUT", f"/v1/subjects/{subject['id']}/grants", {"grants": grants})
        return str(subject["id"])

    def new_key(self, subject: str, **extra: Any) -> str:
        """Return a new API key of a subject."""
        return secret_of(self.api("POST", "/v1/keys", {"subject": subject, **extra}))

    def new_token(self, subject: str, **extra: Any) -> str:
        """Return a new access token of a subject."""
        return str(self.api("POST", "/v1/tokens", {"subject": subject, **extra})["access_token"])

    # --- what an agent does -------------------------------------------------------------------------------------------

    def chat(self, credential: str, text: str, *, model: str = "probe-model", **extra: Any) -> Answer:
        """Ask a model."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **extra}
        return self.wire.send("POST", "/v1/chat/completions", credential=credential, body=body)

    def call_tool(
        self, credential: str, tool: str, arguments: Any, *, server: str = "probe-tools", **headers: str
    ) -> Answer:
        """Call a tool (MCP 2025-11-25, no session)."""
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        sent = {"mcp-protocol-version": "2025-11-25"} | headers
        answer = self.wire.send("POST", f"/mcp/{server}", credential=credential, body=body, headers=sent)
        if server == "probe-tools" and b"tool-server-address" in answer.body:
            raise NotHere(
                "it reaches no tool server on this machine: `partywall up --loopback-tools` lets it be probed"
            )
        return answer

    def remember(self, credential: str, key: str, value: Any) -> Answer:
        """Write to the caller's memory."""
        return self.wire.send("PUT", f"/v1/memory/{key}", credential=credential, body={"value": value})

    def recall(self, credential: str, key: str, **query: str) -> Answer:
        """Read from the caller's memory."""
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return self.wire.send("GET", f"/v1/memory/{key}" + (f"?{text}" if text else ""), credential=credential)


class Target:
    """Two sides of one wall. home: where the deployment's own files are, for the database probes; else skipped."""

    def __init__(self, base_url: str, operator: str, *, home: Home | None = None) -> None:
        self.home = home or default_home()
        self.wire = Wire(base_url)
        self.operator = operator
        self.upstream_a, self.upstream_b = Upstream(), Upstream()
        run = secrets.token_hex(4)
        self.a = Side(self.wire, operator, self.upstream_a, f"probe-a-{run}")
        self.b = Side(self.wire, operator, self.upstream_b, f"probe-b-{run}")

    def close(self) -> None:
        """Suspend the throwaway tenants and stop the upstreams."""
        for side in (self.a, self.b):
            self.wire.send("POST", f"/v1/tenants/{side.tenant}/suspend", credential=self.operator)
        self.upstream_a.close()
        self.upstream_b.close()


def must(answer: Answer) -> Any:
    """Return the parsed body of a success. Raises: SetupFailed."""
    if not 200 <= answer.status < 300:
        raise SetupFailed(f"the API answered {answer.brief()}")
    return answer.json()


def secret_of(key: Any) -> str:
    """Return the secret of a key object."""
    return str(key["secret"])


def said(answer: Answer) -> str:
    """Return the text of a tool result, or ''; an error result counts as none."""
    parsed = answer.json()
    result = parsed.get("result") if isinstance(parsed, dict) else None
    if not isinstance(result, dict) or result.get("isError"):
        return ""
    return "".join(str(part.get("text", "")) for part in result.get("content", []))
