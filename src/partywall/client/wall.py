"""The client itself: one attribute per noun of the API, and what other libraries' clients need to be pointed here."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

import msgspec

from partywall.client.collections import Collections
from partywall.client.log import Log
from partywall.client.memory import Memory
from partywall.client.policy import Policy
from partywall.client.servers import Servers
from partywall.client.subjects import Keys, Subjects, Tokens
from partywall.client.tenants import Tenants
from partywall.client.transport import Transport, segment
from partywall.wire import replies

DEFAULT_URL: Final = "http://127.0.0.1:8470"


class _Decision(msgspec.Struct):
    decision: bool


class Partywall:
    """A deployment, seen with one credential: an API key or an access token. Use as an async context manager.

    base_url: without a path. timeout_s: of one request. Raises (every method): ApiError and its kinds.
    """

    def __init__(self, base_url: str = DEFAULT_URL, credential: str | None = None, *, timeout_s: float = 60.0) -> None:
        self._transport = transport = Transport(base_url, credential, timeout_s=timeout_s)
        self.tenants: Final = Tenants(transport)
        self.subjects: Final = Subjects(transport)
        self.keys: Final = Keys(transport)
        self.tokens: Final = Tokens(transport)
        self.policy: Final = Policy(transport)
        self.servers: Final = Servers(transport)
        self.memory: Final = Memory(transport)
        self.collections: Final = Collections(transport)
        self.log: Final = Log(transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def models(self) -> list[replies.ListedModel]:
        """Return the models that this credential may ask."""
        listed = await self._transport.ask("GET", "/v1/models", replies.ListedModels)
        return listed.data

    async def revoke(self, credential: str) -> None:
        """End a key, token, session or subject everywhere, within 5 s. credential: its id."""
        await self._transport.ask("POST", "/v1/revocations", replies.Revoked, body={"credential": credential})

    async def may(self, subject: str, action: str, resource: str, *, context: dict[str, Any] | None = None) -> bool:
        """Return whether the wall would allow it, now (AuthZEN): nothing is done, and the question is on record.

        subject: slug or id of an agent or user. action: such as `tool.call`. resource: `<kind>/<slug or id>`.
        """
        kind, _, name = resource.partition("/")
        question = {
            "subject": {"type": "user" if subject.startswith("usr_") else "agent", "id": subject},
            "action": {"name": action},
            "resource": {"type": kind, "id": name},
            "context": context or {},
        }
        return (
            await self._transport.ask("POST", "/access/v1/evaluation", _Decision, body=question, keyed=False)
        ).decision

    def openai_options(self) -> dict[str, Any]:
        """Return what OpenAI's own client takes: `openai.AsyncOpenAI(**wall.openai_options())`."""
        return {"base_url": f"{self._transport.base_url}/v1", "api_key": self._transport.credential}

    def mcp_options(self, server: str) -> dict[str, Any]:
        """Return what an MCP client takes for a registered server: its `url`, and the `headers` to send there."""
        return {
            "url": f"{self._transport.base_url}/mcp/{segment(server)}",
            "headers": {"Authorization": f"Bearer {self._transport.credential}"},
        }
