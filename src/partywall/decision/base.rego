# The base policy: what any tenant's policy starts from and can only narrow. Deny is the meaning of every missing rule.
#
# Input, and nothing else can be used: principal {kind, id, slug, tenant, scopes, clearance, grants, on_behalf_of},
# action {type}, resource {region, tenant, kind, id, name, classification}, revision. Source: ADR-0004.
package partywall.base

default grant := {
	"allow": false,
	"reason": "not-granted",
	"advice": "Ask a tenant administrator for a grant of this action on this resource.",
}

grant := {"allow": true, "reason": "platform-operator"} if platform_operator

else := {"allow": true, "reason": "system"} if system

else := {"allow": true, "reason": "tenant-admin"} if tenant_admin

else := {"allow": true, "reason": "listing"} if listing

else := {"allow": true, "reason": "own-token"} if own_token

else := {"allow": true, "reason": "own-transaction"} if own_transaction

else := {"allow": true, "reason": "own-decision"} if own_decision

else := {"allow": true, "reason": "approver"} if approver

else := {"allow": true, "reason": "break-glass"} if break_glass

else := {"allow": true, "reason": "granted"} if granted

# --- the deployment's own resources ------------------------------------------------------------------------------------

on_platform if {
	input.resource.tenant == "platform"
	input.principal.tenant == null
}

operator_actions := {
	"operator.agent", "operator.key", "operator.model", "operator.policy", "operator.read", "operator.revoke",
	"operator.server", "operator.tenant", "operator.token", "audit.read",
}

platform_operator if {
	input.principal.kind == "platform-operator"
	on_platform
	input.action.type in operator_actions
	not input.resource.kind in {"bootstrap", "sign-in", "federation"}
}

# Named, fixed, and each for one purpose.
system_actions := {
	"system:bootstrap": {"operator.key bootstrap"},
	"system:sign-in": {"operator.token sign-in"},
	"system:federation": {"operator.token federation"},
	"system:sweeper": {"system.sweep ledger"},
	"system:checkpointer": {"system.checkpoint ledger"},
	"system:rotator": {"system.rotate key"},
}

system if {
	input.principal.kind == "system"
	on_platform
	concat(" ", [input.action.type, input.resource.kind]) in system_actions[input.principal.id]
}

# --- a tenant's resources ----------------------------------------------------------------------------------------------

in_own_tenant if {
	input.principal.tenant == input.resource.tenant
	input.resource.tenant != "platform"
	input.principal.tenant != null
}

admin_actions := {
	"operator.agent", "operator.key", "operator.policy", "operator.read", "operator.revoke", "operator.server",
	"operator.token", "grant", "audit.read", "decision.evaluate", "decision.search", "operator.collection",
}

# Administers, and reads no content: models, tools and memory need grants, as for anyone.
tenant_admin if {
	input.principal.kind == "tenant-admin"
	in_own_tenant
	input.principal.on_behalf_of == null
	input.action.type in admin_actions
}

members := {"tenant-admin", "user", "agent"}

# Who asks to look into a tenant is of the platform; who decides is of the tenant, and no agent, nor for anybody else.
approver if {
	input.principal.kind == "tenant-admin"
	in_own_tenant
	input.principal.on_behalf_of == null
	input.action.type == "approve"
	input.resource.kind == "break-glass"
}

# What was approved, while it lasts: only the issuer writes such a grant, of a user made for one request.
break_glass if {
	input.principal.kind == "user"
	in_own_tenant
	input.principal.on_behalf_of == null
	input.action.type == "audit.read"
	input.resource.kind == "audit"
	held(input.principal.grants)
}

# The provider shows only what is granted.
listing if {
	input.principal.kind in members
	in_own_tenant
	input.action.type == "tool.list"
	input.resource.kind == "tool"
	not contains(input.resource.id, "/")
}

listing if {
	input.principal.kind in members
	in_own_tenant
	input.action.type == "model.list"
	input.resource.kind == "model"
	input.resource.id == "*"
}

# An agent that acts for a user may not shed that user's limits by asking for a token of its own.
own_token if {
	input.principal.kind in {"user", "agent"}
	in_own_tenant
	input.principal.on_behalf_of == null
	input.action.type == "operator.token"
	input.resource.kind == "subject"
	input.resource.id == input.principal.id
}

# A transaction token says what its bearer is, its user included, and no door of ours takes it.
own_transaction if {
	input.principal.kind in {"user", "agent"}
	in_own_tenant
	input.action.type == "operator.token"
	input.resource.kind == "transaction"
	input.resource.id == input.principal.id
}

# Anybody may ask what the wall would answer to themselves.
own_decision if {
	input.principal.kind in members
	in_own_tenant
	input.action.type in {"decision.evaluate", "decision.search"}
	input.resource.kind == "decision"
	input.resource.id == input.principal.id
}

# What a grant can give: work, never administration, whatever the control database may say.
grantable := {
	"agent.run", "decision.evaluate", "decision.search", "egress", "embed", "inbound", "ingest", "memory",
	"model.request", "query", "retrieval.search", "sandbox.control", "sandbox.exec", "sandbox.file", "tool.call",
}

granted if {
	input.principal.kind in members
	in_own_tenant
	input.action.type in grantable
	held(input.principal.grants)
	delegator_holds
}

delegator_holds if input.principal.on_behalf_of == null

delegator_holds if held(input.principal.on_behalf_of.grants)

held(grants) if {
	some right in grants
	right.action == input.action.type
	covers(right.resource)
}

covers(resource) if resource == concat("/", [input.resource.kind, input.resource.id])

# `tool/<server>/*` is the only wildcard.
covers(resource) if {
	input.resource.kind == "tool"
	parts := split(input.resource.id, "/")
	count(parts) == 2
	resource == concat("/", ["tool", parts[0], "*"])
}
