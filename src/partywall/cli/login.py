"""`partywall login`, `logout`, `whoami` and `profile`: whose credential the other commands use."""

from __future__ import annotations

import base64
import json
import os
import sys
import webbrowser
from datetime import UTC, datetime
from typing import Any

import click

from partywall.cli.client import DEFAULT_URL, Api, ApiError
from partywall.cli.credentials import CredentialsStore, Profile
from partywall.cli.output import Output, json_option
from partywall.cli.sign_in import in_browser, on_device, profile_of


@click.command(
    epilog="\b\nExamples:\n  partywall login --tenant acme             in a browser, at your organisation's sign-in\n"
    "  partywall login --device --tenant pw:local:ten_… --issuer https://id.example.com --client-id cli\n"
    "  partywall login --bootstrap TOKEN         once, with the token that `up` prints\n"
    "  partywall login --api-key KEY --as acme   with a key that somebody gave you"
)
@click.option("--tenant", metavar="TENANT", help="Which tenant to sign in to; asked for in the browser without.")
@click.option("--device", is_flag=True, help="Sign in on another device, by a code (no browser here).")
@click.option("--issuer", metavar="URL", help="With --device: your organisation's identity provider.")
@click.option("--client-id", metavar="ID", help="With --device: the client that was made there for this command line.")
@click.option("--browser/--no-browser", default=True, help="Open a browser, or only print the address.")
@click.option("--bootstrap", metavar="TOKEN", help="The one-time token that `partywall up` prints.")
@click.option("--api-key", metavar="KEY", help="An API key to save.")
@click.option("--as", "name", metavar="PROFILE", help="Name to save it under.  [default: operator; me]")
@json_option
@click.pass_context
def login(
    context: click.Context,
    *,
    tenant: str | None,
    device: bool,
    issuer: str | None,
    client_id: str | None,
    browser: bool,
    bootstrap: str | None,
    api_key: str | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Sign in, and save the credential for the other commands (in the home, readable by you alone)."""
    out = Output(as_json=as_json)
    if bootstrap is not None and api_key is not None:
        raise click.UsageError("give either --bootstrap TOKEN or --api-key KEY")
    url = ((context.obj or {}).get("url") or DEFAULT_URL).rstrip("/")
    api = Api(url, None, as_json=as_json)
    if bootstrap is not None:
        api_key = api.post("/v1/bootstrap", {"token": bootstrap})["key"]["secret"]
    if api_key is not None:
        _save(out, name or "operator", Profile(url=url, key=api_key))
        if bootstrap is not None:
            out.next("partywall tenant create acme --admin root")
        return
    if device:
        if issuer is None or client_id is None or tenant is None:
            raise click.UsageError("--device needs --issuer URL, --client-id ID and --tenant pw:REGION:TENANT-ID")
        token = on_device(api, issuer=issuer, client_id=client_id, tenant=tenant, tell=_tell)
    else:
        token = in_browser(api, tenant=tenant, open_browser=_open if browser else _no_browser, tell=_tell)
    saved = profile_of(url, token)
    _save(out, name or "me", saved)
    if not saved.refresh:
        out.line(f"good for {token['expires_in'] // 60} minutes; then sign in again")
    out.next("partywall whoami")


@click.command(epilog="\b\nExample:\n  partywall whoami")
@json_option
@click.pass_context
def whoami(context: click.Context, *, as_json: bool) -> None:
    """Say whose credential is in use, until when, and whether the platform takes it."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    if not api.key:
        raise click.ClickException("nobody is signed in: `partywall login`")
    about = _about(api.key)
    about |= {"url": api.url, "accepted": _is_accepted(api)}
    out.data(about)
    for title, value in about.items():
        out.line(f"{title:<12}{'yes' if value is True else 'no' if value is False else value}")


@click.command(epilog="\b\nExamples:\n  partywall logout\n  partywall --profile acme-root logout")
@json_option
@click.pass_context
def logout(context: click.Context, *, as_json: bool) -> None:
    """End the access token in use, and forget it. An API key is forgotten only: `partywall key revoke` ends one."""
    out, store = Output(as_json=as_json), CredentialsStore()
    name = (context.obj or {}).get("profile") or store.current
    saved = store.get(name)
    if saved is None:
        raise click.ClickException("nobody is signed in")
    is_token = not saved.key.startswith("pw_")
    if is_token:
        Api(saved.url, None, as_json=as_json).form(
            f"{saved.url}/v1/oauth/revoke", {"token": saved.refresh or saved.key}
        )
    store.forget(name)
    out.data({"profile": name, "revoked": is_token})
    out.done(f"signed out of {saved.url}" if is_token else f"forgot the API key of profile {name}; it still works")


def _save(out: Output, name: str, profile: Profile) -> None:
    store = CredentialsStore()
    store.save(name, profile, use=True)
    out.data({"profile": name, "url": profile.url, "file": str(store.path)})
    out.done(f"signed in at {profile.url} as profile {name}, saved in {store.path}")


def _tell(text: str) -> None:
    """Print a line for the person, beside the answer that a program reads."""
    click.echo(text, err=True)


def _open(url: str) -> bool:
    """Open a window; none where there is no screen, rather than a text browser that takes the terminal."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    return webbrowser.open(url)


def _no_browser(_url: str) -> bool:
    return False


def _about(credential: str) -> dict[str, Any]:
    """Return what a credential of our own says of itself: nobody else believes it unverified."""
    if credential.startswith("pw_"):
        return {"credential": f"key_{credential[3:29]}"}
    try:
        body = credential.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        ends = datetime.fromtimestamp(claims["exp"], UTC).isoformat()
        said = {"credential": claims["jti"], "tenant": claims["ten"], "subject": claims["sub"], "kind": claims["knd"]}
        return said | {"until": ends} | ({"scopes": claims["scp"]} if "scp" in claims else {})
    except (ValueError, LookupError, TypeError) as error:
        raise click.ClickException("the saved credential is neither a key nor a token: sign in again") from error


def _is_accepted(api: Api) -> bool:
    try:
        api.get("/v1/models")
    except ApiError as error:
        if error.status in {401, 0}:
            return False
    return True


@click.group()
def profile() -> None:
    """List the saved credentials, or switch between them."""


@profile.command("list", epilog="\b\nExample:\n  partywall profile list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the saved credentials; never the keys themselves."""
    out = Output(as_json=as_json)
    store = CredentialsStore()
    names = store.names()
    out.data({"current": store.current, "profiles": {name: {"url": saved.url} for name, saved in names.items()}})
    rows = [(name, saved.url, "current" if name == store.current else "") for name, saved in sorted(names.items())]
    out.table(("profile", "url", ""), rows, empty="none yet: `partywall login` saves one")


@profile.command("use", epilog="\b\nExample:\n  partywall profile use acme-root")
@click.argument("name")
@json_option
def use(*, name: str, as_json: bool) -> None:
    """Make a saved credential the one that is used without `--profile`."""
    out = Output(as_json=as_json)
    CredentialsStore().use(name)
    out.data({"current": name})
    out.done(f"commands now use the profile {name}")
