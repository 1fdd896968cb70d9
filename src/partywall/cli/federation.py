"""`partywall idp` and `partywall binding`: external issuers that are trusted, and which of their subjects is which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from partywall.cli.client import Api, segment
from partywall.cli.output import Output, json_option
from partywall.cli.resolve import subject_id

_PROVIDERS = "/v1/identity-providers"
_BINDINGS = "/v1/identity-bindings"
_Path = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def idp() -> None:
    """Trust external issuers: Kubernetes, clouds, CI, SPIFFE, your people's identity provider.

    A tenant-admin trusts one for its tenant; a platform operator for an organisation (--org).
    """


@idp.command(
    epilog="\b\nExamples:\n"
    "  partywall idp add cluster https://oidc.eks.eu-west-1.amazonaws.com/id/ABC --kind workload\n"
    "  partywall idp add air-gapped https://kubernetes.default.svc --kind workload --jwks keys.json\n"
    "  partywall idp add mesh spiffe://corp.example --kind spiffe --jwks-uri https://spire.corp.example/bundle\n"
    "  partywall idp add staff https://login.corp.example --client-id partywall --client-secret-file secret.txt\n"
    "  partywall idp add staff https://login.corp.example --client-id partywall --org acme"
)
@click.argument("slug")
@click.argument("issuer")
@click.option("--kind", type=click.Choice(["oidc", "workload", "spiffe"]), default="oidc", show_default=True)
@click.option("--audience", "audiences", multiple=True, help="Whom its tokens must be for; may be repeated.")
@click.option("--algorithm", "algorithms", multiple=True, help="RS256, PS256, ES256, ES384 or EdDSA; may be repeated.")
@click.option("--jwks", type=_Path, help="A pinned key set or SPIFFE bundle (JSON file); nothing is fetched then.")
@click.option("--jwks-uri", help="Where its keys are published; else its discovery document says it.")
@click.option("--client-id", help="As which client people sign in there.")
@click.option("--client-secret-file", type=_Path, help="A file with that client's secret; it is kept sealed.")
@click.option("--max-age", "max_age_s", type=click.FloatRange(60, 86_400), help="How old a token may be, in seconds.")
@click.option("--single-use/--reusable", default=None, help="Whether a token is good once.  [default: once for oidc]")
@click.option("--org", "organisation", help="For this organisation (platform operator).")
@json_option
@click.pass_context
def add(
    context: click.Context,
    /,
    *,
    slug: str,
    issuer: str,
    jwks: Path | None,
    client_secret_file: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Trust an issuer. ISSUER is `iss` as its tokens say it, or spiffe://TRUST-DOMAIN."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    body = {"slug": slug, "issuer": issuer} | {name: value for name, value in given.items() if value not in {None, ()}}
    if jwks is not None:
        body["jwks"] = _json(jwks)
    if client_secret_file is not None:
        body["client_secret"] = client_secret_file.read_text().strip()
    made = api.post(_PROVIDERS, body)
    out.data(made)
    out.done(f"{made['issuer']} is trusted as {made['slug']} ({made['id']}); nobody is bound to it yet")
    out.line(f"its tokens must be for: {', '.join(made['audiences'])}")
    out.next(f"partywall binding add {slug} AGENT --subject SUB")


@idp.command("list", epilog="\b\nExample:\n  partywall idp list")
@json_option
@click.pass_context
def list_(context: click.Context, *, as_json: bool) -> None:
    """List the issuers that your tenant trusts, its organisation's among them."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get(_PROVIDERS)
    out.data(found)
    rows = [
        (each["slug"], each["id"], each["kind"], each["issuer"], each["organisation"])
        for each in found["identity_providers"]
    ]
    out.table(("slug", "id", "kind", "issuer", "of organisation"), rows, empty="none: `partywall idp add SLUG ISSUER`")


@idp.command(epilog="\b\nExample:\n  partywall idp show cluster")
@click.argument("provider")
@json_option
@click.pass_context
def show(context: click.Context, *, provider: str, as_json: bool) -> None:
    """Show one issuer. PROVIDER: its slug or id."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get(f"{_PROVIDERS}/{segment(_provider_id(api, provider))}")
    out.data(found)
    out.table(("", ""), [(name, value) for name, value in found.items() if value is not None], empty="")


@idp.command(epilog="\b\nExample:\n  partywall idp remove cluster")
@click.argument("provider")
@json_option
@click.pass_context
def remove(context: click.Context, *, provider: str, as_json: bool) -> None:
    """Trust an issuer no more: its bindings, and every live token that came of it, end. PROVIDER: its slug or id."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    gone = api.delete(f"{_PROVIDERS}/{segment(_provider_id(api, provider))}")
    out.data(gone)
    out.done(f"{gone['deleted']} is trusted no more")


@click.group()
def binding() -> None:
    """Say which subject of an external issuer is which agent or user of yours. Needs a tenant-admin's key."""


@binding.command(
    "add",
    epilog="\b\nExamples:\n"
    "  partywall binding add cluster scout --subject system:serviceaccount:prod:scout --scope tool.call\n"
    "  partywall binding add mesh scout --prefix spiffe://corp.example/ns/prod/\n"
    "  partywall binding add ci deployer --claim repository=acme/infra --claim environment=production\n"
    "  partywall binding add cluster scout --claim /kubernetes.io/namespace=prod",
)
@click.argument("provider")
@click.argument("subject")
@click.option("--subject", "match_subject", metavar="SUB", help="The exact `sub` of its tokens.")
@click.option("--prefix", "match_prefix", metavar="PREFIX/", help="How a `sub` begins, up to a slash.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=TEXT", help="A claim, or JSON pointer; repeatable.")
@click.option("--scope", "scopes", multiple=True, metavar="ACTION", help="The most that its tokens carry; repeatable.")
@json_option
@click.pass_context
def add_binding(
    context: click.Context,
    *,
    provider: str,
    subject: str,
    match_subject: str | None,
    match_prefix: str | None,
    claims: tuple[str, ...],
    scopes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Bind: all conditions must hold. PROVIDER, SUBJECT: slugs or ids."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    body: dict[str, Any] = {"idp": _provider_id(api, provider), "subject": subject_id(api, subject)}
    conditions = {"match_subject": match_subject, "match_prefix": match_prefix, "match_claims": _claims(claims)}
    body |= {name: value for name, value in conditions.items() if value}
    if scopes:
        body["scopes"] = list(scopes)
    made = api.post(_BINDINGS, body)
    out.data(made)
    out.done(f"{made['id']}: {_conditions(made)} is {subject}")


@binding.command("list", epilog="\b\nExample:\n  partywall binding list")
@json_option
@click.pass_context
def list_bindings(context: click.Context, *, as_json: bool) -> None:
    """List the bindings of your tenant."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get(_BINDINGS)
    out.data(found)
    rows = [(each["id"], each["idp"], _conditions(each), each["subject"], each["scopes"]) for each in found["bindings"]]
    out.table(
        ("id", "issuer", "who", "is", "scopes"),
        rows,
        empty="none: `partywall binding add PROVIDER AGENT --subject SUB`",
    )


@binding.command("remove", epilog="\b\nExample:\n  partywall binding remove bnd_…")
@click.argument("binding_id", metavar="ID")
@json_option
@click.pass_context
def remove_binding(context: click.Context, *, binding_id: str, as_json: bool) -> None:
    """End a binding, and every live token that came of it."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    gone = api.delete(f"{_BINDINGS}/{segment(binding_id)}")
    out.data(gone)
    out.done(f"{gone['deleted']} has ended")


def _provider_id(api: Api, given: str) -> str:
    """Return a provider's id, by slug or id. Raises: click.ClickException."""
    if given.startswith("idp_"):
        return given
    providers = api.get(_PROVIDERS)["identity_providers"]
    found = [each["id"] for each in providers if each["slug"] == given]
    if len(found) == 1:
        return str(found[0])
    known = ", ".join(sorted(each["slug"] for each in providers)) or "none yet"
    raise click.ClickException(
        f"{given} names two issuers: give the id" if found else f"there is no issuer {given} (there is: {known})"
    )


def _claims(words: tuple[str, ...]) -> dict[str, str]:
    claims = {}
    for word in words:
        name, separator, text = word.partition("=")
        if not (separator and name and text):
            raise click.BadParameter(f"{word!r} is not NAME=TEXT, such as repository=acme/infra")
        claims[name] = text
    return claims


def _conditions(made: dict[str, Any]) -> str:
    parts = [f"sub={made['match_subject']}"] if made["match_subject"] else []
    parts += [f"sub={made['match_prefix']}…"] if made["match_prefix"] else []
    return " ".join(parts + [f"{name}={text}" for name, text in made["match_claims"].items()])


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise click.ClickException(f"{path} is not JSON") from error
