"""Turns the slug that a person types into the id that the API takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import click

from partywall.cli.client import Api

_ID: Final = re.compile(r"^[a-z]{3}_[a-z2-7]{26}$")


def tenant_id(api: Api, given: str) -> str:
    """Return a tenant's id. Raises: click.ClickException when no tenant has this slug."""
    return _id_of(given, lambda: api.get_all("/v1/tenants", "tenants"), "tenant")


def organisation_id(api: Api, given: str) -> str:
    """Return an organisation's id. Raises: click.ClickException when none has this slug."""
    return _id_of(given, lambda: api.get_all("/v1/organisations", "organisations"), "organisation")


def server_id(api: Api, given: str) -> str:
    """Return an MCP server's id. Raises: click.ClickException when none has this slug."""
    return _id_of(given, lambda: api.get_all("/v1/servers", "servers"), "server")


def draft_id(api: Api, given: str) -> str:
    """Return a policy draft's id. Raises: click.ClickException when none has this slug."""
    return _id_of(given, lambda: api.get_all("/v1/policies", "drafts"), "draft")


def collection_id(api: Api, given: str) -> str:
    """Return a collection's id. Raises: click.ClickException when none has this slug."""
    return _id_of(given, lambda: api.get_all("/v1/collections", "collections"), "collection")


def model_id(api: Api, tenant: str, given: str) -> str:
    """Return the id of a tenant's model. Raises: click.ClickException when none has this slug."""
    return _id_of(given, lambda: api.get_all(f"/v1/tenants/{tenant}/models", "models"), "model")


def subject(api: Api, given: str) -> dict[str, Any]:
    """Return a subject of the caller's tenant, by id or slug. Raises: click.ClickException."""
    subjects = api.get_all("/v1/subjects", "subjects")
    for found in subjects:
        if found["id"] == given:
            return dict(found)
    return _by_slug(subjects, given, "agent or user")


def subject_id(api: Api, given: str) -> str:
    """Return a subject's id."""
    return given if _ID.match(given) else str(subject(api, given)["id"])


def _id_of(given: str, things: Callable[[], list[dict[str, Any]]], noun: str) -> str:
    return given if _ID.match(given) else str(_by_slug(things(), given, noun)["id"])


def _by_slug(things: list[dict[str, Any]], slug: str, noun: str) -> dict[str, Any]:
    for thing in things:
        if thing["slug"] == slug:
            return thing
    known = ", ".join(sorted(thing["slug"] for thing in things)) or "none yet"
    raise click.ClickException(f"there is no {noun} {slug} (there is: {known})")
