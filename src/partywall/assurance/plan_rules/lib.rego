# METADATA
# scope: package
# title: What every rule uses, made so that no value of the input can make two engines differ
# description: >-
#   Functions here are total: a field that is missing or of another type is null or empty, never an error. The input is
#   one document (`conftest test FILE`) or a list of {path, contents} (`conftest test --combine`, `partywall plan check`).
#   Functions name other packages only by their functions: regorus loses an import's rules inside a function that
#   another package calls.
package partywall.plan.lib

import rego.v1

documents := [{"path": path, "contents": contents} |
	some entry in input
	path := text(at(entry, ["path"]))
	some contents in each(at(entry, ["contents"]))
] if {
	is_array(input)
} else := [{"path": "", "contents": input}]

# The value at a path, or null.
at(value, path) := object.get(value, path, null) if {
	is_object(value)
} else := null

# A list as it is, a single value as a list of one, nothing as an empty list.
each(value) := value if {
	is_array(value)
} else := [] if {
	value == null
} else := [value]

entries(value) := value if {
	is_object(value)
} else := {}

text(value) := value if {
	is_string(value)
} else := ""

lowered(value) := lower(value) if {
	is_string(value)
} else := ""

number(value) := value if {
	is_number(value)
} else := -1

# Labels that name a tenant, first wins; `partywall plan check --tenant-label` adds to them.
tenant_labels := array.concat(
	[label | some label in data.partywall.settings.tenant_labels],
	["tenant", "Tenant", "tenant-id", "tenant_id", "TenantId", "partywall.dev/tenant"],
)

# Values that say that no single tenant owns it.
shared := {"shared", "platform"}

is_shared(label) if label in shared

# The first tenant label of these labels, or "".
label_of(labels) := found[0] if {
	is_object(labels)
	found := [value |
		some label in tenant_labels
		value := labels[label]
		is_string(value)
		value != ""
	]
	count(found) > 0
} else := ""

tenant_or_none(label) := "" if {
	label in shared
} else := label

# What is reported of a resource {address, path}.
finding(id, resource, message) := {
	"id": id,
	"msg": sprintf("%s %s: %s", [id, resource.address, message]),
	"resource": resource.address,
	"path": resource.path,
}

everywhere := {"0.0.0.0/0", "::/0", "0.0.0.0", "*", "any", "internet"}
