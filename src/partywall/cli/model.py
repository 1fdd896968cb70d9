"""`partywall model`: what the platform operator gives tenants, and what a tenant's admin sees of it."""

from __future__ import annotations

from typing import Any

import click

from partywall.cli.client import Api
from partywall.cli.output import Output, json_option
from partywall.cli.resolve import model_id, tenant_id
from partywall.settings import default_home

LOCAL_MODEL = "smollm2"
LOCAL_EMBEDDINGS = {"upstream": "local:minilm", "upstream_model": "minilm", "dimensions": 384}
_COLUMNS = ("slug", "id", "upstream_model", "hosted", "context_tokens", "classification")


@click.group()
def model() -> None:
    """Give a tenant a model. Needs a platform operator's key."""


@model.command(
    epilog="\b\nExamples:\n  partywall model add acme smollm2 --local\n"
    "  partywall model add acme small --upstream http://127.0.0.1:8000 --upstream-model small-1\n"
    "  partywall model add acme big --upstream https://models.example --upstream-model big-1 --hosted\n"
    "  partywall model add acme minilm --minilm\n"
    "  partywall model add acme far --upstream https://models.example --upstream-model e-1 --embeddings 1536 --hosted"
)
@click.argument("tenant_")
@click.argument("slug")
@click.option("--local", is_flag=True, help="The model server of this machine's platform (SmolLM2).")
@click.option("--minilm", is_flag=True, help="The embedding model of this platform (all-MiniLM-L6-v2).")
@click.option("--embeddings", type=click.IntRange(1, 2000), metavar="DIMENSIONS", help="It makes vectors, this long.")
@click.option("--upstream", metavar="URL", help="An OpenAI-compatible server, without /v1.")
@click.option("--upstream-model", metavar="NAME", help="The model's name there.")
@click.option("--hosted", is_flag=True, help="Bytes leave to a third party: an exposure, to policy and record.")
@click.option("--context-tokens", type=click.IntRange(min=1), default=2048, show_default=True)
@json_option
@click.pass_context
def add(
    context: click.Context,
    *,
    tenant_: str,
    slug: str,
    local: bool,
    minilm: bool,
    embeddings: int | None,
    upstream: str | None,
    upstream_model: str | None,
    hosted: bool,
    context_tokens: int,
    as_json: bool,
) -> None:
    """Register a model for one tenant; its agents still need a grant for it."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    if local:
        upstream, upstream_model = _local_model(), LOCAL_MODEL
    if not minilm and not (upstream and upstream_model):
        raise click.UsageError("give --local, --minilm, or both --upstream URL and --upstream-model NAME")
    body: dict[str, Any] = {"slug": slug, "upstream": upstream, "upstream_model": upstream_model, "hosted": hosted,
            "context_tokens": context_tokens}  # fmt: skip
    if minilm or embeddings is not None:
        body |= {"purpose": "embeddings", "dimensions": embeddings} | (LOCAL_EMBEDDINGS if minilm else {})
    made = api.post(f"/v1/tenants/{tenant_id(api, tenant_)}/models", body)
    out.data(made)
    out.done(f"model {slug} of {tenant_} is {made['id']}")
    action = "embed" if "purpose" in body else "model.request"
    out.next(f"grant it: partywall agent grant AGENT {action}=model/{slug}")


def _local_model() -> str:
    path = default_home().run / "model" / "port"
    try:
        return f"http://127.0.0.1:{int(path.read_text())}"
    except (OSError, ValueError):
        raise click.ClickException(
            "the local model server is not ready: `partywall status` shows it (it loads for some seconds after `up`)"
        ) from None


@model.command("list", epilog="\b\nExamples:\n  partywall model list acme\n  partywall --profile acme-root model list")
@click.argument("tenant_", required=False)
@json_option
@click.pass_context
def list_(context: click.Context, *, tenant_: str | None, as_json: bool) -> None:
    """List a tenant's models as the operator, or without TENANT those of your own as its admin."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    path = "/v1/catalogue" if tenant_ is None else f"/v1/tenants/{tenant_id(api, tenant_)}/models"
    found = api.get_all(path, "models")
    out.data({"models": found})
    rows = [[each[column] for column in _COLUMNS] for each in found]
    out.table(_COLUMNS, rows, empty="none yet: the operator adds them with `partywall model add`")


@model.command(epilog="\b\nExample:\n  partywall model show acme small")
@click.argument("tenant_")
@click.argument("name")
@json_option
@click.pass_context
def show(context: click.Context, *, tenant_: str, name: str, as_json: bool) -> None:
    """Show one model of a tenant, with its address."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get(_path(api, tenant_, name))
    out.data(found)
    out.fields(found)


@model.command(
    epilog="\b\nExamples:\n  partywall model change acme small --context-tokens 8192\n"
    "  partywall model change acme small --upstream http://127.0.0.1:8001"
)
@click.argument("tenant_")
@click.argument("name")
@click.option("--upstream", metavar="URL", help="An OpenAI-compatible server, without /v1.")
@click.option("--upstream-model", metavar="NAME", help="The model's name there.")
@click.option("--hosted/--not-hosted", default=None, help="Whether bytes leave to a third party.")
@click.option("--context-tokens", type=click.IntRange(min=1))
@click.option("--classification", type=click.IntRange(0, 3), help="How sensitive what it may see is.")
@json_option
@click.pass_context
def change(context: click.Context, /, *, tenant_: str, name: str, as_json: bool, **given: Any) -> None:
    """Change what is given of a model; its grants stay."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    body = {member: value for member, value in given.items() if value is not None}
    if not body:
        raise click.UsageError("give what is to change, such as --context-tokens 8192")
    changed = api.patch(_path(api, tenant_, name), body)
    out.data(changed)
    out.done(f"model {changed['slug']} of {tenant_} is changed, on every worker within 5 s")


@model.command(epilog="\b\nExample:\n  partywall model delete acme small")
@click.argument("tenant_")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@json_option
@click.pass_context
def delete(context: click.Context, *, tenant_: str, name: str, yes: bool, as_json: bool) -> None:
    """Delete a model of a tenant, and every grant on it."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    path = _path(api, tenant_, name)
    if not yes:
        click.confirm(f"Delete model {name} of {tenant_} and every grant on it?", abort=True, err=as_json)
    out.data(api.delete(path))
    out.done(f"model {name} of {tenant_} is no more")


def _path(api: Api, tenant_: str, name: str) -> str:
    tenant = tenant_id(api, tenant_)
    return f"/v1/tenants/{tenant}/models/{model_id(api, tenant, name)}"
