"""The official MCP client signs a person in by itself: it finds the way, asks, comes back, and calls a tool."""

import asyncio
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import httpx2
import pytest
from mcp import Client as McpClient
from mcp import MCPError
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from tests.browser import Browser, Page, sign_in_at_provider
from tests.sign_in_fixture import SECRET, Client, client_of

REDIRECT = "http://127.0.0.1:3210/oauth/callback"


class Documents:
    """A web server of client metadata documents (on loopback, which this deployment's owner allows)."""

    def __init__(self):
        self.answers, self.asked = {}, []
        documents = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                documents.asked.append(self.path)
                status, headers, body = documents.answers.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def put(self, path, status=200, headers=None, **changed):
        url = f"{self.url}{path}"
        document = {
            "client_id": url, "client_name": "Editor", "redirect_uris": [REDIRECT], "response_types": ["code"],
            "grant_types": ["authorization_code"], "token_endpoint_auth_method": "none",
        } | changed  # fmt: skip
        body = json.dumps({name: value for name, value in document.items() if value is not None}).encode()
        self.answers[path] = (status, headers or {}, body)
        return url

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def documents():
    served = Documents()
    yield served
    served.close()


class Workshop:
    """One tenant with an MCP server, whose people sign in at the provider: `alice` may call `echo`."""

    def __init__(self, side, organisation):
        self.side, self.url = side, organisation.url
        provider, name = organisation.provider, f"mcp-{side.slug}"
        provider.world(clients=[*provider.clients, client_of(name, self.url, SECRET)])
        body = {"slug": "own", "kind": "oidc", "issuer": provider.url, "client_id": name, "client_secret": SECRET}
        idp = side.api("POST", "/v1/identity-providers", body)["id"]
        self.alice = side.api("POST", "/v1/subjects", {"kind": "user", "slug": "alice", "clearance": 2})["id"]
        grants = [{"action": "tool.call", "resource": "tool/probe-tools/echo"}]
        side.api("PUT", f"/v1/subjects/{self.alice}/grants", {"grants": grants})
        side.api("POST", "/v1/identity-bindings", {"idp": idp, "subject": self.alice, "match_subject": "alice"})
        self.server = f"{self.url}/mcp/probe-tools"


@pytest.fixture(scope="module")
def workshops(platform, organisation):
    return [Workshop(side, organisation) for side in platform.two_tenants()]


class Person:
    """Where the client keeps what it was given, and the person in front of its browser."""

    def __init__(self, workshop, client_id, *, scope=None, tokens=None):
        self.workshop, self.tokens, self.asked, self._query = workshop, tokens, [], {}
        self.client = OAuthClientInformationFull(
            client_id=client_id, redirect_uris=[REDIRECT], token_endpoint_auth_method="none", scope=scope
        )
        metadata = OAuthClientMetadata(redirect_uris=[REDIRECT], token_endpoint_auth_method="none", scope=scope)
        self.auth = OAuthClientProvider(
            workshop.server, metadata, self, redirect_handler=self.redirect, callback_handler=self.callback
        )

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info

    async def redirect(self, url):
        self.asked.append(httpx.URL(url))
        self._query = await asyncio.to_thread(self._walk, url)

    def _walk(self, url):
        browser = Browser(REDIRECT)
        page = browser.submit(browser.get(url), tenant=self.workshop.side.slug, choice="continue")
        return (sign_in_at_provider(browser, page, "alice") if isinstance(page, Page) else page).query

    async def callback(self):
        query = self._query
        return AuthorizationCodeResult(code=query.get("code", ""), state=query.get("state"), iss=query.get("iss"))

    async def call(self, tool="echo", server=None):
        async with (
            httpx2.AsyncClient(auth=self.auth, timeout=30) as http,
            McpClient(streamable_http_client(server or self.workshop.server, http_client=http), mode="auto") as client,
        ):
            result = await client.call_tool(tool, {"text": "hello"})
            return result.content[0].text, result.is_error


async def test_it_finds_the_way_signs_in_and_calls_a_tool(workshops, documents):
    person = Person(workshops[0], documents.put("/editor.json"))
    assert await person.call() == ("hello", False)
    [asked] = person.asked
    assert asked.params["resource"] == workshops[0].server
    assert asked.params["scope"] == "tool.call tool.list offline_access"
    assert asked.params["code_challenge_method"] == "S256"
    assert "/editor.json" in documents.asked
    assert person.tokens.scope == "tool.call tool.list"
    assert await Person(workshops[0], "unused", tokens=person.tokens).call() == ("hello", False)  # kept, and used again


async def test_it_renews_its_token_without_the_person(workshops, documents):
    person = Person(workshops[0], documents.put("/editor.json"))
    await person.call()
    first = person.tokens
    person.auth.context.token_expiry_time = 1.0
    assert await person.call() == ("hello", False)
    assert len(person.asked) == 1
    assert person.tokens.access_token != first.access_token
    assert person.tokens.refresh_token != first.refresh_token


async def test_its_token_is_for_that_server_alone_and_never_passed_on(workshops, documents):
    here, there = workshops
    person = Person(here, documents.put("/editor.json"))
    await person.call()
    token = person.tokens.access_token
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        for path in ("/v1/models", "/v1/memory", "/v1/subjects"):
            assert (await http.get(f"{here.url}{path}")).status_code == 401
        assert (await http.post(here.server, json=body)).status_code == 200
        refused = await http.post(f"{here.url}/mcp/other-tools", json=body)
    assert refused.status_code == 401
    assert "oauth-protected-resource/mcp/other-tools" in refused.headers["www-authenticate"]
    for side in (here.side, there.side):
        assert token.encode() not in side.upstream.received()


async def test_a_tool_that_is_not_granted_is_no_question_of_scope(workshops, documents):
    person = Person(workshops[0], documents.put("/editor.json"))
    text, is_error = await person.call("erase")
    assert is_error
    assert "not-granted" in text
    assert len(person.asked) == 1


async def test_it_asks_for_more_scope_when_it_has_too_little(workshops, documents):
    workshop, url = workshops[0], documents.put("/editor.json")
    little = Client(workshop.url, client_id=url, redirect_uri=REDIRECT)
    token = little.token(workshop.side.slug, "alice", scope="tool.list", resource=workshop.server)
    given = OAuthToken(access_token=token, scope="tool.list", expires_in=600)
    person = Person(workshop, url, tokens=given)
    assert await person.call() == ("hello", False)
    assert {"tool.call", "tool.list"} <= set(person.asked[-1].params["scope"].split())


async def test_the_neighbours_server_of_the_same_name_is_never_reached(workshops, documents):
    """Both tenants have `probe-tools`: which one a token reaches is decided by whose it is, and by nothing else."""
    here, there = workshops
    there.side.upstream.called.clear()
    await Person(here, documents.put("/editor.json")).call()
    assert there.side.upstream.called == []


async def test_a_person_who_says_no(workshops, documents, monkeypatch):
    person = Person(workshops[0], documents.put("/editor.json"))

    def refuse(url):
        browser = Browser(REDIRECT)
        return browser.submit(browser.get(url), choice="cancel").query

    monkeypatch.setattr(person, "_walk", refuse)
    with pytest.raises((OAuthFlowError, MCPError, ExceptionGroup)):
        await person.call()


# --- metadata documents of clients ------------------------------------------------------------------------------------


def answer_to(workshop, client_id, redirect_uri=REDIRECT):
    return Browser(redirect_uri).get(Client(workshop.url, client_id=client_id, redirect_uri=redirect_uri).request())


def test_the_page_says_whose_document_asks(workshops, documents):
    page = answer_to(workshops[0], documents.put("/fine.json", client_name="<b>Bank</b>"))
    assert page.status == 200
    assert documents.url.removeprefix("http://") in page.text
    assert "&lt;b&gt;Bank&lt;/b&gt;" in page.text
    assert "127.0.0.1:3210" in page.text


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "http://127.0.0.1/another.json"},
        {"client_id": None},
        {"redirect_uris": []},
        {"redirect_uris": None},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": [REDIRECT] * 33},
        {"redirect_uris": "x"},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"response_types": ["token"]},
        {"client_name": "x" * 300_000},
        {"status": 500},
        {"status": 302, "headers": {"location": "/fine.json"}},
    ],
    ids=lambda changed: json.dumps(changed)[:60],
)
def test_a_document_that_says_something_else_is_no_client(workshops, documents, changed):
    documents.put("/fine.json")
    page = answer_to(workshops[0], documents.put(f"/{secrets.token_hex(4)}.json", **changed))
    assert page.status == 400
    assert page.code in {"unknown-client", "bad-redirect-uri"}


@pytest.mark.parametrize(
    "client_id",
    [
        "nobody",
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/client.json",
        "https://192.168.1.1/client.json",
        "https://[fd00::1]/client.json",
        "https://[::ffff:169.254.169.254]/client.json",
        "https://0.0.0.0/client.json",
        "https://localhost:1/client.json",
        "http://example.com/client.json",
        "ftp://127.0.0.1/client.json",
        "file:///etc/passwd",
        "https://user:secret@example.com/client.json",
        "https://example.com",
        "https://example.com/",
        "https://example.com/a/../client.json",
        "https://example.com/client.json?x=1",
        "https://example.com/client.json#x",
        "https://example.com/%2e%2e/client.json",
        "https://does-not-exist.invalid/client.json",
    ],
)
def test_where_a_client_may_not_lead_us_looks_like_no_client_at_all(workshops, client_id):
    page = answer_to(workshops[0], client_id)
    unknown = answer_to(workshops[0], "nobody-at-all")
    assert (page.status, page.text) == (unknown.status, unknown.text)
    assert page.code == "unknown-client"


def test_a_document_is_asked_for_once_in_a_while(workshops, documents):
    url = documents.put("/once.json")
    for _ in range(3):
        assert answer_to(workshops[0], url).status == 200
    assert documents.asked.count("/once.json") == 1


def test_a_slow_document_delays_nobody_else(workshops, documents, organisation):
    class Slow(BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(2)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    slow = threading.Thread(
        target=answer_to, args=(workshops[0], f"http://127.0.0.1:{server.server_address[1]}/slow.json")
    )
    slow.start()
    started = time.monotonic()
    assert answer_to(workshops[0], documents.put("/quick.json")).status == 200
    assert time.monotonic() - started < 2
    slow.join()
    server.shutdown()
    server.server_close()
