"""Sign-ins that last: refresh tokens are good once, and one that comes twice ends everything."""

import threading
import time

import pytest
from tests.browser import ask
from tests.scenarios.test_sign_in import claims_of, eventually_refused, works
from tests.sign_in_fixture import Client


class Lasting:
    """One client's sign-in that lasts."""

    def __init__(self, organisation, login="alice", scope="offline_access", **asked):
        self.organisation, self.client = organisation, Client(organisation.url)
        answer = self.client.sign_in(organisation.acme["slug"], login, scope=scope, **asked)
        self.code = answer.query["code"]
        self.token = self.client.redeem(self.code).json()

    def refresh(self, token=None, **changed):
        form = {
            "grant_type": "refresh_token", "client_id": self.client.client_id,
            "refresh_token": token or self.token["refresh_token"],
        } | changed  # fmt: skip
        return ask("POST", f"{self.organisation.url}/v1/oauth/token", data=form)

    def renew(self):
        reply = self.refresh()
        assert reply.status_code == 200, reply.text
        self.token = reply.json()
        return self.token["access_token"]


@pytest.fixture
def lasting(organisation):
    return Lasting(organisation)


def refused(reply, error="invalid_grant"):
    return (reply.status_code, reply.json()["error"]) == (400, error)


def test_none_is_given_to_who_does_not_ask_and_the_page_says_so(organisation):
    client = Client(organisation.url)
    assert "15 minutes" in client.browser().get(client.request()).text
    assert "up to 12 hours" in client.browser().get(client.request(scope="offline_access")).text
    reply = client.redeem(client.sign_in(organisation.acme["slug"], "alice", scope="memory").query["code"])
    assert "refresh_token" not in reply.json()


def test_each_is_good_once_and_gives_the_next(lasting, organisation):
    seen = {lasting.token["refresh_token"]}
    for _ in range(3):
        assert works(organisation, lasting.renew())
        assert lasting.token["refresh_token"] not in seen
        seen.add(lasting.token["refresh_token"])
    claims = claims_of(lasting.token["access_token"])
    assert (claims["sub"], claims["ten"]) == (organisation.alice, organisation.acme["id"])


def test_one_that_comes_twice_ends_all(lasting, organisation):
    stolen, first = lasting.token["refresh_token"], lasting.token["access_token"]
    second = lasting.renew()
    assert refused(lasting.refresh(stolen))
    assert refused(lasting.refresh())
    for token in (first, second):
        eventually_refused(organisation, token)


def test_two_at_once_are_one_too_many(lasting, organisation):
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(lasting.refresh())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given = [reply.json() for reply in replies if reply.status_code == 200]
    assert len(given) <= 1
    for token in given:
        assert refused(lasting.refresh(token["refresh_token"]))
        eventually_refused(organisation, token["access_token"])


def test_a_code_that_comes_twice_ends_what_lasts_too(lasting, organisation):
    renewed = lasting.renew()
    assert refused(lasting.client.redeem(lasting.code))
    assert refused(lasting.refresh())
    eventually_refused(organisation, renewed)


def test_it_is_for_its_client_and_its_place(organisation):
    place = f"{organisation.url}/mcp/mail"
    lasting = Lasting(organisation, resource=place)
    assert refused(lasting.refresh(client_id="desk"))
    assert refused(lasting.refresh(resource=f"{organisation.url}/mcp/other"))
    assert refused(lasting.refresh(resource="https://elsewhere.example/"), "invalid_target")
    assert claims_of(lasting.renew())["res"] == place


def test_it_carries_what_was_agreed_to_or_less(organisation):
    lasting = Lasting(organisation, scope="offline_access memory tool.list")
    assert lasting.token["scope"] == "memory tool.list"
    assert refused(lasting.refresh(scope="memory tool.call"), "invalid_scope")
    assert refused(lasting.refresh(scope="everything"), "invalid_scope")
    narrower = lasting.refresh(scope="memory").json()
    assert claims_of(narrower["access_token"])["scp"] == ["memory"]
    again = lasting.refresh(narrower["refresh_token"]).json()  # this time alone
    assert claims_of(again["access_token"])["scp"] == ["memory", "tool.list"]


@pytest.mark.parametrize("token", ["", "pwr_x", "pwr_" + "a" * 26 + "_" + "b" * 43, "pw_" + "a" * 26 + "_" + "b" * 43])
def test_what_is_none(lasting, token):
    reply = lasting.refresh(token or "x")
    assert reply.status_code == 400
    assert "access_token" not in reply.text


def test_it_ends_with_the_binding_the_person_and_the_tenants_word(organisation):
    admin = {"authorization": f"Bearer {organisation.acme['admin']}"}
    ended = []
    for number, end in enumerate(("unbind", "suspend")):
        user = organisation.user(organisation.acme, f"lasting-{number}-{time.time_ns()}", match_subject=f"who-{number}")
        lasting = Lasting(organisation, f"who-{number}")
        if end == "suspend":
            organisation.post(f"/v1/subjects/{user}/suspend", {}, organisation.acme["admin"])
        else:
            bindings = organisation.get("/v1/identity-bindings", organisation.acme["admin"]).json()["bindings"]
            [mine] = [one["id"] for one in bindings if one["subject"] == user]
            ask("DELETE", f"{organisation.url}/v1/identity-bindings/{mine}", headers=admin).raise_for_status()
        ended.append(lasting.refresh())
    assert all(reply.status_code == 400 and "access_token" not in reply.text for reply in ended)


def test_signing_out_ends_it_and_all_that_came_of_it(lasting, organisation):
    renewed = lasting.renew()
    end = lambda: ask("POST", f"{organisation.url}/v1/oauth/revoke", data={"token": lasting.token["refresh_token"]})  # noqa: E731
    assert [end().status_code for _ in range(2)] == [200, 200]
    assert refused(lasting.refresh())
    eventually_refused(organisation, renewed)


def test_each_renewal_is_in_the_tenants_log(lasting, organisation):
    lasting.renew()
    leaves = [
        leaf["parameters"]
        for leaf in organisation.leaves(organisation.acme["admin"])
        if leaf["phase"] == "intent"
        and leaf["actor"]["id"] == organisation.alice
        and "grant" in leaf.get("parameters", {})
    ]
    assert [leaf["grant"] for leaf in leaves[-2:]] == ["authorization_code", "refresh_token"]
