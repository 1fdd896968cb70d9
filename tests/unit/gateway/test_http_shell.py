"""The HTTP shell: what it refuses before any door is asked, how failures read, and that streams end with callers."""

import asyncio
import io
import json

import msgspec
import pytest

from partywall import errors
from partywall.gateway.http import HEADERS_LIMIT_BYTES, HttpServer
from partywall.gateway.http_errors import CODE_STATUS, STATUS, TITLES, openai_body, status_of
from partywall.telemetry.log import Log

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Door:
    openai_errors = False

    def __init__(self, *prefixes, do=None):
        self.prefixes, self.do, self.requests = prefixes or ("/v1/thing",), do, []

    async def __call__(self, request):
        self.requests.append(request)
        if isinstance(self.do, BaseException):
            raise self.do
        if self.do is not None:
            await self.do(request)
        else:
            await request.reply(200, b"{}")


class OpenAi(Door):
    openai_errors = True


class Caller:
    """One connection: hands in messages, keeps what comes back."""

    def __init__(self, *doors, body_limit_bytes=100, concurrent_limit=4):
        self.lines, self.sent, self.well = io.StringIO(), [], True
        self.gone = asyncio.Event()
        self.app = HttpServer(
            doors or [Door()],
            log=Log("gateway", self.lines),
            body_limit_bytes=body_limit_bytes,
            concurrent_limit=concurrent_limit,
            health=self._health,
        )

    async def _health(self):
        return self.well, b'{"checks":{}}'

    async def ask(self, path="/v1/thing", headers=(), parts=(b"",)):
        messages = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, 1)
        ]

        async def receive():
            if messages:
                return messages.pop(0)
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            self.sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": list(headers)}
        await self.app(scope, receive, send)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return dict(self.sent[0]["headers"])

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def problem(self):
        assert self.headers[b"content-type"] == b"application/problem+json"
        return json.loads(self.body)


async def read_body(request):
    await request.reply(200, await request.body())


async def test_a_door_answers_below_its_prefix_and_nowhere_else():
    door = Door("/v1/thing", "/mcp/")
    for path in ("/v1/thing", "/v1/thing/x", "/mcp/x"):
        assert (await Caller(door).ask(path)).status == 200
    for path in ("/v1/things", "/v1/thin", "/mcp", "/", "", "/V1/thing"):
        answer = await Caller(door).ask(path)
        assert (answer.status, answer.problem["code"]) == (404, "not-found")
    assert len(door.requests) == 3


async def test_a_problem_says_what_where_and_nothing_else():
    failure = errors.Denied("denied by policy: not-granted. Ask.", code="denied-not-granted", private="secret")
    answer = await Caller(Door(do=failure)).ask(headers=[(b"traceparent", f"00-{TRACE}-{'1' * 16}-01".encode())])
    assert answer.status == 403
    assert answer.problem == {
        "type": "urn:partywall:problem:denied-not-granted",
        "title": "Denied by policy",
        "status": 403,
        "detail": "denied by policy: not-granted. Ask.",
        "code": "denied-not-granted",
        "trace": TRACE,
    }


async def test_what_breaks_inside_is_told_to_the_log_and_not_to_the_caller():
    answer = await Caller(Door(do=RuntimeError("secret"))).ask()
    assert (answer.status, answer.problem["code"]) == (500, "internal")
    assert b"secret" not in answer.body
    assert "RuntimeError" in answer.lines.getvalue()
    assert "secret" not in answer.lines.getvalue()


async def test_a_body_is_whole_or_refused():
    door = Door(do=read_body)
    assert (await Caller(door).ask(parts=(b"a" * 50, b"b" * 50))).body == b"a" * 50 + b"b" * 50
    announced = await Caller(door).ask(headers=[(b"content-length", b"101")])
    assert (announced.status, announced.problem["code"]) == (413, "body-too-large")
    grown = await Caller(door).ask(parts=(b"a" * 50, b"b" * 51))
    assert (grown.status, grown.problem["code"]) == (413, "body-too-large")


@pytest.mark.parametrize("length", [b"", b"-1", b"1_0", b"0x1", b"9" * 19, b"9" * 5000, b"\xd9\xa1", b"1, 1"])
async def test_a_strange_length_is_refused(length):
    assert (await Caller(Door(do=read_body)).ask(headers=[(b"content-length", length)])).status == 413


async def test_long_headers_are_refused():
    headers = [(b"x-%d" % number, b"a" * 1000) for number in range(HEADERS_LIMIT_BYTES // 1000)]
    assert (await Caller().ask(headers=headers[:-1])).status == 200
    answer = await Caller().ask(headers=[*headers, (b"y", b"a" * 1000)])
    assert (answer.status, answer.problem["code"]) == (431, "headers-too-large")


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key", b"mcp-method", b"content-length", b"traceparent"])
async def test_a_header_that_decides_stands_once(name):
    for second in (b"a", b"b"):
        door = Door()
        answer = await Caller(door).ask(headers=[(name, b"a"), (b"accept", b"*/*"), (name, second)])
        assert (answer.status, answer.problem["code"]) == (400, "repeated-header")
        assert door.requests == []


async def test_other_headers_may_be_lists():
    door = Door()
    given = [(b"accept", b"text/html"), (b"authorization", b"Bearer a"), (b"accept", b"application/json")]
    await Caller(door).ask(headers=given)
    assert door.requests[0].header("accept") == "text/html, application/json"
    assert door.requests[0].credential() == "a"


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ([], None),
        ([(b"authorization", b"Bearer x")], "x"),
        ([(b"authorization", b"bearer   x ")], "x"),
        ([(b"authorization", b"Basic x")], None),
        ([(b"authorization", b"x")], None),
        ([(b"authorization", b"")], None),
        ([(b"x-api-key", b"y")], "y"),
        ([(b"authorization", b"Basic x"), (b"x-api-key", b"y")], None),
        ([(b"authorization", b"Bearer x"), (b"x-api-key", b"y")], "x"),
    ],
)
async def test_where_the_credential_stands(headers, credential):
    door = Door()
    await Caller(door).ask(headers=headers)
    assert door.requests[0].credential() == credential


@pytest.mark.parametrize(
    "given",
    [None, b"", b"x", b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01", b"00-" + TRACE.upper().encode() + b"-1-01"],
)
async def test_a_trace_id_is_made_where_none_was_given(given):
    door = Door()
    for _ in range(2):
        await Caller(door).ask(headers=[] if given is None else [(b"traceparent", given)])
    first, second = (request.trace_id for request in door.requests)
    assert first != second
    assert len(bytes.fromhex(first)) == 16


async def test_too_many_at_once_are_sent_away_and_the_place_is_free_again_after():
    held = asyncio.Event()

    async def wait(request):
        await held.wait()
        await request.reply(200)

    caller = Caller(Door(do=wait), concurrent_limit=1)
    first = asyncio.ensure_future(caller.ask())
    await asyncio.sleep(0)
    await caller.ask()
    assert caller.status == 503
    assert caller.headers[b"retry-after"] == b"1"
    held.set()
    await first
    caller.sent.clear()
    assert (await caller.ask()).status == 200


async def test_probes_ask_no_door():
    caller = Caller()
    assert (await caller.ask("/healthz")).body == b'{"status":"ok"}'
    for well, draining, status in ((True, False, 200), (False, False, 503), (True, True, 503)):
        caller.sent.clear()
        caller.well, caller.app.draining = well, draining
        assert (await caller.ask("/readyz")).status == status
    assert caller.body == b'{"status":"draining"}'


# --- streams ----------------------------------------------------------------------------------------------------------


class Chunks:
    """A stream that is sent in pieces, then waits or breaks, and knows when it was closed."""

    def __init__(self, *pieces, then=None):
        self.pieces, self.then, self.closed = list(pieces), then, 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.pieces:
            return self.pieces.pop(0)
        if isinstance(self.then, BaseException):
            raise self.then
        if self.then == "hang":
            await asyncio.sleep(60)
        raise StopAsyncIteration

    async def aclose(self):
        self.closed += 1


def streams(chunks):
    async def do(request):
        await request.body()
        await request.reply_stream(chunks)

    return Door(do=do)


async def test_a_stream_is_sent_and_closed():
    chunks = Chunks(b"one", b"two")
    answer = await Caller(streams(chunks)).ask()
    assert (answer.status, answer.body, chunks.closed) == (200, b"onetwo", 1)
    assert answer.headers[b"content-type"] == b"text/event-stream"
    assert answer.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_a_stream_ends_when_its_caller_goes_away():
    chunks = Chunks(b"one", then="hang")
    caller = Caller(streams(chunks))
    asking = asyncio.ensure_future(caller.ask())
    await asyncio.sleep(0.01)
    caller.gone.set()
    await asyncio.wait_for(asking, 1)
    assert (caller.body, chunks.closed) == (b"one", 1)
    assert caller.sent[-1]["more_body"], "a stream that was not finished must not look finished"


async def test_a_stream_is_closed_even_if_its_caller_was_gone_before_it_began():
    chunks = Chunks(b"one")

    async def do(request):
        async def send(_message):
            raise asyncio.CancelledError

        request._send = send
        await request.reply_stream(chunks)

    with pytest.raises(asyncio.CancelledError):
        await Caller(Door(do=do)).ask()
    assert chunks.closed == 1


async def test_a_stream_that_breaks_is_not_finished():
    chunks = Chunks(b"one", then=errors.Unavailable("no"))
    answer = await Caller(streams(chunks)).ask()
    assert (answer.status, answer.body, chunks.closed) == (200, b"one", 1)
    assert answer.sent[-1]["more_body"]


# --- errors -----------------------------------------------------------------------------------------------------------


def kinds(kind=errors.PartywallError):
    found = [kind] if kind.__module__ == "partywall.errors" else []
    for inner in kind.__subclasses__():
        found += kinds(inner)
    return found


@pytest.mark.parametrize("kind", kinds())
async def test_every_error_has_a_status_a_title_and_two_forms(kind):
    failure = kind("public words", private="secret", retry_after_s=0.2)
    assert status_of(failure) in TITLES
    for door in (Door(do=failure), OpenAi(do=failure)):
        answer = await Caller(door).ask()
        assert answer.status == status_of(failure)
        assert answer.headers[b"retry-after"] == b"1"
        assert (b"www-authenticate" in answer.headers) is (kind is errors.Unauthenticated)
        assert b"public words" in answer.body
        assert b"secret" not in answer.body


def test_the_closest_class_gives_the_status():
    class Narrower(errors.ProviderTimeout):
        """A later error."""

    assert status_of(Narrower("x")) == 504
    assert status_of(errors.PartywallError("x")) == 500
    assert set(STATUS.values()) | set(CODE_STATUS.values()) <= set(TITLES)


def test_the_form_of_openai():
    body = msgspec.json.decode(openai_body(errors.LimitExceeded("slow down", code="rate")))
    assert body == {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate", "param": None}}
