"""Gateways that hand on the API's requests carelessly. Source: ADR-0015, API-*."""

from __future__ import annotations

from typing import Any

from knockouts.knocked import Knocked, swap
from partywall.decision import facts as facts_module
from partywall.decision.permit import PermitClaims
from partywall.decision.ports import Provider
from partywall.gateway import http, rest
from partywall.providers.models import provider as models


class ConditionDropped(Knocked):
    """Passes over If-Match, as a door without entity tags does."""

    name = "condition-dropped"

    def make_doors(self) -> list[Any]:
        swap(rest, "conditions_of", lambda *_headers, **_route: None)
        return super().make_doors()


class PathLenient(Knocked):
    """Takes a path as the server decoded it, whatever was encoded in it."""

    name = "path-lenient"

    def make_doors(self) -> list[Any]:
        swap(http, "_check_head", lambda _scope: None)
        return super().make_doors()


class ListingOfAgent(Knocked):
    """Lists what the agent may ask, for whomever it acts."""

    name = "listing-of-agent"

    def make_models(self) -> Provider:
        def alone(facts: facts_module.TenantFacts, claims: PermitClaims) -> list[facts_module.SubjectFacts]:
            return [facts.subjects[claims.principal.id]]

        swap(models, "_acting", alone)
        return super().make_models()
