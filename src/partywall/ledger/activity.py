"""PURE. A record as an OCSF API Activity (class 6003), the content of a leaf.

Source: OCSF 1.x API Activity with the `ai_operation` profile; docs/adr/0006-ledger.md.
"""

from __future__ import annotations

import hmac
from typing import Any, Final

import msgspec

from partywall.decision.action import ActionClass, ActionType
from partywall.decision.record import Phase, Record, Result

CLASS_UID: Final = 6003
CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
CLASS_CODES: Final = {ActionClass.EFFECT: 0, ActionClass.EXPOSURE: 1, ActionClass.INTERNAL_READ: 2}

_ACTIVITY: Final = {
    ActionType.TOOL_LIST: READ,
    ActionType.MODEL_LIST: READ,
    ActionType.RETRIEVAL_SEARCH: READ,
    ActionType.QUERY: READ,
    ActionType.AUDIT_READ: READ,
    ActionType.DECISION_EVALUATE: READ,
    ActionType.DECISION_SEARCH: READ,
    ActionType.OPERATOR_READ: READ,
    ActionType.INGEST: CREATE,
    ActionType.OPERATOR_TENANT: UPDATE,
    ActionType.OPERATOR_AGENT: UPDATE,
    ActionType.OPERATOR_KEY: CREATE,
    ActionType.OPERATOR_TOKEN: CREATE,
    ActionType.OPERATOR_POLICY: UPDATE,
    ActionType.OPERATOR_SERVER: UPDATE,
    ActionType.OPERATOR_MODEL: UPDATE,
    ActionType.OPERATOR_REVOKE: DELETE,
    ActionType.GRANT: UPDATE,
}
_STATUS: Final = {Result.COMPLETE: 1, Result.FAILED: 2, Result.CUT: 2, Result.DENIED_MIDWAY: 2}
SEVERITY_INFORMATIONAL, SEVERITY_MEDIUM = 1, 3


class Activity(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of one leaf's content; `phase` ties intent, outcome and denial together by `act`."""

    class_uid: int
    category_uid: int
    activity_id: int
    type_uid: int
    severity_id: int
    time: int
    schema: int
    phase: str
    act: str
    tenant: str
    trace_id: str
    action: str
    action_class: str
    resource: str
    actor: dict[str, Any]
    verdict: str
    policy_revision: str
    region: str
    classification: int
    reason: str = ""
    agent_instance: str | None = None
    user: str | None = None
    parent: str | None = None
    parameters: dict[str, Any] = {}
    prompt_hash: str | None = None
    status_id: int = 0
    result: str | None = None
    emitted_bytes: int = 0
    emitted_sha256: str | None = None
    usage: dict[str, int] = {}


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Activity)


def type_uid(action: ActionType) -> int:
    """Return the OCSF type: class * 100 + activity."""
    return CLASS_UID * 100 + _ACTIVITY.get(action, OTHER)


def encode_activity(record: Record, prompt_key: PromptKey) -> bytes:
    """Return the content of the leaf. prompt_key: of this tenant, so that equal prompts of two never look equal."""
    return _encode(
        Activity(
            class_uid=CLASS_UID,
            category_uid=6,
            activity_id=_ACTIVITY.get(record.action, OTHER),
            type_uid=type_uid(record.action),
            severity_id=SEVERITY_MEDIUM if record.phase is Phase.DENIAL else SEVERITY_INFORMATIONAL,
            time=int(record.time_s * 1000),
            schema=1,
            phase=record.phase.value,
            act=record.act,
            tenant=record.log,
            trace_id=record.trace_id,
            action=record.action.value,
            action_class=record.action_class.value,
            resource=record.resource,
            actor={"kind": record.principal_kind, "id": record.principal_id, "credential": record.credential},
            verdict=record.verdict,
            policy_revision=record.policy_revision,
            region=record.region,
            classification=record.classification,
            reason=record.reason,
            agent_instance=record.agent_instance,
            user=record.user,
            parent=record.parent,
            parameters=record.parameters,
            prompt_hash=None if record.payload_sha256 is None else prompt_key.hash(record.payload_sha256),
            status_id=_STATUS.get(record.result, 99) if record.result is not None else 0,
            result=None if record.result is None else record.result.value,
            emitted_bytes=record.emitted_bytes,
            emitted_sha256=None if record.emitted_sha256 is None else record.emitted_sha256.hex(),
            usage=record.usage,
        )
    )


class Tie(msgspec.Struct, frozen=True):
    """What of a leaf's content ties it to other leaves; the rest is passed over."""

    phase: str
    act: str
    tenant: str
    result: str | None = None


_tie = msgspec.json.Decoder(Tie)


def decode_tie(content: bytes) -> Tie:
    """Return what ties an opened leaf to others. Raises: msgspec.DecodeError."""
    return _tie.decode(content)


class _Actor(msgspec.Struct, frozen=True):
    id: str = ""


class LeafKeys(msgspec.Struct, frozen=True, gc=False):
    """What of a leaf's content can be searched for; the rest is passed over."""

    phase: str
    act: str
    trace_id: str
    action: str
    resource: str
    actor: _Actor
    verdict: str
    policy_revision: str
    reason: str = ""
    user: str | None = None
    parent: str | None = None
    result: str | None = None

    @property
    def kind(self) -> str:
        """The kind of the resource."""
        return self.resource.rpartition(":")[2].partition("/")[0]

    @property
    def principal(self) -> str:
        """Who acted."""
        return self.actor.id


_keys = msgspec.json.Decoder(LeafKeys)


def decode_keys(content: bytes) -> LeafKeys:
    """Return what an opened leaf can be found by. Raises: msgspec.DecodeError."""
    return _keys.decode(content)


def decode_activity(content: bytes) -> Activity:
    """Return the activity of an opened leaf. Raises: msgspec.DecodeError."""
    return _decoder.decode(content)


class PromptKey:
    """The key of prompt hashes, derived from the log's data key: shredded with it."""

    __slots__ = ("_keyed",)

    def __init__(self, data_key: bytes) -> None:
        key = hmac.digest(data_key, b"partywall/prompt-hash/v1", "sha256")
        self._keyed = hmac.new(key, digestmod="sha256")  # copied for each: half the time of one made anew

    def hash(self, payload_sha256: bytes) -> str:
        """Return the hash as it stands in a leaf, in hexadecimal."""
        keyed = self._keyed.copy()
        keyed.update(payload_sha256)
        return keyed.hexdigest()
