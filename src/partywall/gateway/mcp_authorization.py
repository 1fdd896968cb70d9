"""How the MCP door tells a client where to sign in and which scope to ask for (MCP authorization, RFC 9728, RFC 6750).

A challenge says what is public and the same for every name: of a server it repeats the path that was asked, whether
there is such a server or not. Only a token's own scope is challenged; a missing grant, or what is another tenant's,
never is.
Source: docs/adr/0012-sign-in.md.
"""

from __future__ import annotations

from typing import Final

from partywall.decision.action import ActionType
from partywall.decision.principal import Principal

RESOURCE_METADATA: Final = "/.well-known/oauth-protected-resource"
SCOPES: Final = (ActionType.TOOL_CALL, ActionType.TOOL_LIST)
"""What a client of a tool server needs."""
OUT_OF_SCOPE: Final = "denied-out-of-scope"


class Challenges:
    """The `WWW-Authenticate` values of one deployment. public_url: its origin (`Settings.public_url`)."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url

    def resource(self, server: str) -> str:
        """Return the URL of a server: the audience of tokens that are made for it (RFC 8707)."""
        return f"{self._public_url}/mcp/{server}"

    def unauthenticated(self, server: str | None) -> str:
        """Return the challenge to whoever came without a valid credential. server: None when the path names none."""
        return f'Bearer resource_metadata="{self._metadata(server)}", scope="{" ".join(SCOPES)}"'

    def out_of_scope(self, server: str, principal: Principal, action: ActionType) -> str | None:
        """Return the step-up challenge, with what the token has and the scope that it lacks; None for an API key."""
        if not principal.credential.startswith("tok_"):
            return None
        scope = " ".join(sorted({action, *(principal.scopes or ())}))
        return f'Bearer error="insufficient_scope", scope="{scope}", resource_metadata="{self._metadata(server)}"'

    def _metadata(self, server: str | None) -> str:
        return f"{self._public_url}{RESOURCE_METADATA}" + ("" if server is None else f"/mcp/{server}")
