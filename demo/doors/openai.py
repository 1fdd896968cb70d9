"""OpenAI's door: chats with the neighbour's model, and fields that would choose a tenant or an upstream."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from demo.doors.attempt import NOBODY, Request, Try, by_name
from demo.tenants import Tenant

MISSING_MODEL: Final = "mdl_" + "a" * 26


def chat(credential: str, model: str, *, acts: bool = True, **more: Any) -> Request:
    """Return a chat request."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, **more}
    return Request(path="/v1/chat/completions", body=body, credential=credential, acts="model.request" if acts else "")


def tries(a: Tenant, b: Tenant) -> Iterator[Try]:
    """By slug, by id, streamed, in the listing, and with fields of other gateways."""
    real, twin = by_name(partial(chat, a.key), b.model_slug, NOBODY)
    yield Try(tried="chat with its model, by slug", request=real, twin=twin, refused=(404,))
    real, twin = by_name(partial(chat, a.key, stream=True), b.model_slug, NOBODY)
    yield Try(tried="chat with its model, streamed", request=real, twin=twin, refused=(404,))
    if b.model:
        real, twin = by_name(partial(chat, a.key), b.model, MISSING_MODEL)
        yield Try(tried="chat with its model, by id", request=real, twin=twin, refused=(404,))
    real, twin = by_name(partial(_look_up, a.key), b.model_slug, NOBODY)
    yield Try(tried="look its model up", request=real, twin=twin, refused=(404,))
    for field in ("tenant", "api_base", "extra_headers"):
        request = chat(a.key, a.model_slug, acts=False, **{field: b.id})
        yield Try(tried=f"a field `{field}` that names the neighbour", request=request, refused=(400,))


def _look_up(key: str, model: str) -> Request:
    return Request(method="GET", path=f"/v1/models/{model}", credential=key, acts="model.list")
