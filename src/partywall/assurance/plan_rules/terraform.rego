# METADATA
# scope: package
# title: A Terraform plan (`terraform show -json`) as a list of the resources that there will be
package partywall.plan.terraform

import rego.v1

import data.partywall.plan.lib

plans := [document |
	some document in lib.documents
	lib.at(document.contents, ["resource_changes"]) != null
]

# key: the configuration's address, without indexes. instance: the index, to tell for_each instances apart.
resources := [resource |
	some plan in plans
	some change in lib.each(lib.at(plan.contents, ["resource_changes"]))
	after := lib.at(change, ["change", "after"])
	is_object(after)
	lib.at(change, ["mode"]) != "data"
	address := lib.text(lib.at(change, ["address"]))
	type := lib.text(lib.at(change, ["type"]))
	label := label_of(after)
	resource := {
		"path": plan.path,
		"address": address,
		"key": concat("|", [plan.path, without_indexes(address)]),
		"instance": sprintf("%v", [lib.at(change, ["index"])]),
		"type": type,
		"after": after,
		"unknown": lib.entries(lib.at(change, ["change", "after_unknown"])),
		"label": label,
		"tenant": lib.tenant_or_none(label),
	}
]

without_indexes(address) := address if {
	not contains(address, "[")
} else := regex.replace(address, `\[[^\]]*\]`, "")

label_of(after) := found[0] if {
	places := array.concat([after], lib.each(lib.at(after, ["settings"])))
	found := [label |
		some place in places
		some field in ["tags_all", "tags", "effective_labels", "labels", "user_labels"]
		labels := lib.at(place, [field])
		is_object(labels)
		label := lib.label_of(labels)
		label != ""
	]
	count(found) > 0
} else := ""

# The configuration's expressions by address: they tell what refers to what before anything has an id. Modules are
# followed three levels deep.
expressions[key] := expression if {
	some one in configured
	key := one.key
	expression := one.expressions
}

configured := [{"key": key, "prefix": one.prefix, "expressions": lib.entries(lib.at(resource, ["expressions"]))} |
	some level in [level_0, level_1, level_2, level_3]
	some one in level
	some resource in lib.each(lib.at(one.module, ["resources"]))
	key := concat("", [one.prefix, lib.text(lib.at(resource, ["address"]))])
]

level_0 := [{"prefix": concat("", [plan.path, "|"]), "module": lib.at(plan.contents, ["configuration", "root_module"])} | some plan in plans]

level_1 := [inner | some outer in level_0; some inner in called(outer)]

level_2 := [inner | some outer in level_1; some inner in called(outer)]

level_3 := [inner | some outer in level_2; some inner in called(outer)]

called(outer) := [{"prefix": concat("", [outer.prefix, "module.", name, "."]), "module": lib.at(call, ["module"])} |
	some name, call in lib.entries(lib.at(outer.module, ["module_calls"]))
]

prefix_at[one.key] := one.prefix if some one in configured

# What one expression of a resource refers to: keys of resources, with the index where it is the same as its own.
referred(resource, expression) := [target |
	references := lib.each(lib.at(expression, ["references"]))
	some reference in references
	parts := split(without_indexes(lib.text(reference)), ".")
	count(parts) >= 2
	not parts[0] in {"var", "local", "each", "count", "module", "data", "path", "terraform", "self"}
	prefix := object.get(prefix_at, [resource.key], "")
	target := concat("", [prefix, parts[0], ".", parts[1]])
]

expression_of(resource, path) := lib.at(object.get(expressions, [resource.key], {}), path)

# Whether an expression picks by each.key or count.index: then equal instances belong together.
by_instance(expression) if {
	some reference in lib.each(lib.at(expression, ["references"]))
	some word in ["each.key", "each.value", "count.index"]
	startswith(lib.text(reference), word)
}

# JSON inside a string, as IAM documents are; an empty object when it is none.
parsed(value) := document if {
	is_string(value)
	json.is_valid(value)
	document := json.unmarshal(value)
	is_object(document)
} else := {}

# The statements of an IAM document that allow something.
allowing(value) := [statement |
	some statement in lib.each(lib.at(parsed(value), ["Statement"]))
	is_object(statement)
	lib.lowered(lib.at(statement, ["Effect"])) == "allow"
]

anybody(statement) if lib.at(statement, ["NotPrincipal"]) != null

anybody(statement) if {
	principal := lib.at(statement, ["Principal"])
	some one in array.concat(lib.each(principal), [inner |
		some values in lib.entries(principal)
		some inner in lib.each(values)
	])
	one == "*"
}

# A condition that must hold and names something: StringEquals or its kin, on one of these keys, not on any value.
requires(statement, keys) if {
	some operator, values in lib.entries(lib.at(statement, ["Condition"]))
	trim_prefix(lower(operator), "foranyvalue:") in {"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"}
	some name, wanted in lib.entries(values)
	split(lower(name), "/")[0] in keys
	count(lib.each(wanted)) > 0
	every one in lib.each(wanted) {
		not one in {"*", "?*", "**"}
	}
}

# A condition on who asks, not merely on how.
conditioned(statement) if requires(statement, {
	"aws:principalorgid", "aws:principalaccount", "aws:principalarn", "aws:sourceaccount", "aws:sourcearn", "aws:sourcevpce",
	"aws:sourcevpc", "aws:principalorgpaths", "aws:sourceorgid", "kms:calleraccount", "aws:principaltag", "sts:externalid",
})
