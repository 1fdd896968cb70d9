"""Turns the slug that a person types into the id that the API takes."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from partywall.cli.client import Api

_ID: Final = re.compile(r"^[a-z]{3}_[a-z2-7]{26}$")


def tenant_id(api: Api, given: str) -> str:
    """Return a tenant's id. Raises: click.ClickException when no tenant has this slug."""
    return given if _ID.match(given) else str(_by_slug(api.get("/v1/tenants")["tenants"], given, "tenant")["id"])


def subject(api: Api, given: str) -> dict[str, Any]:
    """Return a subject of the caller's tenant, by id or slug. Raises: click.ClickException."""
    subjects = api.get("/v1/subjects")["subjects"]
    for found in subjects:
        if found["id"] == given:
            return dict(found)
    return _by_slug(subjects, given, "agent or user")


def subject_id(api: Api, given: str) -> str:
    """Return a subject's id."""
    return given if _ID.match(given) else str(subject(api, given)["id"])


def _by_slug(things: list[dict[str, Any]], slug: str, noun: str) -> dict[str, Any]:
    for thing in things:
        if thing["slug"] == slug:
            return thing
    known = ", ".join(sorted(thing["slug"] for thing in things)) or "none yet"
    raise click.ClickException(f"there is no {noun} {slug} (there is: {known})")
