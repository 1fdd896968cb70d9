"""The token endpoint (RFC 8693): one's own workload, or a neighbour's, shown for the other's tenant."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final
from urllib.parse import urlencode

from demo.doors.attempt import Request, Try, by_name
from demo.tenants import Tenant
from partywall.gateway.form import FORM
from partywall.wire.oauth import ACCESS_TOKEN, JWT, TOKEN_EXCHANGE

PATH: Final = "/v1/oauth/token"
MISSING_AUDIENCE: Final = "pw:local:ten_" + "a" * 26


def exchange(token: str, type_: str, audience: str) -> Request:
    """Return a token exchange for an audience."""
    form = {"grant_type": TOKEN_EXCHANGE, "subject_token": token, "subject_token_type": type_, "audience": audience}
    return Request(path=PATH, raw=urlencode(form).encode(), credential=None, headers={"content-type": FORM})


def here(a: Tenant) -> bool:
    """Whether a tenant's own workload becomes its agent."""
    shown = exchange(a.workload.token(a.audience), JWT, a.audience)
    return a.wire.send("POST", PATH, raw=shown.raw, headers=shown.headers).status == 200


def tries(a: Tenant, b: Tenant) -> Iterator[Try]:
    """Each is refused alike: its bearer learns only that the token is not accepted."""
    real, twin = by_name(partial(exchange, a.key, ACCESS_TOKEN), b.audience, MISSING_AUDIENCE)
    yield Try(tried="its own API key, for the neighbour", request=real, twin=twin, refused=(400,))
    mine = a.workload.token(b.audience)
    yield Try(
        tried="its own workload's token, for the neighbour", request=exchange(mine, JWT, b.audience), refused=(400,)
    )
    stolen = b.workload.token(b.audience)
    yield Try(
        tried="a stolen token of the neighbour's workload, for itself",
        request=exchange(stolen, JWT, a.audience),
        refused=(400,),
    )
