"""Whatever bytes an upstream sends, however cut: a body that was really framed, or a fault; and no connection is kept
that said one byte too many or too few.
"""

from __future__ import annotations

import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from partywall.errors import ProviderFault
from partywall.providers.models.http1 import Upstreams, _Connection, address_of

KEY = ("ten_a", address_of("http://127.0.0.1:1/"))
BODY = st.binary(max_size=40)
FIELD = st.sampled_from(
    [
        b"content-length: 5",
        b"content-length: 0",
        b"content-length: 99999999999999999999",
        b"content-length: +5",
        b"content-length:5 ",
        b"Content-Length: 5, 5",
        b"transfer-encoding: chunked",
        b"transfer-encoding: gzip, chunked",
        b"transfer-encoding: identity",
        b"connection: close",
        b"connection: keep-alive",
        b"connection: upgrade",
        b"upgrade: h2c",
        b"x: y",
        b" folded",
        b"no colon",
        b": empty",
        b"x\x00: y",
    ]
)
STATUS = st.sampled_from([b"200 OK", b"100 Continue", b"101 Up", b"204 No", b"304 Not", b"500 X", b"99 x", b"2000 x"])
END = st.sampled_from([b"\r\n", b"\n", b"\r"])
CHUNKED = st.lists(BODY.filter(bool), max_size=3).map(
    lambda parts: b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
)


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    end = draw(END) if draw(st.integers(0, 9)) == 0 else b"\r\n"
    lines = [b"HTTP/1.1 " + draw(STATUS), *draw(st.lists(FIELD, max_size=4))]
    return end.join([*lines, b"", b""]) + draw(BODY | CHUNKED | st.just(b"hello"))


STREAMS = st.lists(replies(), min_size=1, max_size=3).map(b"".join) | st.binary(max_size=200)


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.closing = False

    def write(self, data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def play(data: bytes, cuts: list[int]) -> tuple[bytes | None, bool]:
    """Return the body, or None for a fault; and whether the connection was kept."""
    pool = Upstreams(timeout_s=5)
    connection = _Connection(pool, KEY)
    connection.connection_made(Wire())
    response = connection.send(b"", 5.0)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, stop in itertools.pairwise(places):
        if connection.usable:
            connection.data_received(data[start:stop])
    kept = connection.usable and response.complete
    connection.connection_lost(None)
    try:
        async with asyncio.timeout(1):
            return await (await response.head()).read(10_000), kept
    except ProviderFault:
        return None, kept
    finally:
        await pool.close()


@settings(max_examples=400, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_are_a_body_or_a_fault(data: bytes, cuts: list[int]) -> None:
    body, kept = asyncio.run(play(data, cuts))
    if kept:
        assert body is not None
        for places in (cuts, [*cuts, len(data)]):  # in one read with the reply, and after it
            assert asyncio.run(play(data + b"x", places))[1] is False, "one byte too many was not seen"
    assert body is None or len(body) <= len(data)


@settings(max_examples=150, deadline=None)
@given(BODY, st.lists(st.integers(0, 400), max_size=6), st.booleans(), st.integers(1, 200))
def test_a_true_reply_is_its_body_and_a_shorter_one_is_never_taken_for_it(
    body: bytes, cuts: list[int], chunked: bool, missing: int
) -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    if chunked:
        data = head + b"transfer-encoding: chunked\r\n\r\n" + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"")
        data += b"0\r\n\r\n"
    else:
        data = head + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    assert asyncio.run(play(data, cuts)) == (body, True)
    assert asyncio.run(play(data[: max(0, len(data) - missing)], cuts)) == (None, False)
