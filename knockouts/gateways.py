"""Which probe must see the leak of which knocked-out gateway."""

from __future__ import annotations

from knockouts.decision import AgentScopeOff, ConcealOff, GrantsOff, RolesOff
from knockouts.decisions import DecisionsOfAnybody
from knockouts.doors import CredentialForwarded, FieldsForwarded, LenientParse, ReplyForwarded
from knockouts.evidence import AuditAnyLog, DenialsUnrecorded, RecordsRaw, SearchAnyLog, TenantUntold
from knockouts.identity import (
    ResourceIgnored,
    RevocationIgnored,
    StreamUnchecked,
    SuspensionIgnored,
    TenantHeader,
    TokenUnverified,
)
from knockouts.knocked import Knocked
from knockouts.memory import MemoryShared
from knockouts.resources import ConditionDropped, ListingOfAgent, PathLenient
from knockouts.retrieval import CollectionScopeOff, CollectionsHeaped, LabelsBelieved
from knockouts.tools import AddressNamed, ManifestUnpinned, PayloadPasted, ReachOff, SchemaOff, ToolCredentialForwarded

CAUGHT_BY: tuple[tuple[type[Knocked], str], ...] = (
    (CredentialForwarded, "ID-2"),
    (TokenUnverified, "ID-8"),
    (RevocationIgnored, "ID-5"),
    (StreamUnchecked, "ID-5s"),
    (SuspensionIgnored, "ID-10"),
    (ConcealOff, "NI-1"),
    (MemoryShared, "NI-2"),
    (TenantHeader, "FORGE-1"),
    (RolesOff, "ROLE-1"),
    (AgentScopeOff, "AGENT-1"),
    (LenientParse, "WIRE-1"),
    (FieldsForwarded, "KV-1"),
    (ReplyForwarded, "KV-4"),
    (GrantsOff, "MODEL-1"),
    (GrantsOff, "MCP-2"),
    (RecordsRaw, "MCP-1"),
    (ManifestUnpinned, "MCP-3"),
    (ManifestUnpinned, "MCP-3p"),
    (AddressNamed, "MCP-4"),
    (ReachOff, "MCP-4s"),
    (PayloadPasted, "MCP-5"),
    (SchemaOff, "MCP-5s"),
    (ToolCredentialForwarded, "MCP-7"),
    (TokenUnverified, "ID-3"),
    (ResourceIgnored, "MCP-7a"),
    (AuditAnyLog, "AU-2"),
    (SearchAnyLog, "AU-6"),
    (TenantUntold, "BG-3"),
    (DenialsUnrecorded, "AU-5"),
    (DecisionsOfAnybody, "AZ-1"),
    (CollectionsHeaped, "RAG-4"),
    (LabelsBelieved, "RAG-5"),
    (CollectionScopeOff, "AGENT-1c"),
    (ConditionDropped, "API-4"),
    (PathLenient, "API-5"),
    (ListingOfAgent, "API-6"),
)
