"""MCP authorization at the door: where to sign in, what a token is for, and which refusal asks for more scope."""

import io
import json

import msgspec
import pytest
from tests.credentials import World
from tests.rest_door import ask

from partywall.decision.action import ActionType
from partywall.decision.ports import Effect
from partywall.errors import Denied, NotFound
from partywall.gateway.http import HttpServer
from partywall.gateway.mcp import McpDoor
from partywall.gateway.mcp_authorization import Challenges
from partywall.telemetry.log import Log

BASE = "https://wall.example"
MAIL = f"{BASE}/mcp/mail"
METADATA = f'resource_metadata="{BASE}/.well-known/oauth-protected-resource/mcp/mail"'


class Road:
    def __init__(self):
        self.error, self.calls = None, []

    async def submit(self, principal, call):
        self.calls.append((principal, call))
        if self.error is not None:
            raise self.error
        return Effect(body=msgspec.json.encode({"content": [], "tools": []}))


class Front:
    def __init__(self):
        self.world, self.road = World(), Road()
        door = McpDoor(self.road, self.world.door, Challenges(BASE))
        self.app = HttpServer(
            [door], log=Log("gateway", io.StringIO()), body_limit_bytes=65_536, concurrent_limit=8, health=None
        )

    async def rpc(self, credential, method="tools/call", *, path="/mcp/mail", **headers):
        params = {"name": "send", "arguments": {}} if method == "tools/call" else {}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        sent = {"content-type": "application/json", "host": "evil.example"} | headers
        if credential is not None:
            sent["authorization"] = f"Bearer {credential}"
        given = [(name.encode(), value.encode()) for name, value in sent.items()]
        return await ask(self.app, "POST", path, headers=given, body=json.dumps(body).encode())

    def token(self, **claims):
        return self.world.token(self.world.claims(**claims))


@pytest.fixture
def front():
    return Front()


@pytest.mark.parametrize("credential", [None, "x", "pw_x"])
@pytest.mark.parametrize("path", ["/mcp/mail", "/mcp/nobody-has-this"])
async def test_a_client_without_a_credential_learns_where_to_sign_in(front, credential, path):
    answer = await front.rpc(credential, path=path)
    assert answer.status == 401
    challenge = (
        f'Bearer resource_metadata="{BASE}/.well-known/oauth-protected-resource{path}", scope="tool.call tool.list"'
    )
    assert answer.headers["www-authenticate"] == challenge
    assert "evil.example" not in str(answer)
    assert front.road.calls == []


async def test_a_path_that_is_no_server_points_at_the_whole_deployment(front):
    answer = await front.rpc(None, path='/mcp/x"y')
    assert answer.status == 401
    assert f'resource_metadata="{BASE}/.well-known/oauth-protected-resource", ' in answer.headers["www-authenticate"]


async def test_a_token_for_a_server_works_there(front):
    assert (await front.rpc(front.token(res=MAIL))).status == 200
    assert front.road.calls[0][0].resource == MAIL
    assert (await front.rpc(front.token())).status == 200  # one for the whole deployment, too


@pytest.mark.parametrize(
    "resource", [f"{BASE}/mcp/other", f"{BASE}/mcp/mai", f"{MAIL}/", f"{MAIL}x", "https://other.example/mcp/mail", BASE]
)
async def test_a_token_for_another_resource_does_not(front, resource):
    answer = await front.rpc(front.token(res=resource))
    assert answer.status == 401
    assert METADATA in answer.headers["www-authenticate"]
    assert front.road.calls == []


async def test_a_token_for_a_server_is_for_no_other_door(front):
    front.world.refuses(front.token(res=MAIL))
    assert front.world.door.authenticate(front.token(res=MAIL), resource=MAIL).resource == MAIL


@pytest.mark.parametrize("claims", [{"res": ""}, {"res": ["x"]}, {"res": 1}, {"aud": [MAIL]}, {"resource": MAIL}])
async def test_a_claim_of_another_form_is_no_token(front, claims):
    front.world.refuses(front.token(**claims))


@pytest.mark.parametrize("method", ["tools/call", "tools/list"])
async def test_a_token_that_lacks_the_scope_may_ask_for_more(front, method):
    front.road.error = Denied("denied by policy: out-of-scope.", code="denied-out-of-scope")
    answer = await front.rpc(front.token(scp=["memory"]), method)
    assert answer.status == 403
    scope = f"memory {method.replace('tools/', 'tool.')}"
    assert answer.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{scope}", {METADATA}'
    assert answer.json["error"]["data"] == {"code": "denied-out-of-scope"}


async def test_an_api_key_can_ask_for_nothing(front):
    front.road.error = Denied("denied by policy: out-of-scope.", code="denied-out-of-scope")
    answer = await front.rpc(front.world.new_key(scopes=frozenset({ActionType.MEMORY}))[1])
    assert (answer.status, "www-authenticate" in answer.headers) == (200, False)
    assert answer.json["result"]["isError"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(Denied("no", code="denied-not-granted"), 200), (Denied("no"), 200), (NotFound("there is no such thing"), 404)],
)
async def test_no_other_refusal_does(front, error, status):
    front.road.error = error
    answer = await front.rpc(front.token(res=MAIL))
    assert (answer.status, "www-authenticate" in answer.headers) == (status, False)


async def test_who_takes_no_json_is_told_so(front):
    assert (await front.rpc(front.token(), accept="text/html")).status == 406
