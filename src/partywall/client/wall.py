"""The client itself: one attribute per noun of the API, and what other libraries' clients need to be pointed here."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

from partywall.client.log import Log
from partywall.client.memory import Memory
from partywall.client.policy import Policy
from partywall.client.servers import Servers
from partywall.client.subjects import Keys, Subjects, Tokens
from partywall.client.tenants import Tenants
from partywall.client.transport import Transport, segment
from partywall.wire import replies

DEFAULT_URL: Final = "http://127.0.0.1:8470"


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

    def openai_options(self) -> dict[str, Any]:
        """Return what OpenAI's own client takes: `openai.AsyncOpenAI(**wall.openai_options())`."""
        return {"base_url": f"{self._transport.base_url}/v1", "api_key": self._transport.credential}

    def mcp_options(self, server: str) -> dict[str, Any]:
        """Return what an MCP client takes for a registered server: its `url`, and the `headers` to send there."""
        return {
            "url": f"{self._transport.base_url}/mcp/{segment(server)}",
            "headers": {"Authorization": f"Bearer {self._transport.credential}"},
        }
