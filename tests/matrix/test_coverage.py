"""Nothing is beside the matrix: every door's route, provider's action and periodic job has an action type."""

import ast
import importlib
import inspect
import io
import pkgutil
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest
from tests.credentials import World, new
from tests.matrix.matrix import PAIRS
from tests.rest_door import ask

import partywall
from partywall import gateway, providers
from partywall.decision.action import CLASSES, ActionType
from partywall.decision.ports import Effect
from partywall.gateway.authzen import AuthzenDoor
from partywall.gateway.code_grant import AUTHORIZATION_CODE, SignInGrant
from partywall.gateway.exchange import TokenExchange
from partywall.gateway.http import HttpServer
from partywall.gateway.mcp import McpDoor
from partywall.gateway.mcp_authorization import Challenges
from partywall.gateway.oauth import OAuthDoor
from partywall.gateway.openai import OpenAiDoor
from partywall.gateway.openapi_door import OpenApiDoor
from partywall.gateway.rest import RestDoor
from partywall.gateway.rest_routes import ROUTES
from partywall.gateway.revocation import RevocationDoor
from partywall.gateway.sign_in import SignInDoor
from partywall.gateway.sign_in_steps import Steps
from partywall.providers.by_action import ByAction
from partywall.providers.operator.provider import OperatorProvider
from partywall.providers.operator.table import KINDS, actions_of
from partywall.telemetry.log import Log
from partywall.wire.control import Unidentified
from partywall.wire.oauth import ACCESS_TOKEN, TOKEN_EXCHANGE
from partywall.wire.oauth import TRANSACTION_TOKEN as TRANSACTION

EXEMPT = Path(__file__).with_name("exemptions.txt")
FIRST_EXEMPT = {
    "GET /healthz",
    "GET /readyz",
    "GET /.well-known/jwks.json",
    "POST /v1/bootstrap",
    "GET /v1/openapi.json",
} | {
    "GET /.well-known/authzen-configuration",  # addresses of this deployment, nothing of anyone
    "GET /.well-known/oauth-authorization-server",  # RFC 8414, the same
    "GET /.well-known/oauth-protected-resource",  # RFC 9728, the same
}

MCP_HEADERS = ((b"accept", b"application/json, text/event-stream"), (b"mcp-protocol-version", b"2025-11-25"))
LISTED = {"tools": []}
CALLED = {"content": [], "isError": False}
IDS = {
    "tenant": new("ten"), "subject": new("agt"), "key": "k", "organisation": new("org"), "model": new("mdl"),
    "server": new("mcp"), "policy": new("pol"), "revision": "1-000000000000",
    "collection": new("col"), "document": "d", "request": new("brk"), "idp": new("idp"), "binding": new("bnd"),
}  # fmt: skip
BODIES = {
    "tenant.create": {"slug": "a"}, "admin.create": {"slug": "a"}, "operator-key.create": {"slug": "a"},
    "model.create": {"slug": "a", "upstream": "http://127.0.0.1", "upstream_model": "m"},
    "subject.create": {"slug": "a", "kind": "agent"}, "grants.set": {"grants": []},
    "key.create": {"subject": new("agt")}, "token.create": {"subject": new("agt")},
    "revoke": {"credential": new("key")}, "policy.activate": {"module": ""}, "policy.rollback": {"revision": "x"},
    "organisation.create": {"slug": "a"}, "model.change": {"hosted": True}, "subject.change": {"clearance": 2},
    "grant.add": {"action": "memory", "resource": "memory/self"}, "draft.create": {"slug": "a", "module": ""},
    "draft.replace": {"module": ""}, "collection.create": {"slug": "a", "model": "m"}, "search": {"text": "x"},
    "idp.create": {"slug": "a", "issuer": "https://id.example"},
    "binding.create": {"idp": new("idp"), "subject": new("usr"), "match_subject": "x"},
    "break-glass.create": {"tenant": new("ten"), "justification": "somebody must look"},
    "server.register": {"slug": "a", "url": "http://127.0.0.1", "tools": []}, "put": {"value": 1},
}  # fmt: skip


def rpc(method, **params):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def body_of(route):
    operation = getattr(route, "operation", None)
    tag = getattr(route, "verb", None) if operation is None else operation.__struct_config__.tag
    return BODIES.get(tag)


def path_of(route):
    ids = IDS | ({"key": new("key")} if route.pattern.startswith("/v1/keys/") else {})
    operation = getattr(route, "operation", None)
    query = "" if operation is None else QUERIES.get(operation.__struct_config__.tag, "")
    return route.pattern.format(**ids) + query


QUERIES = {"grant.remove": "?action=memory&resource=memory/self"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
ASKED = {
    "subject": {"type": "user", "id": "u"}, "action": {"name": "use"}, "resource": {"type": "model", "id": "m"},
}  # fmt: skip
SAMPLES = [
    *((RestDoor, route.method, path_of(route), body_of(route), route.action) for route in ROUTES),
    (OpenAiDoor, "POST", "/v1/chat/completions", CHAT, ActionType.MODEL_REQUEST),
    (OpenAiDoor, "GET", "/v1/models", None, ActionType.MODEL_LIST),
    (OpenAiDoor, "POST", "/v1/embeddings", {"model": "m", "input": "x"}, ActionType.EMBED),
    (AuthzenDoor, "POST", "/access/v1/evaluation", ASKED, ActionType.DECISION_EVALUATE),
    (AuthzenDoor, "POST", "/access/v1/evaluations", ASKED | {"evaluations": [{}]}, ActionType.DECISION_EVALUATE),
    *(
        (AuthzenDoor, "POST", f"/access/v1/search/{wanted}", ASKED, ActionType.DECISION_SEARCH)
        for wanted in ("subject", "resource", "action")
    ),
    (McpDoor, "POST", "/mcp/mail", rpc("tools/list"), ActionType.TOOL_LIST),
    (McpDoor, "POST", "/mcp/mail", rpc("tools/call", name="send", arguments={}), ActionType.TOOL_CALL),
    *(
        (McpDoor, "POST", "/mcp/mail", rpc(method), ActionType.TOOL_LIST)
        for method in ("prompts/list", "resources/list", "resources/templates/list")
    ),
    (McpDoor, "POST", "/mcp/mail", rpc("prompts/get", name="hello"), ActionType.TOOL_CALL),
    (McpDoor, "POST", "/mcp/mail", rpc("resources/read", uri="a:b"), ActionType.TOOL_CALL),
    (
        McpDoor, "POST", "/mcp/mail",
        rpc("completion/complete", ref={"type": "ref/prompt", "name": "x"}, argument={"name": "a", "value": ""}),
        ActionType.TOOL_CALL,
    ),
    (
        McpDoor, "POST", "/mcp/mail",
        rpc("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "x", "version": "1"}),
        ActionType.TOOL_LIST,
    ),
]  # fmt: skip
"""One request for each thing that a door can be asked, and the action that it must put on the road."""


SELF_PROVING = {OpenApiDoor, SignInDoor, OAuthDoor, RevocationDoor}
"""Doors that ask for no credential in a header: a document, and requests that carry their own proof."""
SIGN_IN = f"sgn_{'a' * 26}"
SHOWN = {"grant_type": TOKEN_EXCHANGE, "subject_token_type": ACCESS_TOKEN}
PROOFS = [
    ("GET", "/v1/oauth/authorize?client_id=c&redirect_uri=https://client.example", {}),
    ("POST", "/v1/oauth/authorize", {"attempt": SIGN_IN, "form": "f", "tenant": "acme", "choice": "continue"}),
    ("POST", "/v1/oauth/authorize", {"attempt": SIGN_IN, "form": "f", "choice": "cancel"}),
    ("GET", f"/v1/oauth/callback?state={SIGN_IN}.{'s' * 43}&code=c", {}),
    ("GET", f"/v1/oauth/callback/idp_{'a' * 26}?state={SIGN_IN}.{'s' * 43}&code=c", {}),
    (
        "POST", "/v1/oauth/token",
        {"grant_type": "authorization_code", "client_id": "c", "code": "c", "code_verifier": "v", "redirect_uri": "r"},
    ),
    ("POST", "/v1/oauth/revoke", {"token": "TOKEN"}),
    ("POST", "/v1/oauth/token", SHOWN | {"subject_token": "TOKEN"}),
    ("POST", "/v1/oauth/token", SHOWN | {"subject_token": "x.y.z"}),
    (
        "POST", "/v1/oauth/token",
        SHOWN | {"subject_token": "TOKEN", "requested_token_type": TRANSACTION, "scope": "memory"},
    ),
]  # fmt: skip
"""Each as (method, path, form): what no door may do before it is on the road."""


class Road:
    """Takes every call and remembers it."""

    def __init__(self):
        self.calls = []

    async def submit(self, _principal, call):
        self.calls.append(call)
        if call.kind == "sign-in":
            return Effect(body=msgspec.json.encode({"location": "https://client.example", "error": "invalid_grant"}))
        return Effect(body=msgspec.json.encode(CALLED if call.action is ActionType.TOOL_CALL else LISTED))


class Front:
    def __init__(self):
        self.world, self.road = World(), Road()
        self.credential = self.world.new_key()[1]
        clock = lambda: self.world.now  # noqa: E731
        doors = [
            OpenAiDoor(self.road, self.world.door),
            AuthzenDoor(self.road, self.world.door, base_url="http://127.0.0.1"),
            McpDoor(self.road, self.world.door, Challenges("http://127.0.0.1")),
            RestDoor(self.road, self.world.door, self.world.facts, region="local", clock=clock),
        ]
        steps = Steps(self.road, region="local", clock=clock)
        exchange = TokenExchange(
            self.road, self.world.door, self.world.facts, self, region="local", trust_domain="x", clock=clock
        )
        grants = {
            AUTHORIZATION_CODE: SignInGrant(AUTHORIZATION_CODE, steps, self.road, region="local", clock=clock),
            TOKEN_EXCHANGE: exchange,
        }
        doors += [
            SignInDoor(steps, public_url="http://127.0.0.1"),
            OAuthDoor(grants, log=Log("gateway", io.StringIO())),
            RevocationDoor(self.road, self.world.door, steps),
        ]
        doors.append(OpenApiDoor(doors))
        self.doors = {type(door): door for door in doors}
        self.app = HttpServer(
            doors, log=Log("gateway", io.StringIO()), body_limit_bytes=65_536, concurrent_limit=8, health=self.health
        )

    async def health(self):
        return True, b"{}"

    async def identify(self, _token, _tenant):
        return Unidentified("assertion-shape")

    async def ask(self, method, path, body, credential):
        headers = [*MCP_HEADERS, (b"content-type", b"application/json")]
        if credential is not None:
            headers.append((b"authorization", f"Bearer {credential}".encode()))
        data = b"" if body is None else msgspec.json.encode(body)
        path, _, query = path.partition("?")
        return await ask(self.app, method, path, query=query.encode(), headers=headers, body=data)


@pytest.fixture
def front():
    return Front()


def classes(package):
    """Every class that a module of a package defines itself."""
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        module = importlib.import_module(info.name)
        for _name, found in inspect.getmembers(module, inspect.isclass):
            if found.__module__ == module.__name__:
                yield found


# --- doors ------------------------------------------------------------------------------------------------------------


def test_every_door_is_sampled(front):
    doors = {found for found in classes(gateway) if hasattr(found, "prefixes") and found.__name__ != "Door"}
    assert doors == set(front.doors)
    assert doors - SELF_PROVING == {sample[0] for sample in SAMPLES}
    for door in doors - SELF_PROVING:
        unsampled = {
            prefix for prefix in front.doors[door].prefixes
            if not any(path.startswith(prefix) for sampled, _m, path, _b, _a in SAMPLES if sampled is door)
        }  # fmt: skip
        assert unsampled <= {"/.well-known/jwks.json", "/v1/bootstrap", "/.well-known/authzen-configuration"}


@pytest.mark.parametrize(
    ("method", "path", "body", "action"),
    [sample[1:] for sample in SAMPLES],
    ids=[f"{sample[1]}-{sample[4]}-{number}" for number, sample in enumerate(SAMPLES)],
)
async def test_every_route_puts_its_action_on_the_road(front, method, path, body, action):
    answer = await front.ask(method, path, body, front.credential)
    assert answer.status == 200, answer.body
    assert [call.action for call in front.road.calls] == [action]
    assert (action, front.road.calls[0].kind) in PAIRS


@pytest.mark.parametrize(("method", "path", "body"), [sample[1:4] for sample in SAMPLES], ids=range(len(SAMPLES)))
async def test_every_route_wants_a_credential(front, method, path, body):
    for credential in (None, "x"):
        assert (await front.ask(method, path, body, credential)).status == 401
    assert front.road.calls == []


async def test_what_wants_none_is_listed_and_the_list_only_shrinks(front):
    listed = {line for line in EXEMPT.read_text().splitlines() if line and not line.startswith("#")}
    assert listed <= FIRST_EXEMPT
    open_paths = set()
    for path in {"/healthz", "/readyz", *(prefix for door in front.doors.values() for prefix in door.prefixes)}:
        for method in ("GET", "POST", "PUT", "DELETE"):
            body = {"token": "x"} if method == "POST" else None
            if (await front.ask(method, path, body, None)).status == 200:
                open_paths.add(f"{method} {path}")
    health = {f"{method} {path}" for method in ("POST", "PUT", "DELETE") for path in ("/healthz", "/readyz")}
    assert open_paths - health == listed  # the health paths answer any method alike


@pytest.mark.parametrize(("method", "path", "form"), PROOFS, ids=range(len(PROOFS)))
async def test_what_carries_its_own_proof_takes_the_road(front, method, path, form):
    given = {name: front.world.token() if value == "TOKEN" else value for name, value in form.items()}
    headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"cookie", f"__Host-{SIGN_IN}=c".encode())]
    path, _, query = path.partition("?")
    await ask(front.app, method, path, query=query.encode(), headers=headers, body=urlencode(given).encode())
    [call] = front.road.calls
    assert call.action is ActionType.OPERATOR_TOKEN
    assert (call.action, call.kind) in PAIRS


async def test_even_the_first_key_takes_the_road(front):
    await front.ask("POST", "/v1/bootstrap", {"token": "x"}, None)
    [call] = front.road.calls
    assert (call.action, call.kind) in PAIRS


# --- providers --------------------------------------------------------------------------------------------------------


def test_every_providers_actions_are_in_the_matrix():
    found = set()
    for provider in classes(providers):
        if not (hasattr(provider, "prepare") and hasattr(provider, "perform")) or provider is ByAction:
            continue  # it has the actions of those that it is made of
        if provider is OperatorProvider:
            found |= {(action, kind) for kind in KINDS for action in actions_of(kind)}
        else:
            found |= {(action, provider.kind) for action in provider.actions}
    assert len(found) >= 20
    assert found <= set(PAIRS)
    assert all(action in CLASSES for action, _kind in found)


# --- jobs -------------------------------------------------------------------------------------------------------------

JOBS = {
    "ledger/writer.py:sweep": ActionType.SYSTEM_SWEEP,
    "ledger/writer.py:checkpoint": ActionType.SYSTEM_CHECKPOINT,
    "ledger/writer.py:departed.close_each": ActionType.SYSTEM_SWEEP,
    "ledger/indexing.py:index_all": ActionType.SYSTEM_CHECKPOINT,
    "control/upkeep.py:tend": ActionType.SYSTEM_ROTATE,
    "control/leaf_upkeep.py:tend_leaves": ActionType.SYSTEM_SWEEP,
}
"""What runs by itself, with its action."""
WAITS = {
    "control/upkeep.py:until_prepared": "waits for its databases before it serves",
    "gateway/worker.py:_start": "waits for the issuer before it serves",
    "gateway/enrolment.py:_renew_forever": "renews this worker's own right",
    "store/directory.py:_poll_forever": "reads the facts that every decision needs",
    "ledger/jobs.py:every": "runs the jobs above",
}
"""Loops with a pause that change nothing of anybody's. This list may only get shorter, too."""
PROCESSES = ("control", "gateway", "ledger", "store", "keys", "providers")


def test_every_periodic_job_has_an_action():
    found = set()
    root = Path(partywall.__file__).parent
    for process in PROCESSES:
        for path in sorted((root / process).rglob("*.py")):
            found |= {f"{path.relative_to(root)}:{name}" for name in periodic(ast.parse(path.read_text()))}
    assert found == set(JOBS) | set(WAITS)
    assert len(WAITS) <= 5


def periodic(tree):
    """Names of functions that loop with a pause, and of those handed to `every`."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.AsyncFunctionDef | ast.FunctionDef):
            continue
        for node in ast.walk(function):
            loop = (
                ast.unparse(node).replace("sleep(0)", "") if isinstance(node, ast.While) else ""
            )  # a pause of 0 is none
            if "sleep(" in loop or "wait_for(" in loop:
                yield function.name
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "every":
                yield ast.unparse(node.args[1]).removeprefix("lambda: ").partition("(")[0]
