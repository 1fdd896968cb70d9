"""The Python SDK: an async client of the public API, and of nothing else.

>>> async with Partywall("http://127.0.0.1:8470", api_key) as wall:
...     await wall.memory.put("seen", ["inbox"])
"""

from partywall.client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Denied,
    LimitExceeded,
    NotFound,
    PreconditionFailed,
    ServerError,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
)
from partywall.client.wall import Partywall
from partywall.wire.collections import Document
from partywall.wire.replies import Grant

__all__ = [
    "ApiError",
    "BadRequest",
    "Conflict",
    "Denied",
    "Document",
    "Grant",
    "LimitExceeded",
    "NotFound",
    "Partywall",
    "PreconditionFailed",
    "ServerError",
    "Unauthenticated",
    "Unavailable",
    "UpstreamFailed",
]
