"""`/v1/openapi.json`: the document of every door, for anybody. It is made once and says nothing of any tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from partywall.errors import Malformed
from partywall.gateway.http import Door, Request
from partywall.gateway.openapi import document
from partywall.gateway.routes.document import PUBLIC, Described, Doc, Documented
from partywall.wire.conditions import ANY, etag_of, parse_tags

PATH: Final = "/v1/openapi.json"
LIFE_S: Final = 300
ROUTE: Final = Described(
    "GET",
    PATH,
    Doc(summary="Read this document", tag="document", who=PUBLIC, reply=dict[str, Any], etag=True),
)


class OpenApiDoor:
    """doors: all others, whose routes it tells."""

    prefixes = (PATH,)
    routes: tuple[Documented, ...] = (ROUTE,)
    openai_errors = False

    def __init__(self, doors: Sequence[Door]) -> None:
        self._doors = doors
        self._body = b""

    async def __call__(self, request: Request) -> None:
        """Answer with the document. Raises: Malformed."""
        if request.method != "GET":
            raise Malformed("use GET here", code="method-not-allowed")
        if request.query or request.path != PATH:
            raise Malformed("this path takes no parameters", code="unknown-parameter")
        if not self._body:
            routes = (route for door in (*self._doors, self) for route in door.routes)
            self._body = msgspec.json.encode(document(routes), order="sorted")
        headers = {"etag": etag_of(self._body), "cache-control": f"public, max-age={LIFE_S}"}
        known = request.header("if-none-match")
        if known is not None and not {headers["etag"], ANY}.isdisjoint(parse_tags(known, weak=True)):
            await request.reply(304, headers=headers)
            return
        await request.reply(200, self._body, headers=headers)
