"""What dies under a sign-in: it goes on where it was, or ends with nothing given."""

import time

import pytest
from tests.browser import Arrived
from tests.sign_in_fixture import Client, Organisation

LIMIT_S = 30

pytestmark = pytest.mark.long  # a deployment for each, and restarts


def until(attempt, good):
    """Try as a person would, reloading, until it is good. Returns what it then was, and what came before."""
    started, before = time.monotonic(), []
    while not good(found := attempt()):
        before.append(found)
        assert time.monotonic() - started < LIMIT_S
        time.sleep(0.2)
    return found, before


def test_an_issuer_that_dies_at_every_step_forgets_nothing(own_platform, identity_provider):
    organisation = Organisation(own_platform, identity_provider)
    client = Client(organisation.url)
    browser = client.browser()

    def kill():
        own_platform.wait_restarted("issuer", own_platform.kill("issuer"))

    page = browser.get(client.request())
    kill()
    browser.stops_at = (*browser.stops_at, f"{organisation.url}/v1/oauth/callback")
    page, before = until(
        lambda: browser.submit(page, tenant=organisation.acme["slug"], choice="continue"),
        lambda page: page.status == 200,
    )
    assert {page.status for page in before} <= {503}
    while not isinstance(page, Arrived):
        page = browser.submit(page, **({"login": "alice", "password": "x"} if 'name="login"' in page.text else {}))
    kill()
    browser.stops_at = browser.stops_at[:1]
    callback = page.url
    answer, before = until(lambda: browser.get(callback), lambda page: isinstance(page, Arrived))
    assert {page.status for page in before} <= {503}
    kill()
    reply, before = until(lambda: client.redeem(answer.query["code"]), lambda reply: reply.status_code == 200)
    assert {reply.json()["error"] for reply in before} <= {"temporarily_unavailable"}
    token = reply.json()["access_token"]
    assert organisation.get("/v1/models", token).status_code == 200


def test_no_step_is_taken_that_cannot_be_recorded(own_platform, identity_provider):
    organisation = Organisation(own_platform, identity_provider)
    client = Client(organisation.url)
    code = client.sign_in(organisation.acme["slug"], "alice").query["code"]
    state = own_platform.process("ledger")
    own_platform.kill("ledger", 19)  # SIGSTOP: it hangs, and acknowledges nothing
    try:
        assert client.redeem(code).status_code == 503
        assert client.browser().get(client.request()).status == 503
    finally:
        own_platform.kill("ledger", 18)
    assert state.pid == own_platform.process("ledger").pid
    reply, _before = until(lambda: client.redeem(code), lambda reply: reply.status_code != 503)
    assert reply.status_code == 200  # nothing had been tried
