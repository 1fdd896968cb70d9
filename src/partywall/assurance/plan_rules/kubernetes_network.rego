# METADATA
# scope: package
# title: Network policies that keep tenants apart
package partywall.plan.kubernetes_network

import rego.v1

import data.partywall.plan.kubernetes as k8s
import data.partywall.plan.lib

policies := [one | some one in k8s.objects; one.kind == "NetworkPolicy"]

selects_all(selector) if count(selector_parts(selector)) == 0

selector_parts(selector) := array.concat(
	[name | some name, _ in lib.entries(lib.at(selector, ["matchLabels"]))],
	lib.each(lib.at(selector, ["matchExpressions"])),
)

types(policy) := {type | some type in lib.each(lib.at(policy.manifest, ["spec", "policyTypes"])); is_string(type)}

# Which directions a policy closes for every pod of its namespace.
closes(policy) := {direction |
	selects_all(lib.at(policy.manifest, ["spec", "podSelector"]))
	some direction in ["Ingress", "Egress"]
	direction in directions(policy)
	count(lib.each(lib.at(policy.manifest, ["spec", lower(direction)]))) == 0
}

directions(policy) := {"Ingress"} if {
	count(types(policy)) == 0
} else := types(policy)

closed[policy.namespace] contains direction if {
	some policy in policies
	some direction in closes(policy)
}

rules(policy, direction) := [rule |
	direction in effective(policy)
	some rule in lib.each(lib.at(policy.manifest, ["spec", lower(direction)]))
	is_object(rule)
]

# A policy without types is for ingress, and for egress when it has such rules.
effective(policy) := {"Ingress", "Egress"} if {
	count(types(policy)) == 0
} else := types(policy)

own_tenant(policy) := k8s.tenant_of({}, policy.namespace)

# --- the metadata address 169.254.169.254, as one number, and ranges that hold it

metadata_address := 2852039166

powers := [
	1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576,
	2097152, 4194304, 8388608, 16777216, 33554432, 67108864, 134217728, 268435456, 536870912, 1073741824, 2147483648,
	4294967296,
]

holds_metadata(cidr) if {
	is_string(cidr)
	regex.match(`^[0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}/[0-9]{1,2}$`, cidr)
	parts := [to_number(part) | some part in split(replace(cidr, "/", "."), ".")]
	parts[4] <= 32
	address := (((parts[0] * 16777216) + (parts[1] * 65536)) + (parts[2] * 256)) + parts[3]
	size := powers[32 - parts[4]]
	address - (address % size) == metadata_address - (metadata_address % size)
}

holds_metadata(cidr) if cidr in {"::/0", "fd00:ec2::/32", "fd00:ec2::254/128", "fc00::/7", "fd00::/8"}

# An `except` that takes the metadata address out again.
spared(block) if {
	some except in lib.each(lib.at(block, ["except"]))
	holds_metadata(except)
}

on_port_80(rule) if count(lib.each(lib.at(rule, ["ports"]))) == 0

on_port_80(rule) if {
	some port in lib.each(lib.at(rule, ["ports"]))
	lib.at(port, ["protocol"]) in {null, "TCP"}
	covers_80(lib.at(port, ["port"]), lib.at(port, ["endPort"]))
}

covers_80(port, _) if port in {null, 80, "http"}

covers_80(port, last) if {
	is_number(port)
	is_number(last)
	port <= 80
	last >= 80
}

# METADATA
# title: A namespace that is open by default
# description: Without a policy that denies by default, every pod of every tenant reaches these pods, and they reach all.
# custom:
#   id: PWP-201
#   severity: critical
#   threat: SB-2, IAC-4
#   fix: "Add a NetworkPolicy with podSelector: {}, policyTypes: [Ingress, Egress] and no rules, then allow what is needed."
deny contains lib.finding("PWP-201", one, sprintf("no NetworkPolicy here denies %s by default in it", [lower(direction)])) if {
	some one in k8s.namespaces
	not one.name in k8s.system
	some direction in ["Ingress", "Egress"]
	not direction in object.get(closed, [one.name], set())
}

# METADATA
# title: Pods that may reach the cloud's metadata address
# description: 169.254.169.254 hands out the node's own credentials, which reach every tenant on it.
# custom:
#   id: PWP-215
#   severity: high
#   threat: SB-2, ID-2, IAC-4
#   fix: 'Name destinations by selector, or add except: ["169.254.0.0/16"] to the ipBlock.'
deny contains lib.finding("PWP-215", policy, "an egress rule without `to` allows 169.254.169.254") if {
	some policy in policies
	some rule in rules(policy, "Egress")
	count(lib.each(lib.at(rule, ["to"]))) == 0
	on_port_80(rule)
}

deny contains lib.finding("PWP-215", policy, sprintf("its egress to %v allows the metadata address", [lib.at(peer, ["ipBlock", "cidr"])])) if {
	some policy in policies
	some rule in rules(policy, "Egress")
	on_port_80(rule)
	some peer in lib.each(lib.at(rule, ["to"]))
	holds_metadata(lib.at(peer, ["ipBlock", "cidr"]))
	not spared(lib.at(peer, ["ipBlock"]))
}

# METADATA
# title: A network policy that lets other tenants in
# description: One rule that admits every namespace undoes the default; tenants meet at the gateway only.
# custom:
#   id: PWP-217
#   severity: high
#   threat: SB-2, IAC-4
#   fix: Select the namespaces that may connect by name or tenant label, never all of them.
deny contains lib.finding("PWP-217", policy, "an ingress rule without `from` admits everybody") if {
	some policy in policies
	some rule in rules(policy, "Ingress")
	count(lib.each(lib.at(rule, ["from"]))) == 0
	not k8s.is_platform(policy.namespace)
}

deny contains lib.finding("PWP-217", policy, "an empty namespaceSelector admits every namespace") if {
	some policy in policies
	some rule in rules(policy, "Ingress")
	some peer in lib.each(lib.at(rule, ["from"]))
	lib.at(peer, ["namespaceSelector"]) != null
	selects_all(lib.at(peer, ["namespaceSelector"]))
	not k8s.is_platform(policy.namespace)
}

deny contains lib.finding("PWP-217", policy, sprintf("it admits %s, its namespace belongs to %s", [theirs, ours])) if {
	some policy in policies
	ours := own_tenant(policy)
	ours != ""
	some rule in rules(policy, "Ingress")
	some peer in lib.each(lib.at(rule, ["from"]))
	theirs := lib.tenant_or_none(peer_label(lib.at(peer, ["namespaceSelector", "matchLabels"])))
	theirs != ""
	theirs != ours
}

peer_label(labels) := label if {
	label := lib.label_of(labels)
	label != ""
} else := object.get(k8s.namespace_label, [lib.text(lib.at(labels, ["kubernetes.io/metadata.name"]))], "")
