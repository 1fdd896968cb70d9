"""Credentials become principals; every refusal looks the same; nothing cached outlives the directory's word."""

import secrets
import timeit

import msgspec
import pytest
from tests.credentials import NOW, World, new

from partywall.decision.action import ActionType
from partywall.decision.facts import State
from partywall.decision.labels import Classification
from partywall.decision.principal import Kind
from partywall.errors import Unavailable
from partywall.gateway import authenticate


@pytest.fixture
def world():
    return World()


def test_an_api_key_is_its_subject(world):
    key, text = world.new_key(scopes=frozenset({ActionType.TOOL_CALL}))
    principal = world.door.authenticate(text)
    assert (principal.kind, principal.id, principal.tenant) == (Kind.AGENT, world.agent, world.tenant)
    assert (principal.credential, principal.expires_at_s) == (key.id, NOW + 3600)
    assert principal.scopes == {ActionType.TOOL_CALL}
    assert principal.clearance is Classification.CONFIDENTIAL
    assert world.door.authenticate(text) is principal


def test_a_key_for_a_user_acts_with_the_smaller_clearance(world):
    _key, text = world.new_key(on_behalf_of=world.user)
    principal = world.door.authenticate(text)
    assert (principal.id, principal.on_behalf_of) == (world.agent, world.user)
    assert principal.clearance is Classification.INTERNAL


def test_an_operator_has_no_tenant(world):
    _key, text = world.new_key(kind=Kind.PLATFORM_OPERATOR, subject=new("usr"), tenant=None)
    assert world.door.authenticate(text).tenant is None


def test_a_token_is_its_subject(world):
    claims = world.claims(scp=["memory"], ses=new("ses"), clr=1)
    principal = world.door.authenticate(world.token(claims))
    assert (principal.kind, principal.id, principal.tenant) == (Kind.AGENT, world.agent, world.tenant)
    assert (principal.credential, principal.session) == (claims["jti"], claims["ses"])
    assert (principal.scopes, principal.clearance) == ({ActionType.MEMORY}, Classification.INTERNAL)


def test_a_token_of_an_agent_for_a_user(world):
    principal = world.door.authenticate(world.token(world.claims(sub=world.user, act={"sub": world.agent})))
    assert (principal.kind, principal.id, principal.on_behalf_of) == (Kind.AGENT, world.agent, world.user)
    assert principal.clearance is Classification.INTERNAL


@pytest.mark.parametrize("text", [None, "", "x", "pw_", "a.b.c", "..", "Bearer x", "é" * 10, "pw_" + "a" * 5000])
def test_what_is_no_credential(world, text):
    world.refuses(text)


def test_stale_facts_answer_nobody(world):
    _key, text = world.new_key()
    world.door.authenticate(text)
    world.facts.age = 5.1
    with pytest.raises(Unavailable):
        world.door.authenticate(text)
    with pytest.raises(Unavailable):
        world.door.authenticate("nonsense")
    world.facts.age = 0.0
    world.door.authenticate(text)


def test_a_revoked_key_is_refused_at_once(world):
    key, text = world.new_key()
    world.door.authenticate(text)
    world.facts.revoke(key.id)
    world.refuses(text)


@pytest.mark.parametrize("what", ["jti", "sub", "ses", "agent"])
def test_a_revoked_token_session_or_person_is_refused_at_once(world, what):
    claims = world.claims(sub=world.user, act={"sub": world.agent}, ses=new("ses"))
    token = world.token(claims)
    world.door.authenticate(token)
    world.facts.revoke(world.agent if what == "agent" else claims[what])
    world.refuses(token)


def test_a_withdrawn_signing_key_ends_its_tokens(world):
    token = world.token()
    world.door.authenticate(token)
    world.facts.public.clear()
    world.facts.revision += 1
    world.refuses(token)


def test_a_restored_database_under_the_same_number(world):
    key, text = world.new_key()
    world.door.authenticate(text)
    del world.facts.keys[key.id]
    world.facts.restored()
    world.refuses(text)


@pytest.mark.parametrize("change", [{"state": State.SUSPENDED}, {"state": State.DELETED}, {"region": "elsewhere"}])
def test_only_an_active_tenant_of_this_region(world, change):
    _key, text = world.new_key()
    token = world.token()
    world.door.authenticate(text)
    world.door.authenticate(token)
    world.set_tenant(**change)
    world.refuses(text)
    world.refuses(token)
    world.set_tenant()
    world.door.authenticate(text)


def test_neither_cache_outlives_the_credential(world):
    _key, text = world.new_key(expires_at_s=NOW + 10)
    token = world.token(world.claims(exp=int(NOW) + 10))
    world.door.authenticate(text)
    world.door.authenticate(token)
    world.now = NOW + 10
    world.refuses(text)
    world.refuses(token)


def test_a_narrowed_key_narrows_the_cached_principal(world):
    key, text = world.new_key()
    assert world.door.authenticate(text).scopes is None
    world.facts.keys[key.id] = msgspec.structs.replace(key, scopes=frozenset())
    world.facts.revision += 1
    assert world.door.authenticate(text).scopes == frozenset()


@pytest.mark.parametrize(
    "record",
    [
        {"kind": Kind.SYSTEM},
        {"kind": Kind.PLATFORM_OPERATOR},
        {"tenant": None},
        {"kind": Kind.USER},
        {"subject": "system:sweeper"},
        {"on_behalf_of": "agt_" + "a" * 26},
    ],
)
def test_a_bad_record_gives_no_power(world, record):
    _key, text = world.new_key(**record)
    world.refuses(text)


def test_the_cache_is_bounded_and_takes_no_failures(world, monkeypatch):
    monkeypatch.setattr(authenticate, "CACHE_LIMIT", 4)
    texts = [world.new_key()[1] for _ in range(8)]
    for text in texts:
        world.door.authenticate(text)
    assert len(world.door._cache) == 4
    for _ in range(20):
        world.refuses(f"pw_{'a' * 26}_{secrets.token_urlsafe(32)}")
    assert len(world.door._cache) == 4
    world.door.authenticate(texts[0])


def test_the_cached_path_is_short(world):
    """A generous bound: it catches a signature check or a scan on the cached path, not a slow machine."""
    token = world.token()
    world.door.authenticate(token)
    best_s = min(timeit.repeat(lambda: world.door.authenticate(token), number=2000, repeat=5)) / 2000
    assert best_s < 30e-6
