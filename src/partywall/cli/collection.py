"""`partywall collection`: documents that agents may search. Its admin makes it; whom the admin grants it fills it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from rich.progress import track

from partywall.cli.client import Api, segment
from partywall.cli.output import Output, json_option
from partywall.cli.resolve import collection_id

TEXT_LIMIT_CHARACTERS: Final = 70
_COLUMNS: Final = ("slug", "id", "dimensions", "classification", "model")
_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9_.:~-]+")
_LEVEL: Final = click.IntRange(0, 3)


@click.group()
def collection() -> None:
    """Make collections (tenant-admin); fill and search them (whoever was granted ingest and retrieval.search)."""


@collection.command(
    epilog="\b\nExamples:\n  partywall collection create handbook --model minilm\n"
    "  partywall collection create board --model minilm --classification 2"
)
@click.argument("slug")
@click.option("--model", required=True, help="One that makes embeddings: `partywall model add TENANT minilm --minilm`.")
@click.option("--classification", type=_LEVEL, default=1, show_default=True, help="Of its least sensitive document.")
@json_option
@click.pass_context
def create(context: click.Context, *, slug: str, model: str, classification: int, as_json: bool) -> None:
    """Make a collection. Its model and classification never change."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    made = api.post("/v1/collections", {"slug": slug, "model": model, "classification": classification})
    out.data(made)
    out.done(f"collection {slug} is {made['id']}")
    out.next(
        f"partywall agent grant AGENT ingest=collection/{slug} retrieval.search=collection/{slug} embed=model/{model}"
    )


@collection.command("list", epilog="\b\nExample:\n  partywall collection list --json")
@json_option
@click.pass_context
def list_(context: click.Context, *, as_json: bool) -> None:
    """List the collections of your tenant."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get_all("/v1/collections", "collections")
    out.data({"collections": found})
    rows = [[each[column] for column in _COLUMNS] for each in found]
    out.table(_COLUMNS, rows, empty="none yet: `partywall collection create SLUG --model MODEL`")


@collection.command(
    epilog="\b\nExamples:\n  partywall collection add handbook handbook/*.md\n"
    "  partywall collection add handbook mail.txt --id mail --meta team=support"
)
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--id", "id_", help="The document's id, for one file.  [default: the file's path]")
@click.option("--meta", multiple=True, metavar="NAME=VALUE", help="Metadata to filter by; may be repeated.")
@click.option("--classification", type=_LEVEL, help="If above the collection's own.")
@json_option
@click.pass_context
def add(
    context: click.Context,
    *,
    name: str,
    files: tuple[Path, ...],
    id_: str | None,
    meta: tuple[str, ...],
    classification: int | None,
    as_json: bool,
) -> None:
    """Write or replace documents, one of each text file.

    What did not change costs nothing, so a run that failed can simply be repeated.
    """
    api, out = Api.from_context(context), Output(as_json=as_json)
    if id_ is not None and len(files) > 1:
        raise click.UsageError("--id is for one file")
    more: dict[str, Any] = {"metadata": _metadata(meta)}
    if classification is not None:
        more["classification"] = classification
    written = []
    for path in _tracked(files, shown=not as_json):
        path_ = f"/v1/collections/{segment(name)}/documents/{segment(id_ or document_id(path))}"
        written += api.put(path_, {"text": _text(path), **more})["documents"]
    out.data({"documents": written})
    changed = sum(one["changed"] for one in written)
    chunks = sum(one["chunks"] or 0 for one in written)
    out.done(f"{changed} documents written in {chunks} chunks, {len(written) - changed} were the same already")


@collection.command(
    epilog='\b\nExamples:\n  partywall collection search handbook "how fast is mail answered"\n'
    "  partywall collection search handbook holiday --filter team=people --limit 3 --json"
)
@click.argument("name")
@click.argument("text")
@click.option("--limit", type=click.IntRange(1, 50), default=5, show_default=True)
@click.option("--filter", "filters", multiple=True, metavar="NAME=VALUE", help="Metadata to have; may be repeated.")
@json_option
@click.pass_context
def search(
    context: click.Context, *, name: str, text: str, limit: int, filters: tuple[str, ...], as_json: bool
) -> None:
    """Find the nearest chunks to a text."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    asked = {"text": text, "limit": limit, "filter": _metadata(filters)}
    found = api.post(f"/v1/collections/{segment(name)}/search", asked)
    out.data(found)
    rows = [(f"{one['score']:.3f}", one["chunk"], one["label"]["classification"], _short(one["text"]))
            for one in found["results"]]  # fmt: skip
    out.table(("score", "chunk", "label", "text"), rows, empty="nothing found")


@collection.command(
    epilog="\b\nExamples:\n  partywall collection delete handbook\n"
    "  partywall collection delete handbook --document mail"
)
@click.argument("name")
@click.option("--document", help="Delete this document only.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@json_option
@click.pass_context
def delete(context: click.Context, *, name: str, document: str | None, yes: bool, as_json: bool) -> None:
    """Delete a collection with all its documents (tenant-admin), or one document (whoever may write)."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    if document is not None:
        gone = api.delete(f"/v1/collections/{segment(name)}/documents/{segment(document)}")
        out.data(gone)
        out.done(f"document {document} is gone" if gone["deleted"] else f"there was no document {document}")
        return
    if not yes:
        click.confirm(f"Delete the collection {name} with all its documents?", abort=True, err=as_json)
    out.data(api.delete(f"/v1/collections/{collection_id(api, name)}"))
    out.done(f"collection {name} is gone")


def document_id(path: Path) -> str:
    """Return a document id for a file: its path, with what an id may not have as dashes."""
    return _NOT_IN_IDS.sub("-", str(path)).strip("-.~:_")[-128:] or "document"


def _metadata(words: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not (separator and name):
            raise click.BadParameter(f"{word!r} is not NAME=VALUE, such as team=support")
        found[name] = value
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is no UTF-8 text: convert it first") from None


def _tracked(files: tuple[Path, ...], *, shown: bool) -> Iterator[Path]:
    """Yield the files, with a bar for people who watch."""
    if shown and len(files) > 1 and sys.stdout.isatty():
        yield from track(files, description="adding")
    else:
        yield from files


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_LIMIT_CHARACTERS else line[: TEXT_LIMIT_CHARACTERS - 1] + "…"
