"""Verdicts and obligations: answers, not exceptions. Deny is the meaning of every missing rule."""

from __future__ import annotations

import msgspec


class Redact(msgspec.Struct, frozen=True, tag="redact"):
    """Replace matches of the named detectors in what the caller receives, e.g. ("iban", "email")."""

    detectors: tuple[str, ...]


class Truncate(msgspec.Struct, frozen=True, tag="truncate"):
    """Cut the reply's text after so many bytes, at a character boundary."""

    limit_bytes: int


class Tag(msgspec.Struct, frozen=True, tag="tag"):
    """Raise the reply's classification to at least this."""

    classification: int


Obligation = Redact | Truncate | Tag


class Allow(msgspec.Struct, frozen=True, tag="allow"):
    """Yes, under these obligations, by this policy revision."""

    policy_revision: str
    obligations: tuple[Obligation, ...] = ()


class Deny(msgspec.Struct, frozen=True, tag="deny"):
    """No. reason: stable kebab-case; advice: one sentence that tells an agent what to ask for."""

    reason: str
    policy_revision: str
    advice: str = ""
    conceal: bool = False  # answer "not found": the resource is none of the caller's business


class NeedsApproval(msgspec.Struct, frozen=True, tag="needs-approval"):
    """Not before an approver binds this digest (hex SHA-256 of action, resource and canonical payload)."""

    digest: str
    policy_revision: str
    reason: str = "approval-required"


Verdict = Allow | Deny | NeedsApproval
