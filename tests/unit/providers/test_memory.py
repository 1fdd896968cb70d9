"""The memory provider against the port alone: whose memory, which bytes, which labels."""

import hashlib
import json
from types import SimpleNamespace
from typing import Any

import pytest

from partywall.decision.action import Action, ActionType, Resource
from partywall.decision.facts import State, SubjectFacts, TenantFacts
from partywall.decision.labels import Classification, Label, Trust
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call, Remembered
from partywall.decision.principal import Kind, Principal
from partywall.errors import Bug, LimitExceeded, Malformed, NotFound
from partywall.providers.memory.pages import after_of, cursor_of
from partywall.providers.memory.provider import VALUE_LIMIT_BYTES, MemoryProvider
from partywall.wire.ids import ActId, OrganisationId, PermitId, TenantId

TENANT = TenantId("ten_" + "a" * 26)
ME, OTHER, GONE = ("agt_" + letter * 26 for letter in "bcd")
FACTS = TenantFacts(
    id=TENANT,
    slug="acme",
    organisation=OrganisationId("org_" + "a" * 26),
    region="local",
    state=State.ACTIVE,
    revision=1,
    subjects={
        ME: SubjectFacts(id=ME, slug="me", kind=Kind.AGENT),
        OTHER: SubjectFacts(id=OTHER, slug="other", kind=Kind.AGENT),
        GONE: SubjectFacts(id=GONE, slug="gone", kind=Kind.AGENT, state=State.DELETED),
    },
)


class Held:
    """The port, in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str, str], Remembered] = {}
        self.asked: list[tuple[str, str, int]] = []

    def of(self, tenant: TenantId, subject: str, clearance: Classification) -> Any:
        self.asked.append((tenant, subject, int(clearance)))

        async def get(key: str) -> Remembered | None:
            return self.entries.get((tenant, subject, key))

        async def put(key: str, value: bytes, label: Label) -> None:
            self.entries[tenant, subject, key] = Remembered(key=key, value=value, label=label, updated_at_s=1.5)

        async def delete(key: str) -> bool:
            return self.entries.pop((tenant, subject, key), None) is not None

        async def list_(after: str = "", limit: int = 2_000) -> list[Remembered]:
            mine = [entry for (t, s, _), entry in sorted(self.entries.items()) if (t, s) == (tenant, subject)]
            return [entry for entry in mine if entry.key > after][:limit]

        return SimpleNamespace(get=get, put=put, delete=delete, list=list_)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def provider(held: Held) -> MemoryProvider:
    return MemoryProvider(held, clock=lambda: 100.0)


def call(payload: Any, name: str = ME) -> Call:
    return Call(action=ActionType.MEMORY, kind="memory", name=name, payload=payload, trace_id="0" * 32)


def permit(prepared: Any, kind: Kind = Kind.AGENT, clearance: int = 3) -> Permit:
    principal = Principal(
        kind=kind, id=ME, region="local", tenant=TENANT, credential="k", expires_at_s=1e9,
        clearance=Classification(clearance),
    )  # fmt: skip
    return Permit(
        PermitClaims(
            id=PermitId("prm_x"), act=ActId("act_x"), tenant=TENANT, principal=principal,
            action=Action(ActionType.MEMORY, prepared.resource),
            payload_sha256=hashlib.sha256(prepared.payload).digest(), policy_revision="base", trace_id="0" * 32,
            issued_at_s=99.0, expires_at_s=200.0,
        )
    )  # fmt: skip


async def done(provider: MemoryProvider, payload: Any, name: str = ME, **who: Any) -> Any:
    prepared = provider.prepare(call(payload, name), FACTS)
    effect = await provider.perform(permit(prepared, **who), prepared.payload, None)  # type: ignore[arg-type]
    assert isinstance(effect.body, bytes)
    return json.loads(effect.body), effect.label


async def test_what_was_put_is_got_listed_and_deleted(provider: MemoryProvider):
    value = {"note": ["Zürich", 1, 2.5, None, True], "a": {}}
    body, _ = await done(provider, {"operation": "put", "key": "k", "value": value})
    assert body == {"key": "k", "classification": "internal", "trust": "untrusted"}
    body, label = await done(provider, {"operation": "get", "key": "k"})
    assert body["value"] == value
    assert label == Label(tenant=TENANT, trust=Trust.UNTRUSTED)
    body, _ = await done(provider, {"operation": "list"})
    entry = {"key": "k", "classification": "internal", "trust": "untrusted", "updated_at_s": 1.5}
    assert body == {"entries": [entry], "next_cursor": None}
    assert (await done(provider, {"operation": "delete", "key": "k"}))[0] == {"key": "k", "deleted": True}
    assert (await done(provider, {"operation": "delete", "key": "k"}))[0] == {"key": "k", "deleted": False}
    with pytest.raises(NotFound):
        await done(provider, {"operation": "get", "key": "k"})


async def test_the_resource_is_the_owners_id_whatever_it_was_called(provider: MemoryProvider, held: Held):
    for payload, name, owner in (
        ({"operation": "list"}, ME, ME),
        ({"operation": "list"}, "other", OTHER),
        ({"operation": "list", "owner": OTHER}, ME, OTHER),
        ({"operation": "list", "owner": "other"}, ME, OTHER),
    ):
        prepared = provider.prepare(call(payload, name), FACTS)
        assert str(prepared.resource) == f"pw:local:{TENANT}:memory/{owner}"
        await provider.perform(permit(prepared), prepared.payload, None)  # type: ignore[arg-type]
        assert held.asked[-1][:2] == (TENANT, owner)


@pytest.mark.parametrize("name", ["self", "agt_" + "z" * 26, "gone", GONE, "", "*", "../other", "Other"])
def test_who_is_not_in_the_cell_is_not_found(provider: MemoryProvider, name: str):
    with pytest.raises(NotFound):
        provider.prepare(call({"operation": "list"}, name), FACTS)


@pytest.mark.parametrize(
    "payload",
    [
        None, [], "get", {}, {"operation": "drop"}, {"operation": "get"}, {"operation": "get", "key": ""},
        {"operation": "get", "key": "a/b"}, {"operation": "get", "key": "x" * 129}, {"operation": "get", "key": "k\n"},
        {"operation": "get", "key": "k", "tenant": "ten_x"}, {"operation": "get", "key": 7},
        {"operation": "put", "key": "k"}, {"operation": "put", "key": "k", "value": 1, "classification": 4},
        {"operation": "put", "key": "k", "value": 1, "classification": True},
        {"operation": "put", "key": "k", "value": 1, "trust": 1}, {"operation": "list", "key": "k"},
        {"operation": "put", "key": "k", "value": "\ud800"}, {"operation": "put", "key": "k", "value": {"\udfff": 1}},
        {"operation": "put", "key": "k", "value": float("nan")}, {"operation": "put", "key": "k", "value": 2**63},
        {"operation": "put", "key": "k", "value": [float("inf")]},
        {"operation": "list", "owner": 7}, {"operation": "list", "owner": ["x"]},
    ],
)  # fmt: skip
def test_anything_else_is_malformed(provider: MemoryProvider, payload: Any):
    with pytest.raises(Malformed):
        provider.prepare(call(payload), FACTS)


def test_sizes_are_bounded(provider: MemoryProvider):
    fits = "x" * (VALUE_LIMIT_BYTES - 2)
    provider.prepare(call({"operation": "put", "key": "k", "value": fits}), FACTS)
    with pytest.raises(LimitExceeded):
        provider.prepare(call({"operation": "put", "key": "k", "value": fits + "x"}), FACTS)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Malformed):
        provider.prepare(call({"operation": "put", "key": "k", "value": deep}), FACTS)
    while isinstance(deep, list):
        deep = deep.pop()  # one level after the other: freeing 100,000 at once would recurse


async def test_an_agents_words_stay_untrusted_and_a_users_own_are_trusted(provider: MemoryProvider):
    for kind, trust in ((Kind.AGENT, "untrusted"), (Kind.USER, "trusted"), (Kind.TENANT_ADMIN, "trusted")):
        body, _ = await done(provider, {"operation": "put", "key": "k", "value": 1}, kind=kind)
        assert body["trust"] == trust
        _, label = await done(provider, {"operation": "get", "key": "k"})
        assert label.trust.name.lower() == trust


async def test_nobody_writes_above_its_clearance(provider: MemoryProvider, held: Held):
    payload = {"operation": "put", "key": "k", "value": 1, "classification": 2}
    with pytest.raises(Malformed):
        await done(provider, payload, clearance=1)
    assert held.entries == {}
    assert (await done(provider, payload, clearance=2))[1].classification is Classification.CONFIDENTIAL


async def test_a_listing_carries_the_strictest_label(provider: MemoryProvider):
    await done(provider, {"operation": "put", "key": "a", "value": 1, "classification": 0})
    await done(provider, {"operation": "put", "key": "b", "value": 1, "classification": 3})
    assert (await done(provider, {"operation": "list"}))[1].classification is Classification.RESTRICTED


async def test_a_permit_works_once_for_its_own_bytes(provider: MemoryProvider):
    prepared = provider.prepare(call({"operation": "list"}), FACTS)
    given = permit(prepared)
    await provider.perform(given, prepared.payload, None)  # type: ignore[arg-type]
    with pytest.raises(Bug):
        await provider.perform(given, prepared.payload, None)  # type: ignore[arg-type]
    other = provider.prepare(call({"operation": "delete", "key": "k"}), FACTS)
    with pytest.raises(Bug):
        await provider.perform(permit(prepared), other.payload, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "payload",
    [
        {"operation": "put", "key": "k", "value": "x" * (VALUE_LIMIT_BYTES + 1), "owner": "other"},
        {"operation": "put", "key": "../k", "value": 1, "owner": "other"},
        {"operation": "burn", "owner": "other"},
    ],
)
def test_a_fault_of_form_says_whose_memory_it_was_about(provider: MemoryProvider, payload: Any) -> None:
    """So that the wall judges first whether the caller may know of that subject."""
    with pytest.raises((Malformed, LimitExceeded)) as caught:
        provider.prepare(call(payload), FACTS)
    assert getattr(caught.value.about, "id", None) == OTHER
    with pytest.raises(NotFound):
        provider.prepare(call(payload | {"owner": "nobody"}), FACTS)


def test_a_fault_of_form_without_a_readable_owner_is_about_ones_own(provider: MemoryProvider) -> None:
    for payload in ("text", None, {"operation": "get", "key": "k", "owner": 7}):
        with pytest.raises(Malformed) as caught:
            provider.prepare(call(payload), FACTS)
        assert getattr(caught.value.about, "id", None) == ME


async def test_pages_of_a_memory_join_to_all_of_it_and_their_cursors_open_no_other(provider: MemoryProvider):
    for number in range(5):
        await done(provider, {"operation": "put", "key": f"k{number}", "value": number})
    seen, cursor = [], None
    while True:
        body, _ = await done(provider, {"operation": "list", "limit": 2} | ({"cursor": cursor} if cursor else {}))
        seen += [entry["key"] for entry in body["entries"]]
        cursor, before = body["next_cursor"], cursor
        if cursor is None:
            break
    assert seen == [f"k{number}" for number in range(5)]
    for bad in (before + "A", before[:-1], "A" * len(before), "A"):
        with pytest.raises(Malformed):
            await done(provider, {"operation": "list", "cursor": bad})
    mine = Resource("local", TENANT, "memory", "agt_" + "a" * 26)
    theirs = Resource("local", TENANT, "memory", "agt_" + "b" * 26)
    with pytest.raises(Malformed):
        after_of(theirs, cursor_of(mine, "k"))
