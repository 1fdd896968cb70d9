"""The issuer from its first start to a tenant at work, over real databases, through signed permits only."""

import asyncio
import base64
import hashlib
import json
import stat
import time
import warnings

import asyncpg
import joserfc.errors
import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.issuer_fixture import REGION, Who, deployment, eventually, new

from partywall.control import collections
from partywall.control.database import STATEMENT_TIMEOUT_S
from partywall.decision.action import ActionType
from partywall.decision.facts import State
from partywall.decision.manifest import manifest_digest, tool_digest
from partywall.decision.principal import Kind
from partywall.errors import Conflict, Denied, LimitExceeded, Malformed, NotFound, Unauthenticated, Unavailable
from partywall.gateway.authenticate import Authenticator
from partywall.store.leaf import LEAVES_LIMIT
from partywall.wire import operations as ops
from partywall.wire.jwks import jwks

TOOLS = [
    ops.ToolSpec(
        name="send_money",
        description="Sends money.",
        input_schema={"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]},
        annotations={"destructiveHint": True},
    ),
    ops.ToolSpec(name="get_balance", input_schema={"type": "object"}, output_schema={"type": "object"}),
]


@pytest.fixture
async def house(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as running:
        yield running


async def test_a_tenant_comes_to_life(house):
    worker, directory = house.worker, await house.directory()
    operator, key = await house.first_operator()
    assert key["secret"].startswith(f"pw_{key['id'].removeprefix('key_')}_")

    tenant = await worker.perform(operator, ops.TenantCreate(slug="acme", organisation="acme-corp"))
    assert {name: tenant[name] for name in ("slug", "organisation", "region", "state", "tier")} == {
        "slug": "acme",
        "organisation": "acme-corp",
        "region": REGION,
        "state": "active",
        "tier": "pool",
    }
    made = await worker.perform(operator, ops.AdminCreate(tenant=tenant["id"], slug="root"))
    admin = Who(Kind.TENANT_ADMIN, made["admin"]["id"], tenant["id"], made["key"]["id"])
    model = await worker.perform(
        operator,
        ops.ModelCreate(tenant=tenant["id"], slug="smollm2", upstream="http://127.0.0.1:9/v1", upstream_model="smol"),
    )
    server = await worker.perform(admin, ops.ServerRegister(slug="bank", url="http://127.0.0.1:9/mcp", tools=TOOLS))
    assert server["tools"] == ["get_balance", "send_money"]
    agent = await worker.perform(
        admin,
        ops.SubjectCreate(
            kind="agent",
            slug="teller",
            clearance=2,
            grants=[
                ops.GrantSpec(action="model.request", resource="model/smollm2"),
                ops.GrantSpec(action="tool.call", resource="tool/bank/send_money", expires_at_s=time.time() + 600),
                ops.GrantSpec(action="tool.call", resource="tool/bank/*"),
                ops.GrantSpec(action="memory", resource="memory/self"),
            ],
        ),
    )
    assert [grant["resource"] for grant in agent["grants"]] == [
        f"memory/{agent['id']}",
        f"model/{model['id']}",
        f"tool/{server['id']}/*",
        f"tool/{server['id']}/send_money",
    ]
    policy = await worker.perform(admin, ops.PolicyActivate(module=POLICY))
    await directory.refresh()

    facts = directory.tenant(tenant["id"])
    assert facts.state is State.ACTIVE
    assert facts.revision == directory.revision
    assert facts.policy.module == POLICY
    assert facts.policy.revision == policy["revision"] == f"1-{hashlib.sha256(POLICY.encode()).hexdigest()[:12]}"
    assert facts.models[model["id"]].upstream == "http://127.0.0.1:9/v1"
    assert {grant.action for grant in facts.subjects[agent["id"]].grants} == {
        ActionType.MODEL_REQUEST,
        ActionType.TOOL_CALL,
        ActionType.MEMORY,
    }
    registered = facts.servers[server["id"]]
    digests = {
        tool.name: tool_digest(tool.name, tool.description, tool.input_schema, tool.output_schema, tool.annotations)
        for tool in TOOLS
    }
    assert {name: tool.digest for name, tool in registered.tools.items()} == digests
    assert registered.manifest == manifest_digest(digests)
    assert json.loads(registered.tools["send_money"].schema) == TOOLS[0].input_schema


POLICY = """package tenant

import rego.v1
"""


async def test_a_policy_is_activated_shown_and_rolled_back(house):
    worker = house.worker
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    assert (await worker.perform(admin, ops.PolicyShow()))["revision"] == "base"
    first = await worker.perform(admin, ops.PolicyActivate(module=POLICY))
    second = await worker.perform(admin, ops.PolicyActivate(module=POLICY + "\n# two\n"))
    again = await worker.perform(admin, ops.PolicyActivate(module=POLICY + "\n# two\n"))
    assert (first["number"], second["number"], again) == (1, 2, second)
    with pytest.raises(Malformed):
        await worker.perform(admin, ops.PolicyActivate(module="package tenant\nbad {"))
    third = await worker.perform(admin, ops.PolicyRollback(revision=first["revision"]))
    shown = await worker.perform(admin, ops.PolicyShow())
    assert shown["revision"] == third["revision"] == "3-" + first["revision"].partition("-")[2]
    assert shown["module"] == POLICY
    assert [entry["revision"] for entry in shown["history"]] == [
        third["revision"],
        second["revision"],
        first["revision"],
    ]
    for unknown in ("base", "9-" + "0" * 12, "1-" + "0" * 12, "", "1", "-1-x", "1e3-x", "9" * 40 + "-x"):
        with pytest.raises(NotFound):
            await worker.perform(admin, ops.PolicyRollback(revision=unknown))


async def test_a_token_is_what_the_authenticator_takes(house):
    worker, directory = house.worker, await house.directory()
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a", clearance=2))
    user = await worker.perform(admin, ops.SubjectCreate(kind="user", slug="u", clearance=1))
    session = new("ses")
    made = await worker.perform(
        admin,
        ops.TokenCreate(subject=agent["id"], scopes=["model.request"], session=session, on_behalf_of=user["id"]),
    )
    assert made["token_type"] == "Bearer"
    assert made["expires_in"] == 900
    await directory.refresh()
    keys = KeySet.import_key_set(jwks(directory.verification_keys()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", joserfc.errors.SecurityWarning)
        token = jwt.decode(made["access_token"], keys, algorithms=["EdDSA"])
    assert token.header["typ"] == "at+jwt"
    issued_at_s = token.claims["iat"]
    assert token.claims == {
        "iss": "partywall/local",
        "aud": "partywall",
        "sub": user["id"],
        "act": {"sub": agent["id"]},
        "iat": issued_at_s,
        "exp": issued_at_s + 900,
        "jti": made["id"],
        "region": "local",
        "ten": admin.tenant,
        "knd": "agent",
        "scp": ["model.request"],
        "ses": session,
        "clr": 1,
    }
    principal = Authenticator(directory, region=REGION, clock=time.time).authenticate(made["access_token"])
    assert (principal.id, principal.on_behalf_of, principal.session) == (agent["id"], user["id"], session)
    assert principal.scopes == {ActionType.MODEL_REQUEST}


async def test_keys_open_the_door_until_revoked_and_workers_know_within_two_seconds(house):
    worker, directory = house.worker, await house.directory()
    authenticator = Authenticator(directory, region=REGION, clock=time.time)
    operator, operator_key = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    user = await worker.perform(admin, ops.SubjectCreate(kind="user", slug="u"))
    session = new("ses")
    key = await worker.perform(admin, ops.KeyCreate(subject=agent["id"]))
    delegated = await worker.perform(admin, ops.KeyCreate(subject=agent["id"], on_behalf_of=user["id"]))
    token = await worker.perform(admin, ops.TokenCreate(subject=user["id"]))
    bound = await worker.perform(admin, ops.TokenCreate(subject=agent["id"], session=session))
    agents = await worker.perform(admin, ops.TokenCreate(subject=agent["id"]))
    await directory.refresh()

    def refused(credential):
        try:
            authenticator.authenticate(credential)
        except Unauthenticated:
            return True
        return False

    for credential in (operator_key["secret"], key["secret"], delegated["secret"], agents["access_token"]):
        assert not refused(credential)

    async def revoke(credential_id, *secrets, who=admin):
        assert await worker.perform(who, ops.Revoke(credential=credential_id)) == {"revoked": credential_id}
        assert await eventually(lambda: all(refused(secret) for secret in secrets)) < 2
        assert await worker.perform(who, ops.Revoke(credential=credential_id)) == {"revoked": credential_id}

    await revoke(key["id"], key["secret"])
    assert not refused(bound["access_token"])
    await revoke(session, bound["access_token"])
    with pytest.raises(NotFound):
        await worker.perform(admin, ops.TokenCreate(subject=agent["id"], session=session))
    await revoke(token["id"], token["access_token"])
    assert not refused(delegated["secret"])
    await revoke(user["id"], delegated["secret"])
    assert not refused(agents["access_token"])
    await revoke(agent["id"], agents["access_token"])
    assert directory.is_revoked(agent["id"])
    assert agent["id"] not in directory.tenant(admin.tenant).subjects
    listed = (await worker.perform(admin, ops.KeyList()))["keys"]
    assert {entry["id"]: entry["revoked"] for entry in listed if entry["subject"] == agent["id"]} == {
        key["id"]: True,
        delegated["id"]: True,
    }
    await worker.perform(operator, ops.Revoke(credential=operator_key["id"]))
    await eventually(lambda: refused(operator_key["secret"]))
    with pytest.raises(Denied):
        await worker.perform(operator, ops.Revoke(credential=operator_key["id"]))


async def test_suspension_reaches_the_directory_and_ends_the_right_to_ask(house):
    worker, directory = house.worker, await house.directory()
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    itself = await house.member(admin, agent)
    await worker.perform(admin, ops.SubjectState(subject=agent["id"], state="suspended"))
    with pytest.raises(Conflict):
        await worker.perform(admin, ops.TokenCreate(subject=agent["id"]))
    with pytest.raises(Conflict):
        await worker.perform(admin, ops.KeyCreate(subject=agent["id"]))
    with pytest.raises(Denied):
        await worker.perform(itself, ops.TokenCreate(subject=agent["id"]))
    await eventually(
        lambda: (
            (facts := directory.tenant(admin.tenant)) is not None
            and facts.subjects[agent["id"]].state is State.SUSPENDED
        )
    )
    await worker.perform(operator, ops.TenantState(tenant=admin.tenant, state="suspended"))
    await eventually(lambda: directory.tenant(admin.tenant).state is State.SUSPENDED)
    with pytest.raises(Denied):
        await worker.perform(admin, ops.SubjectList())
    await worker.perform(operator, ops.TenantState(tenant=admin.tenant, state="active"))
    await worker.perform(admin, ops.SubjectState(subject=agent["id"], state="active"))
    assert (await worker.perform(admin, ops.TokenCreate(subject=agent["id"])))["id"]


async def test_an_agent_gets_tokens_for_itself_only(house):
    worker = house.worker
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    other = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="b"))
    user = await worker.perform(admin, ops.SubjectCreate(kind="user", slug="u"))
    itself = await house.member(admin, agent)
    session = new("ses")
    assert (await worker.perform(itself, ops.TokenCreate(subject=agent["id"], session=session)))["id"]
    for refused in (
        ops.TokenCreate(subject=other["id"]),
        ops.TokenCreate(subject=admin.id),
    ):
        with pytest.raises(NotFound):
            await worker.perform(itself, refused)
    with pytest.raises(NotFound):  # the session is the first agent's
        await worker.perform(admin, ops.TokenCreate(subject=other["id"], session=session))
    with pytest.raises(Malformed):  # a user acts for nobody
        await worker.perform(admin, ops.TokenCreate(subject=user["id"], on_behalf_of=admin.id))
    for somebody in (user["id"], other["id"], new("usr")):  # for whom it acts is the admin's to say
        with pytest.raises(Denied):
            await worker.perform(itself, ops.TokenCreate(subject=agent["id"], on_behalf_of=somebody))


async def test_a_token_is_at_most_what_asked_for_it(house):
    worker = house.worker
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    user = await worker.perform(admin, ops.SubjectCreate(kind="user", slug="u"))
    carried = ["memory", "operator.token"]
    scoped = await house.member(admin, agent, scopes=carried, on_behalf_of=user["id"], life_s=300.0)
    subject, session = agent["id"], new("ses")

    first = await worker.perform(scoped, ops.TokenCreate(subject=subject, session=session))
    claims = payload_of(first["access_token"])
    assert (claims["scp"], claims["sub"], claims["act"]) == (carried, user["id"], {"sub": subject})
    assert claims["exp"] - claims["iat"] <= 300
    for wider in (["model.request"], ["memory", "tool.call"]):
        with pytest.raises(Denied):
            await worker.perform(scoped, ops.TokenCreate(subject=subject, scopes=wider))

    holder = msgspec.structs.replace(scoped, credential=first["id"])
    second = await worker.perform(holder, ops.TokenCreate(subject=subject, scopes=["memory"]))
    narrowed = payload_of(second["access_token"])
    assert (narrowed["scp"], narrowed["ses"], narrowed["act"]) == (["memory"], session, {"sub": subject})
    assert narrowed["exp"] <= claims["exp"]
    for other in (ops.TokenCreate(subject=subject, session=new("ses")), ops.TokenCreate(subject=subject, scopes=["x"])):
        with pytest.raises(Denied):
            await worker.perform(holder, other)

    clerk = msgspec.structs.replace(
        admin, credential=(await worker.perform(admin, ops.KeyCreate(subject=admin.id, scopes=["operator.key"])))["id"]
    )
    with pytest.raises(Denied):
        await worker.perform(clerk, ops.KeyCreate(subject=admin.id, scopes=["operator.policy"]))
    assert (await worker.perform(clerk, ops.KeyCreate(subject=admin.id)))["scopes"] == ["operator.key"]


async def test_revoking_a_credential_ends_all_that_descends_from_it(house):
    worker, directory = house.worker, await house.directory(poll_s=60)
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    holder, lineage = await house.member(admin, agent), []
    again = ops.TokenCreate(subject=agent["id"])
    for _ in range(8):
        lineage.append((await worker.perform(holder, again))["id"])
        holder = msgspec.structs.replace(holder, credential=lineage[-1])
    with pytest.raises(LimitExceeded):
        await worker.perform(holder, again)
    key = (await worker.perform(admin, ops.KeyList()))["keys"][-1]["id"]
    beside = (await worker.perform(msgspec.structs.replace(holder, credential=key), again))["id"]
    await worker.perform(admin, ops.Revoke(credential=lineage[3]))
    await directory.refresh()
    assert [directory.is_revoked(token) for token in lineage] == [False] * 3 + [True] * 5
    with pytest.raises(Denied):
        await worker.perform(msgspec.structs.replace(holder, credential=lineage[5]), again)
    await worker.perform(admin, ops.Revoke(credential=key))
    await directory.refresh()
    assert all(directory.is_revoked(token) for token in (*lineage, beside))


async def test_no_token_escapes_a_revocation_that_it_races(house):
    worker, directory = house.worker, await house.directory(poll_s=60)
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    for revoked in ("key", "token", "subject"):
        holder = await house.member(admin, agent)
        key = holder.credential
        if revoked == "token":
            token = await worker.perform(holder, ops.TokenCreate(subject=agent["id"]))
            holder = msgspec.structs.replace(holder, credential=token["id"])
        work = [worker.perform(holder, ops.TokenCreate(subject=agent["id"])) for _ in range(30)]
        target = {"key": key, "token": holder.credential, "subject": agent["id"]}[revoked]
        work.insert(10, worker.perform(admin, ops.Revoke(credential=target)))
        results = await asyncio.gather(*work, return_exceptions=True)
        issued = [result["id"] for result in results if isinstance(result, dict) and "access_token" in result]
        assert {type(result) for result in results} == {dict, Denied}
        await directory.refresh()
        assert issued
        assert len(issued) < 30
        assert all(directory.is_revoked(token) for token in issued)


def payload_of(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


async def test_the_bootstrap_token_works_once_even_when_two_race(house):
    path = house.home.issuer / "bootstrap-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    token = path.read_text()
    for wrong in ("", token[:-1], token + "x", token.swapcase(), "pwb_" + "A" * 43):
        with pytest.raises(Unauthenticated):
            await house.worker.bootstrap(wrong)
    results = await asyncio.gather(*(house.worker.bootstrap(token) for _ in range(8)), return_exceptions=True)
    won = [result for result in results if isinstance(result, dict)]
    assert len(won) == 1
    assert all(isinstance(result, Unauthenticated) for result in results if result not in won)
    assert not path.exists()
    with pytest.raises(Unauthenticated):
        await house.worker.bootstrap(token)


async def test_a_restart_keeps_a_pending_token_and_offers_none_to_a_deployment_in_use(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        first = (house.home.issuer / "bootstrap-token").read_text()
    async with deployment(short_folder, issuer_databases) as house:
        assert (house.home.issuer / "bootstrap-token").read_text() == first
        (house.home.issuer / "bootstrap-token").unlink()
    async with deployment(short_folder, issuer_databases) as house:
        second = (house.home.issuer / "bootstrap-token").read_text()
        assert second != first
        with pytest.raises(Unauthenticated):
            await house.worker.bootstrap(first)
        operator, key = await house.first_operator()
    async with deployment(short_folder, issuer_databases) as house:
        assert not (house.home.issuer / "bootstrap-token").exists()
        await house.worker.perform(operator, ops.Revoke(credential=key["id"]))
    async with deployment(
        short_folder, issuer_databases
    ) as house:  # the last operator key is gone: there is a way back in
        again, _ = await house.first_operator()
        assert again.id == operator.id


async def test_an_expired_bootstrap_token_is_refused(short_folder, issuer_databases):
    from partywall.settings import IssuerSettings

    async with deployment(short_folder, issuer_databases, issuer=IssuerSettings(bootstrap_s=0.05)) as house:
        token = (house.home.issuer / "bootstrap-token").read_text()
        await asyncio.sleep(0.1)
        with pytest.raises(Unauthenticated):
            await house.worker.bootstrap(token)
    async with deployment(short_folder, issuer_databases) as house:
        assert (house.home.issuer / "bootstrap-token").read_text() != token


async def test_no_secret_is_stored_or_logged(house):
    worker = house.worker
    bootstrap_token = (house.home.issuer / "bootstrap-token").read_text()
    operator, operator_key = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    key = await worker.perform(admin, ops.KeyCreate(subject=agent["id"]))
    token = await worker.perform(admin, ops.TokenCreate(subject=agent["id"]))
    dump = await whole_text(house.databases.control_owner)
    assert agent["id"] in dump
    needles = {
        "bootstrap token": bootstrap_token,
        "operator secret": operator_key["secret"][30:],
        "agent secret": key["secret"][30:],
        "token signature": token["access_token"].rsplit(".", 1)[1],
        "token key": worker.enrolled.token_key.hex(),
    }
    for path in house.home.issuer.glob("*.key"):
        needles[path.name] = path.read_bytes().hex()
    data = await whole_text(house.databases.data_owner)
    for name, needle in needles.items():
        for place in (dump, data, house.lines.getvalue()):
            assert needle not in place, name
            assert needle.encode().hex() not in place, name


async def whole_text(dsn):
    """Every row of every table of a database, as text."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "select schemaname, tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')"
        )
        rows = []
        for table in tables:
            name = f'"{table["schemaname"]}"."{table["tablename"]}"'
            rows += await connection.fetch(f"select t::text as line from {name} t")
        return "\n".join(row["line"] for row in rows)
    finally:
        await connection.close()


async def test_limits_and_shapes_are_refused_without_a_trace(house):
    worker, directory = house.worker, await house.directory()
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    await directory.refresh()
    before = directory.revision
    grant = ops.GrantSpec(action="memory", resource="memory/self")
    malformed = [
        ops.GrantsSet(subject=agent["id"], grants=[grant, grant]),
        ops.GrantsSet(subject=agent["id"], grants=[ops.GrantSpec(action="model.request", resource="memory/self")]),
        ops.GrantsSet(subject=agent["id"], grants=[ops.GrantSpec(action="operator.key", resource="key/a")]),
        ops.GrantsSet(subject=agent["id"], grants=[ops.GrantSpec(action="grant", resource="subject/a")]),
        ops.GrantsSet(subject=agent["id"], grants=[ops.GrantSpec(action="no.such", resource="model/a")]),
        ops.GrantsSet(
            subject=agent["id"], grants=[ops.GrantSpec(action="memory", resource="memory/self", expires_at_s=1.0)]
        ),
        ops.KeyCreate(subject=agent["id"], scopes=["no.such"]),
        ops.KeyCreate(subject=agent["id"], life_s=0),
        ops.KeyCreate(subject=agent["id"], life_s=1e12),
        ops.TokenCreate(subject=agent["id"], scopes=["root"]),
        ops.ServerRegister(slug="s", url="http://h/", tools=[TOOLS[0], TOOLS[0]]),
    ]
    for operation in malformed:
        with pytest.raises(Malformed):
            await worker.perform(admin, operation)
    for resource in ("model/*", "model/none", "tool/none/x", "tool/none/*", "memory/none", "memory/*", "model/a/b"):
        action = {"model": "model.request", "tool": "tool.call", "memory": "memory"}[resource.partition("/")[0]]
        with pytest.raises(NotFound):
            await worker.perform(
                admin, ops.GrantsSet(subject=agent["id"], grants=[ops.GrantSpec(action=action, resource=resource)])
            )
    with pytest.raises(Conflict) as taken:
        await worker.perform(admin, ops.SubjectCreate(kind="user", slug="a"))
    assert taken.value.public == "that name is taken"
    with pytest.raises(Conflict):
        await worker.perform(operator, ops.TenantCreate(slug="acme"))
    await directory.refresh()
    assert directory.revision == before


async def test_live_tokens_of_a_subject_are_bounded(house, monkeypatch):
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    monkeypatch.setattr("partywall.control.tokens.LIVE_LIMIT", 3)
    for _ in range(3):
        await house.worker.perform(admin, ops.TokenCreate(subject=admin.id))
    with pytest.raises(LimitExceeded):
        await house.worker.perform(admin, ops.TokenCreate(subject=admin.id))


async def test_concurrent_changes_are_one_after_the_other(house):
    worker, directory = house.worker, await house.directory(poll_s=0.01)
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    slugs = [f"s{n % 20}" for n in range(60)]
    results = await asyncio.gather(
        *(worker.perform(admin, ops.SubjectCreate(kind="agent", slug=slug)) for slug in slugs), return_exceptions=True
    )
    made = [result for result in results if isinstance(result, dict)]
    assert sorted(subject["slug"] for subject in made) == sorted(set(slugs))
    assert all(isinstance(result, Conflict) for result in results if not isinstance(result, dict))
    await directory.refresh()
    agents = {s.id for s in directory.tenant(admin.tenant).subjects.values() if s.kind is Kind.AGENT}
    assert agents == {subject["id"] for subject in made}


async def test_no_tenant_has_more_than_its_share_of_the_collections_that_a_database_can_hold(house, monkeypatch):
    assert collections.COLLECTIONS_LIMIT * 2 <= LEAVES_LIMIT / 4
    monkeypatch.setattr(collections, "COLLECTIONS_LIMIT", 0)
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    await house.worker.perform(operator, _embedder(admin.tenant))
    with pytest.raises(LimitExceeded, match="collections a tenant"):
        await house.worker.perform(admin, ops.CollectionCreate(slug="docs", model="embedder"))


async def test_a_collection_in_use_is_not_deleted_and_holds_up_no_other_change(house):
    operator, _ = await house.first_operator()
    admin, other = await house.tenant(operator, "acme"), await house.tenant(operator, "other")
    await house.worker.perform(operator, _embedder(admin.tenant))
    made = await house.worker.perform(admin, ops.CollectionCreate(slug="docs", model="embedder"))
    delete = ops.CollectionDelete(collection=made["id"])
    index = await asyncpg.connect(house.databases.data_owner)
    try:
        async with index.transaction():
            leaf = "vec_" + made["id"].removeprefix("col_")
            await index.execute(f"lock table leaf.{leaf} in share update exclusive mode")  # as `create index` does
            deleting = asyncio.create_task(house.worker.perform(admin, delete))
            await asyncio.sleep(0.05)
            async with asyncio.timeout(STATEMENT_TIMEOUT_S / 2):
                await house.worker.perform(other, ops.SubjectCreate(kind="agent", slug="a"))
                with pytest.raises(Unavailable) as busy:
                    await deleting
        assert busy.value.code == "collection-busy"
        assert await house.worker.perform(admin, delete) == {"deleted": made["id"]}
    finally:
        await index.close()


def _embedder(tenant):
    return ops.ModelCreate(
        tenant=tenant,
        slug="embedder",
        upstream="http://127.0.0.1:9/v1",
        upstream_model="e",
        purpose="embeddings",
        dimensions=3,
    )
