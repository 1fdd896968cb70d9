"""The OpenAPI document against the code and against a whole deployment, as each role: nothing answers what it denies.

Every operation is asked with what the document allows and with what it forbids; what one reply gives, the next request
uses (`links`). No answer is a server's error, each is one that the document describes, and none names the neighbour.
"""

import contextlib
import importlib
import inspect
import json
import pkgutil
import secrets

import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi_checks
from tests.scenarios.platform_fixture import Platform
from tests.scenarios.test_rest import Tenant
from tests.scenarios.test_rest import operator as _operator
from tests.scenarios.test_rest import wire as _wire

from partywall import gateway
from partywall.control.operations import RULES
from partywall.gateway.openapi import document, operation_id, takes_key
from partywall.gateway.rest_routes import OPERATIONS

wire, operator = _wire, _operator
ROLES = ("operator", "admin", "user", "agent")
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.response_headers_conformance,
]
MODES = {GenerationMode.POSITIVE: 2, GenerationMode.NEGATIVE: 1}
"""How often each operation is asked with what the document allows, and with what it forbids."""
TIMEOUT_S = 20.0


def doors():
    """Every class of the gateway that answers below some paths, whoever wires it."""
    return [
        found
        for info in pkgutil.walk_packages(gateway.__path__, gateway.__name__ + ".")
        for name, found in inspect.getmembers(importlib.import_module(info.name), inspect.isclass)
        if found.__module__ == info.name and hasattr(found, "prefixes") and name != "Door"
    ]


# --- the document against the code ------------------------------------------------------------------------------------


def test_every_route_of_every_door_is_in_the_document(wire):
    served = json.loads(wire.send("GET", "/v1/openapi.json").body)
    routes = [route for door in doors() for route in door.routes]
    known = {(method.upper(), pattern) for pattern, methods in served["paths"].items() for method in methods}
    assert known == {(route.method, route.pattern) for route in routes}
    assert len(routes) == len(known)
    for door in doors():
        for prefix in door.prefixes:
            assert any(route.pattern.startswith(prefix) for route in door.routes), f"{prefix} is not described"


def test_it_says_who_may_call_what_and_which_conditions_count_as_the_issuer_has_it():
    for route in OPERATIONS:
        rule = RULES[route.operation]
        assert set(route.doc.who) == rule.principals, route.pattern
        assert route.doc.conditional == (rule.current is not None), route.pattern
        if takes_key(route) and rule.secret:
            assert "secret-shown-once" in route.doc.errors.get(409, ()), route.pattern


def test_its_schemas_are_schemas_and_its_links_lead_somewhere(wire):
    served = json.loads(wire.send("GET", "/v1/openapi.json").body)
    for schema in served["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    operations = {
        described["operationId"]: (pattern, described)
        for pattern, methods in served["paths"].items()
        for described in methods.values()
    }
    assert len(operations) == sum(len(methods) for methods in served["paths"].values())
    for _pattern, described in operations.values():
        for link in described["responses"]["200"].get("links", {}).values():
            pattern, _described = operations[link["operationId"]]
            names = {name.removeprefix("path.") for name in link["parameters"]}
            assert names <= {part[1:-1] for part in pattern.split("/") if part.startswith("{")}


def test_examples_are_what_the_document_allows(wire):
    served = json.loads(wire.send("GET", "/v1/openapi.json").body)
    shown = 0
    for methods in served["paths"].values():
        for described in methods.values():
            for content in described.get("requestBody", {}).get("content", {}).values():
                if "example" in content:
                    whole = content["schema"] | {"components": served["components"]}
                    jsonschema.validate(content["example"], whole)
                    shown += 1
    assert shown > 10


def test_an_operation_has_the_same_id_for_ever():
    assert operation_id("GET", "/v1/policy/revisions/{revision}") == "get_v1_policy_revisions_revision"
    assert operation_id("GET", "/.well-known/jwks.json") == "get_well_known_jwksjson"


def test_it_is_made_of_the_routes_alone():
    routes = [route for door in doors() for route in door.routes]
    assert json.dumps(document(routes), sort_keys=True) == json.dumps(document(routes[::-1]), sort_keys=True)


# --- the deployment against the document ------------------------------------------------------------------------------


class Neighbourhood:
    """One tenant with a person of each kind, and another that none of them may hear of."""

    def __init__(self, wire, operator):
        self.own, self.other = Tenant(wire, operator), Tenant(wire, operator)
        self.other.admin.must("POST", "/v1/policies", {"slug": f"d-{secrets.token_hex(8)}", "module": "package tenant"})
        drafts = self.other.admin.must("GET", "/v1/policies")["drafts"]
        user = self.own.admin.must("POST", "/v1/subjects", {"kind": "user", "slug": "alice"})["id"]
        for subject in (user, self.own.agent_id):
            grant = {"action": "memory", "resource": f"memory/{subject}"}
            self.own.admin.must("POST", f"/v1/subjects/{subject}/grants", grant)
        self.foreign = [self.other.agent_id, self.other.admin_id, self.other.key["id"], drafts[0]["id"]]
        self.foreign += [drafts[0]["slug"]]
        self.hidden = [*self.foreign, self.other.id, self.other.slug]
        self.credentials = {
            "operator": operator.credential,
            "admin": self.own.admin.credential,
            "user": self.own.admin.must("POST", "/v1/keys", {"subject": user})["secret"],
            "agent": self.own.agent.credential,
        }

    def of(self, role):
        """What this role may never read: an operator knows tenants, and nothing that is in them."""
        return self.foreign if role == "operator" else self.hidden


@pytest.fixture(scope="module")
def platform():
    """A deployment of its own: an operator may end keys and tenants that other tests live on."""
    with Platform() as running:
        yield running


@pytest.fixture(scope="module")
def neighbourhood(wire, operator):
    return Neighbourhood(wire, operator)


@pytest.fixture(scope="module")
def schema(platform, wire):
    described = json.loads(wire.send("GET", "/v1/openapi.json").body)
    loaded = schemathesis.openapi.from_dict(described)
    loaded.config.update(base_url=platform.base_url)
    # Only our own links: guessed ones end the caller's own key and suspend its tenant before anything was tried.
    loaded.config.phases.stateful.inference.algorithms = []
    loaded.config.phases.stateful.link_calibration = False
    return loaded


class Caller:
    """Asks as one role, and holds every answer to the document."""

    def __init__(self, neighbourhood, role):
        self.hidden = neighbourhood.of(role)
        self.session = requests.Session()
        self.headers = {"authorization": f"Bearer {neighbourhood.credentials[role]}"}
        self.asked, self.done, self.faults, self.count = set(), set(), [], 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.close()

    def ask(self, case):
        response = case.call(session=self.session, headers=self.headers, timeout=TIMEOUT_S)
        self.hold(case, response)

    def hold(self, case, response):
        self.count += 1
        self.asked.add(case.operation.label)
        if response.status_code < 300:
            self.done.add(case.operation.label)
        try:
            case.validate_response(response, checks=CHECKS)
            for name in self.hidden:
                assert name.encode() not in response.content, f"{case.operation.label} names the neighbour: {name}"
        except BaseException as fault:  # remembered, because what happens only once is reported as something else
            self.faults.append(fault)
            raise


def fuzz(schema, caller, modes, *, derandomize):
    """Ask every operation, with what is allowed and what is not."""
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode, count in modes.items():
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
                continue

            @settings(
                max_examples=count,
                deadline=None,
                database=None,
                derandomize=derandomize,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case):
                caller.ask(case)

            ask()


def walk(schema, caller, *, walks, steps, derandomize):
    """Follow the links: what one reply gives, the next request uses. Nothing is made twice of the same name."""

    class Walk(schema.as_state_machine()):
        def before_call(self, case):
            if isinstance(case.body, dict) and isinstance(case.body.get("slug"), str):
                case.body["slug"] = f"w-{secrets.token_hex(6)}"
            if "Idempotency-Key" in (case.headers or {}):
                case.headers["Idempotency-Key"] = secrets.token_hex(16)

        def get_call_kwargs(self, case):
            return {"headers": caller.headers, "session": caller.session, "timeout": TIMEOUT_S}

        def validate_response(self, response, case, **_):
            caller.hold(case, response)

    with contextlib.suppress(Flaky):  # the deployment remembers, so the same walk may end otherwise the second time
        Walk.run(
            settings=settings(
                max_examples=walks,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                derandomize=derandomize,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
        )
    assert not caller.faults


@pytest.mark.parametrize("role", ROLES)
def test_every_operation_answers_what_it_says(schema, neighbourhood, role):
    with Caller(neighbourhood, role) as caller:
        fuzz(schema, caller, MODES, derandomize=True)
    assert caller.asked == {found.ok().label for found in schema.get_all_operations()}
    assert caller.done


@pytest.mark.parametrize("role", ["operator", "admin"])
def test_what_one_reply_gives_the_next_request_uses(schema, neighbourhood, role):
    with Caller(neighbourhood, role) as caller:
        walk(schema, caller, walks=12, steps=20, derandomize=True)
    assert len(caller.done) >= 8, caller.done


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", ROLES)
def test_every_operation_answers_what_it_says_at_length(schema, neighbourhood, role):
    with Caller(neighbourhood, role) as caller:
        fuzz(schema, caller, {GenerationMode.POSITIVE: 20, GenerationMode.NEGATIVE: 10}, derandomize=False)
        walk(schema, caller, walks=40, steps=40, derandomize=False)
