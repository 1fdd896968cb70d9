"""Action types, their classes, resources, and the action itself. One enum, shared by Rego, OCSF and AuthZEN."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

from partywall.errors import Malformed
from partywall.wire.ids import TenantId


class ActionType(StrEnum):
    """Everything that can be asked of the wall."""

    TOOL_CALL = "tool.call"
    TOOL_LIST = "tool.list"
    MODEL_REQUEST = "model.request"
    MODEL_LIST = "model.list"
    RETRIEVAL_SEARCH = "retrieval.search"
    INGEST = "ingest"
    EMBED = "embed"
    QUERY = "query"
    MEMORY = "memory"
    SANDBOX_CONTROL = "sandbox.control"
    SANDBOX_EXEC = "sandbox.exec"
    SANDBOX_FILE = "sandbox.file"
    EGRESS = "egress"
    INBOUND = "inbound"
    AGENT_RUN = "agent.run"
    APPROVE = "approve"
    GRANT = "grant"
    AUDIT_READ = "audit.read"
    DECISION_EVALUATE = "decision.evaluate"
    DECISION_SEARCH = "decision.search"
    OPERATOR_READ = "operator.read"
    OPERATOR_TENANT = "operator.tenant"
    OPERATOR_AGENT = "operator.agent"
    OPERATOR_KEY = "operator.key"
    OPERATOR_TOKEN = "operator.token"  # noqa: S105 - an action's name
    OPERATOR_POLICY = "operator.policy"
    OPERATOR_SERVER = "operator.server"
    OPERATOR_MODEL = "operator.model"
    OPERATOR_REVOKE = "operator.revoke"
    OPERATOR_COLLECTION = "operator.collection"
    SYSTEM_SWEEP = "system.sweep"
    SYSTEM_CHECKPOINT = "system.checkpoint"
    SYSTEM_ROTATE = "system.rotate"


class ActionClass(StrEnum):
    """How much must be on disk before the effect happens."""

    EFFECT = "effect"  # changes something: waits for fsync of the intent
    EXPOSURE = "exposure"  # bytes leave to a third party: waits for fsync of the intent
    INTERNAL_READ = "internal-read"  # waits for write(2) of the intent


CLASSES: Final[dict[ActionType, ActionClass]] = {
    ActionType.TOOL_CALL: ActionClass.EFFECT,
    ActionType.TOOL_LIST: ActionClass.INTERNAL_READ,
    ActionType.MODEL_REQUEST: ActionClass.INTERNAL_READ,
    ActionType.MODEL_LIST: ActionClass.INTERNAL_READ,
    ActionType.RETRIEVAL_SEARCH: ActionClass.INTERNAL_READ,
    ActionType.INGEST: ActionClass.EFFECT,
    ActionType.EMBED: ActionClass.INTERNAL_READ,
    ActionType.QUERY: ActionClass.INTERNAL_READ,
    ActionType.MEMORY: ActionClass.EFFECT,
    ActionType.SANDBOX_CONTROL: ActionClass.EFFECT,
    ActionType.SANDBOX_EXEC: ActionClass.EFFECT,
    ActionType.SANDBOX_FILE: ActionClass.EFFECT,
    ActionType.EGRESS: ActionClass.EXPOSURE,
    ActionType.INBOUND: ActionClass.EFFECT,
    ActionType.AGENT_RUN: ActionClass.EFFECT,
    ActionType.APPROVE: ActionClass.EFFECT,
    ActionType.GRANT: ActionClass.EFFECT,
    ActionType.AUDIT_READ: ActionClass.INTERNAL_READ,
    ActionType.DECISION_EVALUATE: ActionClass.INTERNAL_READ,
    ActionType.DECISION_SEARCH: ActionClass.INTERNAL_READ,
    ActionType.OPERATOR_READ: ActionClass.INTERNAL_READ,
    ActionType.OPERATOR_TENANT: ActionClass.EFFECT,
    ActionType.OPERATOR_AGENT: ActionClass.EFFECT,
    ActionType.OPERATOR_KEY: ActionClass.EFFECT,
    ActionType.OPERATOR_TOKEN: ActionClass.EFFECT,
    ActionType.OPERATOR_POLICY: ActionClass.EFFECT,
    ActionType.OPERATOR_SERVER: ActionClass.EFFECT,
    ActionType.OPERATOR_MODEL: ActionClass.EFFECT,
    ActionType.OPERATOR_REVOKE: ActionClass.EFFECT,
    ActionType.OPERATOR_COLLECTION: ActionClass.EFFECT,
    ActionType.SYSTEM_SWEEP: ActionClass.EFFECT,
    ActionType.SYSTEM_CHECKPOINT: ActionClass.EFFECT,
    ActionType.SYSTEM_ROTATE: ActionClass.EFFECT,
}
"""A hosted model is an exposure: a model registered with `hosted` is promoted by `class_of`."""


def class_of(action_type: ActionType, *, hosted: bool = False) -> ActionClass:
    """Return the class of an action; a request to a hosted model is an exposure."""
    if hosted and action_type in {ActionType.MODEL_REQUEST, ActionType.EMBED}:
        return ActionClass.EXPOSURE
    return CLASSES[action_type]


_RESOURCE: Final = re.compile(
    r"pw:(?P<region>[a-z0-9-]{1,32}):(?P<tenant>ten_[a-z2-7]{26}|platform):"
    r"(?P<kind>[a-z][a-z-]{0,31})/(?P<id>[A-Za-z0-9_./~*-]{1,200})",
    re.ASCII,
)

PLATFORM: Final = TenantId("platform")
"""The tenant part of resources that belong to the deployment itself."""


class Resource(msgspec.Struct, frozen=True):
    """`pw:<region>:<tenant>:<kind>/<id>`; id is an id or, for tools, `<mcp id>/<tool name>`."""

    region: str
    tenant: TenantId
    kind: str
    id: str

    def __str__(self) -> str:
        return f"pw:{self.region}:{self.tenant}:{self.kind}/{self.id}"


def parse_resource(text: str) -> Resource:
    """Return the resource that text names. Raises: Malformed."""
    match = _RESOURCE.fullmatch(text)
    if match is None:
        raise Malformed("not a resource name", code="malformed-resource")
    return Resource(match["region"], TenantId(match["tenant"]), match["kind"], match["id"])


class Action(msgspec.Struct, frozen=True):
    """What is asked: one type on one resource."""

    type: ActionType
    resource: Resource
