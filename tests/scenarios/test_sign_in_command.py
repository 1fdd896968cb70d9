"""`partywall login`, `whoami` and `logout` as a person types them, against a real deployment and a real provider."""

import json
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from tests.browser import Browser, sign_in_at_provider
from tests.scenarios.test_sign_in import eventually_refused
from tests.sign_in_fixture import client_of

LIMIT_S = 60


class Terminal:
    """One person's terminal: a home, and commands that may wait for what happens elsewhere."""

    def __init__(self, home, url):
        self.home = home
        self.environment = {**os.environ, "PARTYWALL_HOME": str(home), "PARTYWALL_URL": url}

    def start(self, *words):
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "partywall.app", *words],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *words, status=0):
        with self.start(*words, "--json") as process:
            out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == status, err + out
        return json.loads(out) if status == 0 else err + out

    def finish(self, process, status=0):
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == status, err + out
        return out, err


def line_with(process, pattern):
    """Read what the command tells the person until a line has it. Returns the match."""
    watchdog = threading.Timer(LIMIT_S, process.kill)
    watchdog.start()
    try:
        for line in process.stderr:
            if found := re.search(pattern, line):
                return found
    finally:
        watchdog.cancel()
    raise AssertionError("it never said so")


@pytest.fixture
def terminal(tmp_path, organisation):
    return Terminal(tmp_path, organisation.url)


def test_a_person_signs_in_in_a_browser_looks_and_signs_out(terminal, organisation):
    process = terminal.start("login", "--no-browser", "--json")
    address = line_with(process, r"http://\S+/v1/oauth/authorize\S+")[0]
    browser = Browser()
    page = browser.submit(browser.get(address), tenant=organisation.acme["slug"], choice="continue")
    assert "close this page" in sign_in_at_provider(browser, page, "alice").text
    saved = json.loads(terminal.finish(process)[0])
    assert saved["profile"] == "me"
    assert stat.S_IMODE(Path(saved["file"]).stat().st_mode) == 0o600
    who = terminal.run("whoami")
    assert (who["subject"], who["tenant"], who["kind"]) == (organisation.alice, organisation.acme["id"], "user")
    assert who["accepted"] is True
    file = Path(saved["file"])
    # the token's end draws near: commands at the same time renew it once, and go on
    content = json.loads(file.read_text())
    content["profiles"]["me"]["ends_at_s"] = 0.0
    file.write_text(json.dumps(content))
    several = [terminal.start("whoami", "--json") for _ in range(3)]
    again = {json.loads(terminal.finish(process)[0])["credential"] for process in several}
    assert len(again) == 1
    assert again != {who["credential"]}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = json.loads(file.read_text())["profiles"]["me"]["key"]
    assert organisation.get("/v1/models", token).status_code == 200
    assert terminal.run("logout") == {"profile": "me", "revoked": True}
    eventually_refused(organisation, token)
    assert "nobody is signed in" in terminal.run("whoami", status=1)


def test_a_person_who_says_no_is_told_so(terminal, organisation):
    process = terminal.start("login", "--no-browser", "--tenant", organisation.acme["slug"])
    address = line_with(process, r"http://\S+/v1/oauth/authorize\S+")[0]
    browser = Browser()
    page = browser.get(address)
    assert page.fields["tenant"] == organisation.acme["slug"]
    browser.submit(page, choice="cancel")
    assert "the person did not agree" in terminal.finish(process, status=1)[1]


def test_an_answer_that_was_not_asked_for_signs_nobody_in(terminal, organisation):
    process = terminal.start("login", "--no-browser")
    address = line_with(process, r"http://\S+/v1/oauth/authorize\S+")[0]
    back = httpx.URL(address).params["redirect_uri"]
    assert httpx.get(back.replace("/callback", "/elsewhere")).status_code == 404
    httpx.get(back, params={"code": "stolen", "state": "guessed", "iss": organisation.url})
    assert "did not ask for" in terminal.finish(process, status=1)[1]


@pytest.fixture(scope="module")
def device(organisation, identity_provider):
    """A client at the provider for command lines, and a provider here that takes tokens for it."""
    name = f"device-{organisation.slug}"
    client = client_of(name, organisation.url, None) | {"redirect_uris": [], "response_types": []}
    client["grant_types"] = ["urn:ietf:params:oauth:grant-type:device_code"]
    identity_provider.world(clients=[*identity_provider.clients, client])
    tenant = organisation.tenant_of_its_own(audiences=[name])
    return name, tenant


def test_a_person_signs_in_on_another_device(terminal, organisation, identity_provider, device):
    client, tenant = device
    words = ("--issuer", identity_provider.url, "--client-id", client, "--tenant", f"pw:local:{tenant['id']}")
    process = terminal.start("login", "--device", *words, "--json")
    address = line_with(process, r"open (http://\S+) on any device")[1]
    browser = Browser()
    page = sign_in_at_provider(browser, browser.get(address), "alice")
    assert "Sign-in Success" in page.text
    assert json.loads(terminal.finish(process)[0])["profile"] == "me"
    who = terminal.run("whoami")
    assert (who["tenant"], who["subject"]) == (tenant["id"], tenant["alice"])


@pytest.mark.long  # the provider wants to be asked every 5 s
def test_a_device_that_is_refused_is_told_so(terminal, organisation, identity_provider, device):
    client, tenant = device
    words = ("--issuer", identity_provider.url, "--client-id", client, "--tenant", f"pw:local:{tenant['id']}")
    process = terminal.start("login", "--device", *words)
    address = line_with(process, r"open (http://\S+) on any device")[1]
    browser = Browser()
    browser.submit(browser.submit(browser.get(address)), abort="yes")
    assert "access_denied" in terminal.finish(process, status=1)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device",), "--device needs"),
        (("--device", "--issuer", "http://id.example", "--client-id", "x", "--tenant", "t"), "https"),
        (("--bootstrap", "x", "--api-key", "y"), "give either"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(terminal, words, said):
    assert said in terminal.run("login", *words, status=2)


def test_a_key_is_forgotten_and_still_works(terminal, organisation):
    terminal.run("login", "--api-key", organisation.acme["admin"], "--as", "root")
    assert terminal.run("whoami")["credential"].startswith("key_")
    assert terminal.run("logout") == {"profile": "root", "revoked": False}
    assert organisation.get("/v1/models", organisation.acme["admin"]).status_code == 200
