"""What a policy is shown, as JSON: what is not in here cannot be used. Source: ADR-0004."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from partywall.decision.action import ActionClass, Resource
from partywall.decision.checks import Case, classification_of, clearance_of
from partywall.decision.facts import Grant, SubjectFacts, TenantFacts

_DAY_S: Final = 86_400
_encode = msgspec.json.Encoder(order="sorted").encode


class Held(msgspec.Struct, frozen=True):
    """Grants that have not expired and concern the action, of the subject and of the user it acts for."""

    subject: tuple[Grant, ...]
    user: tuple[Grant, ...]

    def valid_until_s(self) -> float:
        """Return the earliest expiry: an answer holds as long as everything that it may rest on."""
        ends = (grant.expires_at_s for grant in self.subject + self.user if grant.expires_at_s is not None)
        return min(ends, default=float("inf"))


def live_grants(case: Case) -> Held:
    """Return what the case may rest on at its time."""
    return Held(_live(case.subject, case), _live(case.user, case))


def _live(subject: SubjectFacts | None, case: Case) -> tuple[Grant, ...]:
    if subject is None:
        return ()
    wanted, family = case.envelope.action.type, _family(case.resource)
    return tuple(
        grant
        for grant in subject.grants
        if grant.action is wanted
        and grant.resource.startswith(family)
        and (grant.expires_at_s is None or case.now_s < grant.expires_at_s)
    )


def _family(resource: Resource) -> str:
    """Return the prefix that any grant of this resource has."""
    if resource.kind == "tool":
        return f"tool/{resource.id.partition('/')[0]}"
    return f"{resource.kind}/"


def grant_inputs(case: Case, revision: str, held: Held) -> tuple[str, str]:
    """Return the document of the `grant` entry point, and the same without grants, left open for `arguments_input`."""
    principal = _principal(case)
    rest = {
        "action": {"type": case.envelope.action.type},
        "resource": _resource(case),
        "revision": revision,
    }
    prefix = _encode({"principal": principal} | rest)[:-1].decode()
    principal = principal | {"grants": _grants(held.subject)}
    if principal["on_behalf_of"] is not None:
        principal["on_behalf_of"] = principal["on_behalf_of"] | {"grants": _grants(held.user)}
    return _encode({"principal": principal} | rest).decode(), prefix


def arguments_input(prefix: str, case: Case, class_: ActionClass, payload: Any) -> str:
    """Return the document of the `arguments` entry point: the grant's, without grants, with payload and context.

    Raises: what the encoder raises when payload is no JSON.
    """
    label, now_s = case.envelope.label, int(case.now_s)
    context = {
        "class": class_,
        "depth": case.envelope.depth,
        "label": None if label is None else {"classification": label.classification, "trust": label.trust.name.lower()},
        "time": {"unix_s": now_s, "hour": now_s // 3600 % 24, "weekday": (now_s // _DAY_S + 3) % 7},
    }
    return f'{prefix},"context":{_encode(context).decode()},"payload":{_encode(payload).decode()}}}'


def _principal(case: Case) -> dict[str, Any]:
    principal, user = case.principal, case.user
    return {
        "kind": principal.kind,
        "id": principal.id,
        "slug": None if case.subject is None else case.subject.slug,
        "tenant": principal.tenant,
        "scopes": None if principal.scopes is None else sorted(principal.scopes),
        "clearance": clearance_of(case),
        "on_behalf_of": None if user is None else {"kind": user.kind, "id": user.id, "slug": user.slug},
    }


def _grants(grants: tuple[Grant, ...]) -> list[dict[str, str]]:
    return [{"action": grant.action, "resource": grant.resource} for grant in grants]


def _resource(case: Case) -> dict[str, Any]:
    resource = case.resource
    return {
        "region": resource.region,
        "tenant": resource.tenant,
        "kind": resource.kind,
        "id": resource.id,
        "name": _name(resource, case.facts),
        "classification": classification_of(resource, case.facts),
    }


def _name(resource: Resource, facts: TenantFacts | None) -> str:
    """Return the resource's id with slugs for ids, as people write it: `bank/send_money`, `smollm2`."""
    if facts is None:
        return resource.id
    if resource.kind == "model":
        model = facts.models.get(resource.id)
        return resource.id if model is None else model.slug
    if resource.kind == "collection":
        collection = facts.collections.get(resource.id)
        return resource.id if collection is None else collection.slug
    first, slash, rest = resource.id.partition("/")
    if resource.kind == "tool":
        server = facts.servers.get(first)
        return resource.id if server is None else server.slug + slash + rest
    subject = facts.subjects.get(resource.id)
    return resource.id if resource.kind != "subject" or subject is None else subject.slug
