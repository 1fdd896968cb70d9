# METADATA
# scope: package
# title: SQL migrations, as `partywall plan parse FILE` prints them
# description: >-
#   The input is {"sql": {"statements": […]}}, one document a migration. Row security, its force and its policies must
#   come in the same migration as the table: between two migrations the rows would be open.
package partywall.plan.sql

import rego.v1

import data.partywall.plan.lib

migrations := [{"path": document.path, "statements": lib.each(lib.at(document.contents, ["sql", "statements"]))} |
	some document in lib.documents
	lib.at(document.contents, ["sql"]) != null
]

statements := [{
	"path": migration.path,
	"kind": lib.text(lib.at(statement, ["kind"])),
	"address": lib.text(lib.at(statement, ["name"])),
	"line": lib.at(statement, ["line"]),
	"column": lib.at(statement, ["column"]),
	"fact": statement,
	"table": concat("|", [migration.path, lib.text(lib.at(statement, ["table"]))]),
} |
	some migration in migrations
	some statement in migration.statements
]

found(id, one, message) := object.union(lib.finding(id, one, message), {"line": one.line, "column": one.column})

tables := [one |
	some one in statements
	one.kind == "create_table"
	lib.at(one.fact, ["temporary"]) != true
]

policies := [one |
	some one in statements
	one.kind in {"create_policy", "alter_policy"}
]

enabled := {one.table | some one in statements; one.kind == "row_security"; lib.at(one.fact, ["change"]) == "enable"}

forced := {one.table | some one in statements; one.kind == "row_security"; lib.at(one.fact, ["change"]) == "force"}

protected := {one.table | some one in policies; one.kind == "create_policy"}

missing(table) := array.concat(
	array.concat(
		["ENABLE ROW LEVEL SECURITY" | not table in enabled],
		["FORCE ROW LEVEL SECURITY" | not table in forced],
	),
	["a policy" | not table in protected],
)

# Partitions and children, which a parent's policies do not protect when they are named directly.
leaves := array.concat(
	[one | some one in tables; count(lib.each(lib.at(one.fact, ["parents"]))) > 0],
	[one | some one in statements; one.kind == "attach_partition"],
)

is_leaf(one) if count(lib.each(lib.at(one.fact, ["parents"]))) > 0

expressions := [{"one": one, "part": part, "expression": expression} |
	some one in policies
	lib.at(one.fact, ["permissive"]) != false
	some part in ["using", "check"]
	expression := lib.at(one.fact, [part])
	is_object(expression)
]

tenant_columns := {"tenant", "tenant_id", "tenantid", "organisation", "organisation_id", "organization", "organization_id", "org_id", "account_id", "customer_id"} |
	{lower(label) | some label in lib.tenant_labels}

names_tenant(columns) if {
	some column in columns
	lib.lowered(column) in tenant_columns
}

# Tables that carry a tenant column, and so hold rows of several tenants.
pooled := {one.table |
	some one in tables
	names_tenant(lib.each(lib.at(one.fact, ["columns"])))
}

settings_changed := {one.address |
	some one in statements
	one.kind == "alter_function"
	lib.at(one.fact, ["search_path"]) == true
}

# Functions that hand on a setting as if it were known.
reading_settings := {one.address |
	some one in statements
	one.kind == "create_function"
	lib.at(one.fact, ["reads_setting"]) == true
}

# METADATA
# title: A table without row security
# description: A query that forgets its filter reads every tenant's rows; unforced, the table's owner always does.
# custom:
#   id: PWP-301
#   severity: critical
#   threat: RLS-1, RLS-5, IAC-9
#   fix: "In the same migration: alter table … enable row level security, force row level security, and create policy."
deny contains found("PWP-301", one, sprintf("this migration does not give it %s", [concat(", ", parts)])) if {
	some one in tables
	not is_leaf(one)
	parts := missing(one.table)
	count(parts) > 0
}

# METADATA
# title: A policy that holds for every row
# description: A policy that is true, or never looks at the row, shows every tenant's rows to whoever it is for.
# custom:
#   id: PWP-302
#   severity: critical
#   threat: RLS-1, RLS-4, IAC-9
#   fix: Compare the tenant column with a tenant that the database verifies, as in (tenant = (select id from pw.tenant)).
deny contains found("PWP-302", each.one, sprintf("its %s is true for every row", [each.part])) if {
	some each in expressions
	lib.at(each.expression, ["always"]) == true
}

deny contains found("PWP-302", each.one, sprintf("its %s names no column of the row", [each.part])) if {
	some each in expressions
	lib.at(each.expression, ["always"]) != true
	lib.at(each.expression, ["never"]) != true
	count(lib.each(lib.at(each.expression, ["columns"]))) == 0
}

deny contains found("PWP-302", one, "it has neither using nor with check, and so refuses nothing") if {
	some one in policies
	one.kind == "create_policy"
	lib.at(one.fact, ["permissive"]) != false
	lib.at(one.fact, ["using"]) == null
	lib.at(one.fact, ["check"]) == null
}

# METADATA
# title: A policy that believes a session setting
# description: >-
#   current_setting is whatever the last set_config said: one injected statement makes it another tenant's.
# custom:
#   id: PWP-303
#   severity: critical
#   threat: RLS-7, IAC-9
#   fix: Let the policy ask for a tenant that the database verifies itself (a signed token; docs/adr/0005-tenant-token.md).
deny contains found("PWP-303", each.one, sprintf("its %s reads the setting %v", [each.part, setting])) if {
	some each in expressions
	some setting in lib.each(lib.at(each.expression, ["settings"]))
}

deny contains found("PWP-303", each.one, sprintf("its %s asks %s, which reads a setting", [each.part, name])) if {
	some each in expressions
	some name in lib.each(lib.at(each.expression, ["functions"]))
	name in reading_settings
}

# METADATA
# title: A SECURITY DEFINER function with an open search_path
# description: The caller chooses which tables and functions its names mean, and runs them with the owner's rights.
# custom:
#   id: PWP-304
#   severity: high
#   threat: RLS-2, RLS-3, IAC-9
#   fix: Add set search_path = pg_catalog, pg_temp to the function and qualify every name in it.
deny contains found("PWP-304", one, "it is SECURITY DEFINER and does not pin search_path") if {
	some one in statements
	one.kind in {"create_function", "alter_function"}
	lib.at(one.fact, ["security_definer"]) == true
	lib.at(one.fact, ["search_path"]) != true
	not one.address in settings_changed
}

# METADATA
# title: A right for everybody
# description: PUBLIC is every role there is and will be, those of other tenants and of the model's SQL among them.
# custom:
#   id: PWP-305
#   severity: high
#   threat: RLS-3, ROLE-1, IAC-9
#   fix: Grant to the one role that needs it.
deny contains found("PWP-305", one, sprintf("it grants %s to PUBLIC", [concat(", ", lib.each(lib.at(one.fact, ["privileges"])))])) if {
	some one in statements
	one.kind == "grant"
	lib.at(one.fact, ["public"]) == true
}

# METADATA
# title: A role that row security does not bind
# description: SUPERUSER and BYPASSRLS make every policy void, whatever it says.
# custom:
#   id: PWP-306
#   severity: critical
#   threat: RLS-1, IAC-9
#   fix: Use a role with NOSUPERUSER NOBYPASSRLS that owns no table; run migrations as an owner under forced row security.
deny contains found("PWP-306", one, sprintf("it has %s", [right])) if {
	some one in statements
	one.kind == "role"
	some right in lib.each(lib.at(one.fact, ["rights"]))
	right in {"SUPERUSER", "BYPASSRLS", "REPLICATION"}
}

# METADATA
# title: A view that reads with its owner's rights
# description: >-
#   Row security asks about the view's owner, not the caller; without a barrier a caller's own functions see hidden rows.
# custom:
#   id: PWP-307
#   severity: high
#   threat: RLS-1, RLS-2, IAC-9
#   fix: create view … with (security_invoker = true, security_barrier = true); no materialized views of tenants' tables.
deny contains found("PWP-307", one, "it is not security_invoker") if {
	some one in statements
	one.kind == "create_view"
	count(lib.each(lib.at(one.fact, ["reads"]))) > 0
	lib.at(one.fact, ["security_invoker"]) != true
}

deny contains found("PWP-307", one, "it is not a security_barrier") if {
	some one in statements
	one.kind == "create_view"
	count(lib.each(lib.at(one.fact, ["reads"]))) > 0
	lib.at(one.fact, ["security_barrier"]) != true
}

deny contains found("PWP-307", one, sprintf("it takes %s from the view", [option])) if {
	some one in statements
	one.kind == "alter_view"
	some option in lib.each(lib.at(one.fact, ["weakened"]))
}

deny contains found("PWP-307", one, "a materialized view holds its rows without any policy") if {
	some one in statements
	one.kind == "create_materialized_view"
	count(lib.each(lib.at(one.fact, ["reads"]))) > 0
}

# METADATA
# title: A partition without a policy of its own
# description: A parent's policies do not protect a partition or child that is named directly.
# custom:
#   id: PWP-308
#   severity: critical
#   threat: RLS-5, IAC-9
#   fix: Enable and force row security, and create the policy, on every partition, in the same migration.
deny contains found("PWP-308", one, sprintf("this migration does not give it %s", [concat(", ", parts)])) if {
	some one in leaves
	parts := missing(one.table)
	count(parts) > 0
}

# METADATA
# title: A unique constraint across tenants
# description: >-
#   A unique key without the tenant column refuses one tenant a value that another has taken: it tells who has what.
# custom:
#   id: PWP-309
#   severity: medium
#   threat: NI-1, RLS-3, IAC-9
#   fix: Put the tenant column first in the key, or make the key a random id that callers cannot choose.
deny contains found("PWP-309", one, sprintf("unique (%s) leaves out the tenant", [concat(", ", columns)])) if {
	some one in statements
	one.table in pooled
	some key in lib.each(lib.at(one.fact, ["unique"]))
	columns := [lib.text(column) | some column in lib.each(lib.at(key, ["columns"]))]
	not names_tenant(columns)
	lib.at(key, ["random"]) != true
}

# METADATA
# title: Row security taken away
# description: From this statement on the table's rows are open to every query that forgets its filter.
# custom:
#   id: PWP-310
#   severity: critical
#   threat: RLS-1, IAC-9
#   fix: Leave row security on; to replace a policy, drop and create it in one migration.
deny contains found("PWP-310", one, sprintf("it says %s", [change])) if {
	some one in statements
	one.kind == "row_security"
	change := {"disable": "DISABLE ROW LEVEL SECURITY", "no_force": "NO FORCE ROW LEVEL SECURITY"}[lib.text(lib.at(one.fact, ["change"]))]
}

deny contains found("PWP-310", one, "it drops a policy and creates none for the table") if {
	some one in statements
	one.kind == "drop_policy"
	not one.table in protected
}

# METADATA
# title: A statement that cannot be checked
# description: SQL that is put together while it runs (DO, EXECUTE) may make tables, roles and grants that no rule sees.
# custom:
#   id: PWP-311
#   severity: medium
#   threat: RLS-1, IAC-9
#   fix: Write the statements out, or accept the block by an exception that says who has read it.
deny contains found("PWP-311", one, sprintf("it runs %s", [lib.text(lib.at(one.fact, ["what"]))])) if {
	some one in statements
	one.kind == "opaque"
}
