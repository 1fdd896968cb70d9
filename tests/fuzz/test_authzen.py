"""Whatever bytes reach the AuthZEN door, the answer is a decision, a page or one line of text, and never a 500."""

import asyncio
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.credentials import World, new
from tests.rest_door import ask

from partywall.decision.decide import Decider
from partywall.decision.facts import ModelFacts, ServerFacts, ToolFacts
from partywall.decision.principal import Kind
from partywall.errors import Malformed
from partywall.gateway.authzen import AuthzenDoor
from partywall.gateway.http import HttpServer
from partywall.gateway.pipeline import Pipeline
from partywall.providers.decisions.provider import DecisionProvider
from partywall.providers.memory.provider import MemoryProvider
from partywall.providers.models.provider import ModelProvider
from partywall.providers.tools.provider import ToolProvider
from partywall.settings import GatewaySettings
from partywall.telemetry.log import Log
from partywall.wire.authzen import SEARCH_PATHS, next_token, parse_evaluations, parse_search

PATHS = ["/access/v1/evaluation", "/access/v1/evaluations", *SEARCH_PATHS]
quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Memory:
    async def append(self, record, *, durable):
        json.dumps(record.parameters)


class Front:
    """One tenant with a model and an application, a real road, and the door."""

    def __init__(self):
        self.world = World()
        clock = lambda: self.world.now  # noqa: E731
        facts = self.world.facts.tenants[self.world.tenant]
        model = ModelFacts(id=new("mdl"), slug="small", upstream="http://127.0.0.1", upstream_model="m")
        tools = {
            "read": ToolFacts(name="read", description="", schema='{"properties":{"id":{"enum":["1","2"]}}}', digest="")
        }
        server = ServerFacts(id=new("mcp"), slug="todo", url="http://127.0.0.1", manifest="", tools=tools)
        self.world.set_tenant(models={model.id: model}, servers={server.id: server}, subjects=facts.subjects)
        providers = {
            "model": ModelProvider(region="local", clock=clock),
            "tool": ToolProvider(self.world.facts, clock=clock),
            "memory": MemoryProvider(None, clock=clock),
        }
        providers["decision"] = DecisionProvider(self.world.facts, Decider(), lambda: providers, clock=clock)
        self.lines = io.StringIO()
        log = Log("gateway", self.lines)
        pipeline = Pipeline(
            directory=self.world.facts, ledger=Memory(), decider=Decider(), providers=providers,
            settings=GatewaySettings(), region="local", clock=clock, new_id=new, log=log,
        )  # fmt: skip
        door = AuthzenDoor(pipeline, self.world.door, base_url="http://127.0.0.1")
        self.app = HttpServer([door], log=log, body_limit_bytes=65_536, concurrent_limit=64, health=self._health)
        self.admin = self.world.new_key(kind=Kind.TENANT_ADMIN, subject=self.world.admin)[1]

    async def _health(self):
        return True, b"{}"

    async def ask(self, path, raw, *headers):
        sent = [(b"authorization", f"Bearer {self.admin}".encode()), (b"content-type", b"application/json"), *headers]
        return await ask(self.app, "POST", path, headers=sent, body=raw)


FRONT = Front()
text = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "agent", "user", "a", "u", "b", "model", "small", "tool", "todo/read", "todo", "read", "memory",
            "tool.call", "can_use", "use", "*", "1", FRONT.world.agent, FRONT.world.user, "decision",
        ]
    ),
)  # fmt: skip
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text)
names = st.sampled_from(
    [
        "subject", "action", "resource", "context", "type", "id", "name", "properties", "page", "token", "limit",
        "evaluations", "options", "evaluations_semantic", "scopes", "on_behalf_of", "label", "classification", "x",
    ]
)  # fmt: skip
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
properties = st.dictionaries(names, values, max_size=3)
entity = st.fixed_dictionaries({"type": text, "id": text}, optional={"properties": properties})
verb = st.fixed_dictionaries({"name": text}, optional={"properties": properties})
page = st.fixed_dictionaries({}, optional={"token": text, "limit": st.integers(-1, 200)})
question = st.fixed_dictionaries(
    {"subject": entity, "action": verb, "resource": entity},
    optional={
        "context": properties, "page": page, "evaluations": st.lists(properties, max_size=3),
        "options": st.fixed_dictionaries({"evaluations_semantic": st.sampled_from(["deny_on_first_deny", "x"])}),
    },
)  # fmt: skip
bodies = st.one_of(
    st.binary(max_size=100),
    st.dictionaries(names, values, max_size=5).map(lambda value: json.dumps(value).encode()),
    question.map(lambda value: json.dumps(value).encode()),
    question.map(lambda value: json.dumps(value).encode()),
)


@quick
@given(st.sampled_from(PATHS), bodies)
def test_any_body_is_answered_in_the_forms_of_the_specification(path, raw):
    answer = asyncio.run(FRONT.ask(path, raw))
    assert answer.status in {200, 400}, (answer.status, answer.body, FRONT.lines.getvalue())
    if answer.status == 400:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        return
    said = json.loads(answer.body)
    if "search" in path:
        assert said["page"]["count"] == len(said["results"])
    else:
        for one in said.get("evaluations", [said]):
            assert isinstance(one["decision"], bool)
            assert one["decision"] or one["context"]["reason"]


@quick
@given(st.binary(max_size=300))
def test_any_request_id_comes_back_or_is_refused(said):
    raw = b'{"subject":{"type":"agent","id":"a"},"action":{"name":"use"},"resource":{"type":"model","id":"small"}}'
    answer = asyncio.run(FRONT.ask(PATHS[0], raw, (b"x-request-id", said)))
    if answer.status == 200:
        assert answer.headers["x-request-id"].encode() == said
    else:
        assert answer.status == 400
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "x-request-id" not in answer.headers


@quick
@given(st.integers(0, 1_000_000), st.integers(0, 150))
def test_a_page_token_opens_where_it_was_made_and_nowhere_else(start, limit):
    body = {"subject": {"type": "user"}, "action": {"name": "a"}, "resource": {"type": "t", "id": "1"}}
    body["page"] = {"limit": limit}
    search = parse_search(body, "subject")
    token = next_token(search, start)
    again = parse_search(body | {"page": {"token": token}}, "subject")
    assert (again.start, again.limit, again.query) == (start, min(limit, 100), search.query)
    for other in (body | {"action": {"name": "b"}}, body | {"context": {"x": 1}}):
        with pytest.raises(Malformed):
            parse_search(other | {"page": {"token": token}}, "subject")


def test_a_hundred_evaluations_and_no_more():
    body = {"subject": {"type": "user", "id": "u"}, "action": {"name": "a"}, "resource": {"type": "t", "id": "1"}}
    assert len(parse_evaluations(body | {"evaluations": [{}] * 100}).items) == 100
    with pytest.raises(Malformed):
        parse_evaluations(body | {"evaluations": [{}] * 101})


def test_defaults_do_not_multiply_a_body_a_hundredfold():
    body = {"subject": {"type": "user", "id": "u"}, "action": {"name": "a"}, "resource": {"type": "t", "id": "1"}}
    large = body | {"context": {"text": "x" * 1_000_000}}
    own = {"context": {}}
    assert len(parse_evaluations(large | {"evaluations": [{}, *[own] * 99]}).items) == 100
    with pytest.raises(Malformed) as refused:
        parse_evaluations(large | {"evaluations": [{}] * 100})
    assert refused.value.code == "too-many-evaluations"
