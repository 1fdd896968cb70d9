"""The issuer's rules of the resources under /v1 (`control/operations.py` has the others and checks them all)."""

from __future__ import annotations

from typing import Final

from partywall.control import credentials, drafts, models, policies, revocation, servers, subjects, tenants
from partywall.control.rule import ADMIN, EITHER, OPERATOR, Rule, reads
from partywall.decision.action import ActionType
from partywall.wire import operations as ops

PLATFORM: Final[dict[type[ops.Operation], Rule]] = {
    ops.OrganisationCreate: Rule(
        action=ActionType.OPERATOR_TENANT, kind="organisation", run=tenants.create_organisation, principals=OPERATOR
    ),
    ops.OrganisationList: reads("organisation", tenants.list_organisations, OPERATOR),
    ops.OrganisationShow: reads("organisation", tenants.show_organisation, OPERATOR, "organisation"),
    ops.TenantShow: reads("tenant", tenants.show_tenant, OPERATOR, "tenant"),
    ops.ModelList: reads("tenant", models.list_models, OPERATOR, "tenant"),
    ops.ModelShow: reads("tenant", models.show_model, OPERATOR, "tenant"),
    ops.ModelChange: Rule(
        action=ActionType.OPERATOR_MODEL,
        kind="tenant",
        run=models.change_model,
        principals=OPERATOR,
        target="tenant",
        current=models.show_model,
    ),
    ops.ModelDelete: Rule(
        action=ActionType.OPERATOR_MODEL,
        kind="tenant",
        run=models.delete_model,
        principals=OPERATOR,
        target="tenant",
        current=models.show_model,
    ),
}
PEOPLE: Final[dict[type[ops.Operation], Rule]] = {
    ops.SubjectShow: reads("subject", subjects.show_subject, ADMIN, "subject"),
    ops.SubjectChange: Rule(
        action=ActionType.OPERATOR_AGENT,
        kind="subject",
        run=subjects.change_subject,
        principals=ADMIN,
        target="subject",
        current=subjects.show_subject,
    ),
    ops.SubjectDelete: Rule(
        action=ActionType.OPERATOR_REVOKE,
        kind="subject",
        run=revocation.delete_subject,
        principals=ADMIN,
        target="subject",
        current=subjects.show_subject,
    ),
    ops.GrantList: reads("subject", subjects.list_grants, ADMIN, "subject"),
    ops.GrantAdd: Rule(
        action=ActionType.GRANT,
        kind="subject",
        run=subjects.add_grant,
        principals=ADMIN,
        target="subject",
        current=subjects.grants_object,
    ),
    ops.GrantRemove: Rule(
        action=ActionType.GRANT,
        kind="subject",
        run=subjects.remove_grant,
        principals=ADMIN,
        target="subject",
        current=subjects.grants_object,
    ),
    ops.KeyShow: reads("key", credentials.show_key, EITHER, "key"),
    ops.KeyDelete: Rule(
        action=ActionType.OPERATOR_REVOKE,
        kind="key",
        run=revocation.delete_key,
        principals=EITHER,
        target="key",
        current=credentials.show_key,
    ),
}
POLICY: Final[dict[type[ops.Operation], Rule]] = {
    ops.RevisionList: reads("policy", policies.list_revisions, ADMIN),
    ops.RevisionShow: reads("policy", policies.show_revision, ADMIN),
    ops.DraftCreate: Rule(action=ActionType.OPERATOR_POLICY, kind="policy", run=drafts.create_draft, principals=ADMIN),
    ops.DraftReplace: Rule(
        action=ActionType.OPERATOR_POLICY,
        kind="policy",
        run=drafts.replace_draft,
        principals=ADMIN,
        target="policy",
        current=drafts.show_draft,
    ),
    ops.DraftList: reads("policy", drafts.list_drafts, ADMIN),
    ops.DraftShow: reads("policy", drafts.show_draft, ADMIN, "policy"),
    ops.DraftDelete: Rule(
        action=ActionType.OPERATOR_POLICY,
        kind="policy",
        run=drafts.delete_draft,
        principals=ADMIN,
        target="policy",
        current=drafts.show_draft,
    ),
    ops.DraftActivate: Rule(
        action=ActionType.OPERATOR_POLICY,
        kind="policy",
        run=drafts.activate_draft,
        principals=ADMIN,
        target="policy",
        current=drafts.show_draft,
    ),
}
SERVICES: Final[dict[type[ops.Operation], Rule]] = {
    ops.ServerShow: reads("server", servers.show_server, ADMIN, "server"),
    ops.ServerDelete: Rule(
        action=ActionType.OPERATOR_SERVER,
        kind="server",
        run=servers.delete_server,
        principals=ADMIN,
        target="server",
        current=servers.show_server,
    ),
    ops.CatalogueList: reads("catalogue", models.list_catalogue, ADMIN),
}
RESOURCES: Final = PLATFORM | PEOPLE | POLICY | SERVICES
