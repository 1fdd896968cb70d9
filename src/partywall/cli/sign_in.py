"""How the command line signs a person in: in their browser (RFC 8252), or on another device (RFC 8628).

In the browser it is a client of our own authorization server, and its answer comes to a port on this machine. With
`--device` the person's own identity provider vouches for them, and its ID token is exchanged for one of ours.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import click

from partywall.cli.client import Api, ApiError
from partywall.cli.credentials import CredentialsStore, Profile

CLIENT_ID: Final = "partywall-cli"
METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
CALLBACK_PATH: Final = "/callback"
BROWSER_LIMIT_S: Final = 300.0
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105  # a type's name
RENEW_S: Final = 60.0
"""How long before its end a token is renewed."""
SLOWER_S: Final = 5.0
_DONE: Final = b"<!doctype html><title>Partywall</title><p>You may close this page and go back to the terminal.</p>"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

Tell = Callable[[str], None]


def fresh(store: CredentialsStore, name: str, saved: Profile) -> Profile:
    """Return a profile whose access token is good for a while, renewed and saved when it was not.

    Raises: click.ClickException when the sign-in has ended.
    """
    if time.time() < saved.ends_at_s - RENEW_S:
        return saved
    with store.locked():
        saved = store.get(name) or saved
        if time.time() < saved.ends_at_s - RENEW_S:  # another command was faster
            return saved
        form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": saved.refresh}
        token = _granted(Api(saved.url, None), f"{saved.url}/v1/oauth/token", form)
        renewed = profile_of(saved.url, token)
        store.save(name, renewed, use=False)
        return renewed


def profile_of(url: str, token: Mapping[str, Any]) -> Profile:
    """Return what is saved of a token response."""
    ends_at_s = time.time() + float(token["expires_in"])
    return Profile(url=url, key=token["access_token"], refresh=token.get("refresh_token", ""), ends_at_s=ends_at_s)


def in_browser(api: Api, *, tenant: str | None, open_browser: Callable[[str], bool], tell: Tell) -> dict[str, Any]:
    """Return the token response. tell: prints a line for the person. Raises: click.ClickException."""
    metadata = api.get(METADATA_PATH)
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    with _Listener() as listener:
        asked = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": listener.url,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "scope": "offline_access",
        }
        if tenant is not None:
            asked["tenant"] = tenant
        location = f"{_endpoint(metadata, 'authorization_endpoint')}?{urlencode(asked)}"
        if not open_browser(location):
            tell("open this address in a browser on this machine:")
        tell(location)
        answer = listener.wait(BROWSER_LIMIT_S)
    code = _code_of(answer, state=state, issuer=str(metadata.get("issuer")))
    form = {"grant_type": "authorization_code", "code": code, "client_id": CLIENT_ID}
    form |= {"redirect_uri": listener.url, "code_verifier": verifier}
    return _granted(api, _endpoint(metadata, "token_endpoint"), form)


def on_device(
    api: Api, *, issuer: str, client_id: str, tenant: str, tell: Tell, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Return the token response. issuer: of the person's identity provider; tenant: `pw:<region>:<tenant id>`.

    Raises: click.ClickException.
    """
    _check_issuer(issuer)
    provider = Api(issuer, None)
    metadata = provider.get("/.well-known/openid-configuration")
    if metadata.get("issuer") != issuer:
        raise click.ClickException(f"{issuer} calls itself {metadata.get('issuer')}: give --issuer as it does")
    begun = provider.form(
        _endpoint(metadata, "device_authorization_endpoint"), {"client_id": client_id, "scope": "openid profile email"}
    )
    if not {"device_code", "user_code", "verification_uri", "expires_in"} <= set(begun):
        raise click.ClickException("the identity provider's answer is not one of RFC 8628: is that its issuer?")
    shown = begun.get("verification_uri_complete") or begun["verification_uri"]
    tell(f"open {shown} on any device, and enter the code {begun['user_code']}")
    token = _until_granted(provider, _endpoint(metadata, "token_endpoint"), client_id, begun, sleep)
    if "id_token" not in token:
        raise click.ClickException("the identity provider gave no ID token: allow the client the scope openid")
    form = {"grant_type": EXCHANGE_GRANT, "subject_token": token["id_token"], "subject_token_type": ID_TOKEN}
    return _granted(api, f"{api.url}/v1/oauth/token", form | {"audience": tenant})


def _until_granted(
    provider: Api, endpoint: str, client_id: str, begun: Mapping[str, Any], sleep: Callable[[float], None]
) -> dict[str, Any]:
    """Ask until the person has agreed, as often as the provider wants to be asked. Raises: click.ClickException."""
    form = {"grant_type": DEVICE_GRANT, "device_code": begun["device_code"], "client_id": client_id}
    pause_s, ends_s = float(begun.get("interval", SLOWER_S)), time.monotonic() + float(begun["expires_in"])
    while time.monotonic() < ends_s:
        sleep(pause_s)
        try:
            answer: dict[str, Any] = provider.form(endpoint, form)
            return answer
        except ApiError as error:
            said = error.problem.get("error")
            if said == "slow_down":
                pause_s += SLOWER_S
            elif said != "authorization_pending":
                raise click.ClickException(
                    f"the identity provider did not sign you in: {said or error.message}"
                ) from None
    raise click.ClickException("the code was not entered in time: try again")


def _granted(api: Api, endpoint: str, form: Mapping[str, str]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = api.form(endpoint, form)
    except ApiError as error:
        said = error.problem.get("error_description")
        raise click.ClickException(f"not signed in: {said or error.message}\nNext: partywall login") from None
    return answer


def _code_of(answer: Mapping[str, str], *, state: str, issuer: str) -> str:
    """Return the code of the answer to our own request. Raises: click.ClickException."""
    if not secrets.compare_digest(answer.get("state", ""), state) or answer.get("iss") != issuer:
        raise click.ClickException("an answer came that this sign-in did not ask for: try again")
    if "code" not in answer:
        raise click.ClickException(f"not signed in: {answer.get('error_description') or answer.get('error')}")
    return answer["code"]


def _endpoint(metadata: Mapping[str, Any], name: str) -> str:
    if not isinstance(metadata.get(name), str):
        raise click.ClickException(f"there is no {name.replace('_', ' ')} there: this sign-in is not offered")
    return str(metadata[name])


def _check_issuer(issuer: str) -> None:
    parts = urlsplit(issuer)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise click.UsageError("--issuer is an https address")


class _Listener:
    """Takes the one answer that a browser brings to a port of this machine."""

    def __init__(self) -> None:
        self.answer: dict[str, str] | None = None
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path != CALLBACK_PATH:
                    self.send_error(404)
                    return
                listener.answer = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_response(200)
                for name, value in (("content-type", "text/html"), ("content-length", str(len(_DONE)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(_DONE)

            def log_message(self, *_: Any) -> None:
                """A terminal is no log."""

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{CALLBACK_PATH}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def wait(self, limit_s: float) -> dict[str, str]:
        """Return the answer. Raises: click.ClickException when none came in time."""
        ends_s = time.monotonic() + limit_s
        while self.answer is None:
            self._server.timeout = ends_s - time.monotonic()
            if self._server.timeout <= 0:
                raise click.ClickException("nobody signed in within five minutes: try again")
            self._server.handle_request()
        return self.answer
