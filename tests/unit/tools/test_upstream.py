"""What a tool server may list: bounded over all its pages, whatever each of them holds."""

from typing import Any

import msgspec
import pytest

from partywall.errors import BadReply
from partywall.providers.tools.exchange import Answer
from partywall.providers.tools.upstream import LISTING_LIMIT_BYTES, PAGES_LIMIT, Upstream


class Pages:
    """In place of the exchange: a server of 2026-07-28 whose list goes on for ever. size_bytes: of each page."""

    def __init__(self, size_bytes: int) -> None:
        self.asked = 0
        self._size_bytes = size_bytes

    async def post(self, _url: str, body: bytes, _headers: Any, **_more: Any) -> Answer:
        method = msgspec.json.decode(body)["method"]
        if method == "server/discover":
            result: dict[str, Any] = {"supportedVersions": ["2026-07-28"]}
        else:
            self.asked += 1
            result = {"tools": [{"name": f"t{self.asked}"}], "nextCursor": "more"}
        return Answer(200, None, {"jsonrpc": "2.0", "id": 1, "result": result}, self._size_bytes)


@pytest.mark.parametrize(("size_bytes", "pages"), [(100, PAGES_LIMIT), (LISTING_LIMIT_BYTES // 2, 3)])
async def test_a_list_is_bounded_in_pages_and_in_bytes(size_bytes: int, pages: int) -> None:
    server = Pages(size_bytes)
    with pytest.raises(BadReply, match="does not end"):
        await Upstream("http://x/mcp", server, "ten").tools(timeout_s=1.0)  # type: ignore[arg-type]
    assert server.asked == pages
