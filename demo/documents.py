"""Each suite's own texts in a collection of its tenant, embedded by the local model, and found again by search."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, Final

from demo import suites
from demo.documents_of import Document
from demo.report import Chapter, Skip
from demo.stage import Stage
from demo.tenants import Tenant, must
from partywall.wire.operations import LOCAL_EMBEDDINGS

BATCH: Final = 20
SEARCHES: Final = 25
TOP: Final = 3
FOUND_SHARE: Final = 0.8
"""Of the searches for a document's own title, at least so many must find it among the first three."""
VAULT: Final = "vault"
DIMENSIONS: Final = 384


async def documents(stage: Stage, chapter: Chapter) -> None:
    """Ingest every document as the tenants' agents, all tenants at once, and search for them."""
    tenants = stage.everyone()
    probe = tenants[0].wire.send("GET", "/v1/collections", credential=tenants[0].admin)
    if probe.status == 404:
        raise Skip("this version serves no collections (/v1/collections is not there)")
    operator = stage.running().operator_key()
    shelves = {tenant.slug: suites.documents(tenant.suite) for tenant in tenants}
    with stage.report.progress("documents", sum(map(len, shelves.values()))) as progress:

        def fill(tenant: Tenant) -> dict[str, Any]:
            shelve(operator, tenant)
            for start in range(0, len(shelves[tenant.slug]), BATCH):
                batch = shelves[tenant.slug][start : start + BATCH]
                ingest(tenant, batch)
                progress.advance(progress.task_ids[0], len(batch))
            return look(tenant, shelves[tenant.slug])

        done = await asyncio.gather(*(asyncio.to_thread(fill, tenant) for tenant in tenants))
    for tenant, one in zip(tenants, done, strict=True):
        chapter.figures[tenant.slug] = one
        chapter.must(one["found"] >= FOUND_SHARE * one["searches"], f"{tenant.slug}: search found {one['found']}")
        chapter.must(one["foreign"] == 0, f"{tenant.slug}: a search returned what the tenant does not have")
    chapter.says = "; ".join(
        f"{name}: {one['documents']} documents, {one['found']} of {one['searches']} found by their titles"
        for name, one in chapter.figures.items()
    )


def shelve(operator: str, tenant: Tenant) -> None:
    """Make the tenant's collection, with the local embedding model, and grant it to its agent."""
    body = {
        "slug": tenant.embedder_slug,
        "purpose": "embeddings",
        "upstream": LOCAL_EMBEDDINGS,
        "upstream_model": "minilm",
        "dimensions": DIMENSIONS,
    }
    path = f"/v1/tenants/{tenant.id}/models"
    tenant.embedder = str(must(tenant.wire.send("POST", path, credential=operator, body=body))["id"])
    shelf = {"slug": tenant.collection_slug, "model": tenant.embedder_slug}
    tenant.collection = str(tenant.api("POST", "/v1/collections", shelf)["id"])
    tenant.names["collection"] = tenant.collection
    for action, resource in (
        ("ingest", f"collection/{tenant.collection_slug}"),
        ("retrieval.search", f"collection/{tenant.collection_slug}"),
        ("embed", f"model/{tenant.embedder_slug}"),
    ):
        grant = {"action": action, "resource": resource}
        tenant.api("POST", f"/v1/subjects/{tenant.agent}/grants", grant)
    ingest(tenant, [Document(id=VAULT, kind="secret", title="vault", text=f"The secret is {tenant.canary}.")])


def ingest(tenant: Tenant, batch: list[Document]) -> None:
    """Write documents as the tenant's agent. Raises: Wrong."""
    body = {"documents": [{"id": one.id, "text": one.text, "metadata": {"kind": one.kind}} for one in batch]}
    tenant.made["ingest"] += 1
    must(tenant.ask("POST", f"/v1/collections/{tenant.collection_slug}/documents", body))


def look(tenant: Tenant, listed: list[Document]) -> dict[str, Any]:
    """Search for documents spread over the whole collection by their titles; count what came back."""
    picked = listed[:: max(1, len(listed) // SEARCHES)][:SEARCHES]
    own = {one.id for one in listed} | {VAULT}
    found = foreign = 0
    latencies: list[float] = []
    for one in picked:
        tenant.made["retrieval.search"] += 1
        started = time.monotonic()
        path = f"/v1/collections/{tenant.collection_slug}/search"
        results = must(tenant.ask("POST", path, {"text": one.title, "limit": TOP}))["results"]
        latencies.append(time.monotonic() - started)
        ids = [result["document"] for result in results]
        titled = {other.id for other in listed if other.title == one.title}
        found += bool(titled & set(ids))
        foreign += len(set(ids) - own)
    return {
        "documents": len(listed),
        "kinds": dict(Counter(one.kind for one in listed)),
        "searches": len(picked),
        "found": found,
        "foreign": foreign,
        "p50_ms": round(sorted(latencies)[len(latencies) // 2] * 1e3, 1),
    }
