"""A whole deployment whose tenants' people sign in at a real identity provider, and what a client does with it."""

import base64
import hashlib
import secrets
import socket
from urllib.parse import urlencode

import pytest
from tests.browser import Browser, Page, ask, sign_in_at_provider

SECRET = "a-secret-of-forty-characters-or-more-for-it"


class Organisation:
    """Two tenants of one organisation with one provider: `alice` is a user of the first, `bob` of both."""

    def __init__(self, platform, provider, *, secret=SECRET):
        self.platform, self.provider, self.url = platform, provider, platform.base_url
        self.slug = f"org-{secrets.token_hex(4)}"
        self.client = f"partywall-{self.slug}"
        provider.world(clients=[*provider.clients, client_of(self.client, self.url, secret)])
        self.operator = platform.operator_key()
        self.acme, self.annex = self._tenant("acme"), self._tenant("annex")
        self.idp = self.post(
            "/v1/identity-providers",
            {
                "slug": "corp", "kind": "oidc", "issuer": provider.url, "organisation": self.slug,
                "client_id": self.client, "client_secret": secret, "audiences": [], "algorithms": ["RS256", "ES256"],
            },
            self.operator,
        )["id"]  # fmt: skip
        self.alice = self.user(self.acme, "alice")
        self.bob = self.user(self.acme, "bob")
        self.bob_annex = self.user(self.annex, "bob")

    def post(self, path, body, key):
        reply = ask("POST", f"{self.url}{path}", json=body, headers={"authorization": f"Bearer {key}"})
        assert reply.status_code == 200, reply.text
        return reply.json()

    def get(self, path, key):
        return ask("GET", f"{self.url}{path}", headers={"authorization": f"Bearer {key}"})

    def leaves(self, key):
        """Every record of the log that a key may read."""
        found = []
        while True:
            page = self.get(f"/v1/audit/leaves?limit=1000&start={len(found)}", key).json()["leaves"]
            found += [leaf["activity"] for leaf in page]
            if len(page) < 1000:
                return found

    def _tenant(self, name):
        slug = f"{name}-{secrets.token_hex(4)}"
        tenant = self.post("/v1/tenants", {"slug": slug, "organisation": self.slug}, self.operator)
        made = self.post(f"/v1/tenants/{tenant['id']}/admins", {"slug": "root"}, self.operator)
        return tenant | {"admin": made["key"]["secret"]}

    def tenant_of_its_own(self, **provider):
        """Make a tenant of another organisation that registers the provider for itself, with `alice` in it."""
        slug = f"own-{secrets.token_hex(4)}"
        tenant = self.post("/v1/tenants", {"slug": slug, "organisation": slug}, self.operator)
        made = self.post(f"/v1/tenants/{tenant['id']}/admins", {"slug": "root"}, self.operator)
        tenant |= {"admin": made["key"]["secret"]}
        body = {"slug": "own", "kind": "oidc", "issuer": self.provider.url} | provider
        idp = self.post("/v1/identity-providers", body, tenant["admin"])["id"]
        return tenant | {"idp": idp, "alice": self.user(tenant, "alice", idp=idp)}

    def user(self, tenant, login, **more):
        """Make a user and bind them to who signs in as login."""
        user = self.post("/v1/subjects", {"kind": "user", "slug": login}, tenant["admin"])["id"]
        body = {"idp": self.idp, "subject": user, "match_subject": login} | more
        self.post("/v1/identity-bindings", body, tenant["admin"])
        return user


def client_of(client_id, url, secret):
    proof = {"token_endpoint_auth_method": "none"} if secret is None else {"client_secret": secret}
    return proof | {
        "client_id": client_id, "redirect_uris": [f"{url}/v1/oauth/callback"],
        "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"], "application_type": "native",
    }  # fmt: skip


class Client:
    """An OAuth client of ours: what it asks, and what it remembers meanwhile."""

    def __init__(self, url, *, client_id="partywall-cli", redirect_uri=None):
        self.url, self.client_id = url, client_id
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.redirect_uri = redirect_uri or f"http://127.0.0.1:{port}/callback"
        self.verifier = secrets.token_urlsafe(48)
        self.state = secrets.token_urlsafe(16)

    def request(self, **changed):
        digest = hashlib.sha256(self.verifier.encode()).digest()
        given = {
            "response_type": "code", "client_id": self.client_id, "redirect_uri": self.redirect_uri,
            "state": self.state, "code_challenge_method": "S256",
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        }  # fmt: skip
        return f"{self.url}/v1/oauth/authorize?" + urlencode(
            {name: text for name, text in (given | changed).items() if text is not None}
        )

    def browser(self):
        return Browser(self.redirect_uri)

    def sign_in(self, tenant, login, browser=None, **asked):
        """Go the whole way in a browser. Returns where the client's answer went."""
        browser = browser or self.browser()
        page = browser.get(self.request(**asked))
        assert page.status == 200, page.text
        page = browser.submit(page, tenant=tenant, choice="continue")
        if isinstance(page, Page) and 'name="login"' in page.text:
            return sign_in_at_provider(browser, page, login)
        return page

    def redeem(self, code, /, **changed):
        form = {
            "grant_type": "authorization_code", "code": code, "client_id": self.client_id,
            "redirect_uri": self.redirect_uri, "code_verifier": self.verifier,
        }  # fmt: skip
        given = {name: text for name, text in (form | changed).items() if text is not None}
        return ask("POST", f"{self.url}/v1/oauth/token", data=given)

    def token(self, tenant, login, **asked):
        """Sign in and return the access token."""
        answer = self.sign_in(tenant, login, **asked)
        reply = self.redeem(answer.query["code"])
        assert reply.status_code == 200, reply.text
        return reply.json()["access_token"]


@pytest.fixture(scope="session")
def organisation(platform, identity_provider):
    return Organisation(platform, identity_provider)
