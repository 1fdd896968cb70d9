# METADATA
# scope: package
# title: Networks that let strangers or neighbours in
package partywall.plan.terraform_network

import rego.v1

import data.partywall.plan.lib
import data.partywall.plan.terraform as tf

# Ports that a public web service may have open.
web(from, to) if {
	from == to
	from in {80, 443}
}

# Every rule that lets traffic in: {resource, sources, from, to}.
admissions := array.concat(
	array.concat(aws_inline, aws_rules),
	array.concat(google_rules, azure_rules),
)

aws_inline := [admission |
	some resource in tf.resources
	resource.type in {"aws_security_group", "aws_default_security_group"}
	some rule in lib.each(lib.at(resource.after, ["ingress"]))
	admission := {
		"resource": resource,
		"sources": array.concat(lib.each(lib.at(rule, ["cidr_blocks"])), lib.each(lib.at(rule, ["ipv6_cidr_blocks"]))),
		"from": lib.number(lib.at(rule, ["from_port"])),
		"to": lib.number(lib.at(rule, ["to_port"])),
	}
]

aws_rules := [admission |
	some resource in tf.resources
	admits(resource)
	some sources in [[source |
		some field in ["cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6"]
		some source in lib.each(lib.at(resource.after, [field]))
	]]
	admission := {
		"resource": resource,
		"sources": sources,
		"from": lib.number(lib.at(resource.after, ["from_port"])),
		"to": lib.number(lib.at(resource.after, ["to_port"])),
	}
]

admits(resource) if {
	resource.type == "aws_security_group_rule"
	lib.at(resource.after, ["type"]) == "ingress"
}

admits(resource) if resource.type == "aws_vpc_security_group_ingress_rule"

google_rules := [admission |
	some resource in tf.resources
	resource.type == "google_compute_firewall"
	lib.at(resource.after, ["direction"]) != "EGRESS"
	lib.at(resource.after, ["disabled"]) != true
	some allowed in lib.each(lib.at(resource.after, ["allow"]))
	ports := lib.each(lib.at(allowed, ["ports"]))
	some port in listed(ports)
	admission := {
		"resource": resource,
		"sources": google_sources(resource),
		"from": first_port(port),
		"to": last_port(port),
	}
]

# Without any source a Google firewall admits everybody.
google_sources(resource) := ["0.0.0.0/0"] if {
	every field in ["source_ranges", "source_tags", "source_service_accounts"] {
		count(lib.each(lib.at(resource.after, [field]))) == 0
	}
} else := lib.each(lib.at(resource.after, ["source_ranges"]))

listed(ports) := ports if {
	count(ports) > 0
} else := ["*"]

azure_rules := [admission |
	some resource in tf.resources
	some rule in azure_of(resource)
	lib.lowered(lib.at(rule, ["direction"])) == "inbound"
	lib.lowered(lib.at(rule, ["access"])) == "allow"
	ports := array.concat(lib.each(lib.at(rule, ["destination_port_range"])), lib.each(lib.at(rule, ["destination_port_ranges"])))
	some port in listed(ports)
	admission := {
		"resource": resource,
		"sources": array.concat(lib.each(lib.at(rule, ["source_address_prefix"])), lib.each(lib.at(rule, ["source_address_prefixes"]))),
		"from": first_port(port),
		"to": last_port(port),
	}
]

azure_of(resource) := [resource.after] if {
	resource.type == "azurerm_network_security_rule"
} else := lib.each(lib.at(resource.after, ["security_rule"])) if {
	resource.type == "azurerm_network_security_group"
} else := []

# "22", "8000-8100" or "*".
first_port(port) := to_number(split(port, "-")[0]) if {
	is_string(port)
	regex.match(`^[0-9]{1,5}(-[0-9]{1,5})?$`, port)
} else := 0

last_port(port) := to_number(parts[count(parts) - 1]) if {
	is_string(port)
	regex.match(`^[0-9]{1,5}(-[0-9]{1,5})?$`, port)
	parts := split(port, "-")
} else := 65535

group_types := {"aws_security_group"}

# Security groups by what names them in a plan.
tenants_of_group[name] contains resource.tenant if {
	some resource in tf.resources
	resource.type in group_types
	resource.tenant != ""
	some name in [lib.text(lib.at(resource.after, ["id"])), resource.key]
	name != ""
}

# What a rule joins: the group that is opened, and the group that is let in.
joins := array.concat(
	[{"resource": resource, "opened": opened, "admitted": admitted} |
		some resource in tf.resources
		admits(resource)
		some opened in named(resource, "security_group_id")
		some field in ["source_security_group_id", "referenced_security_group_id"]
		some admitted in named(resource, field)
	],
	[{"resource": resource, "opened": resource.key, "admitted": admitted} |
		some resource in tf.resources
		resource.type == "aws_security_group"
		some rule in lib.each(lib.at(resource.after, ["ingress"]))
		some admitted in lib.each(lib.at(rule, ["security_groups"]))
	],
)

named(resource, field) := [id] if {
	id := lib.text(lib.at(resource.after, [field]))
	id != ""
} else := tf.referred(resource, tf.expression_of(resource, [field]))

vpc_tenants[name] contains resource.tenant if {
	some resource in tf.resources
	resource.type in {"aws_vpc", "google_compute_network", "azurerm_virtual_network"}
	resource.tenant != ""
	some name in [lib.text(lib.at(resource.after, ["id"])), lib.text(lib.at(resource.after, ["self_link"])), lib.text(lib.at(resource.after, ["name"])), resource.key]
	name != ""
}

peerings := {
	"aws_vpc_peering_connection": ["vpc_id", "peer_vpc_id"],
	"google_compute_network_peering": ["network", "peer_network"],
	"azurerm_virtual_network_peering": ["virtual_network_name", "remote_virtual_network_id"],
}

# METADATA
# title: A network that is open to the world
# description: Every address can connect; only a public web service on port 80 or 443 should be reached from everywhere.
# custom:
#   id: PWP-131
#   severity: high
#   threat: NI-1, IAC-4
#   fix: Admit the load balancer's or gateway's own security group or range instead of 0.0.0.0/0 and ::/0.
deny contains lib.finding("PWP-131", admission.resource, sprintf("it admits %s to ports %d to %d", [source, admission.from, admission.to])) if {
	some admission in admissions
	not web(admission.from, admission.to)
	some source in admission.sources
	lib.lowered(source) in lib.everywhere
}

# METADATA
# title: One tenant's network admits another tenant
# description: A security group or peering that joins two tenants is a path around every wall above the network.
# custom:
#   id: PWP-132
#   severity: critical
#   threat: NI-1, IAC-4
#   fix: Remove the rule; tenants meet only at the gateway, which decides and records each call.
deny contains lib.finding("PWP-132", join.resource, sprintf("it lets %s into the network of %s", [theirs, ours])) if {
	some join in joins
	some ours in object.get(tenants_of_group, [join.opened], set())
	some theirs in object.get(tenants_of_group, [join.admitted], set())
	ours != theirs
}

deny contains lib.finding("PWP-132", resource, sprintf("it joins the networks of %s and %s", [ours, theirs])) if {
	some resource in tf.resources
	ends := peerings[resource.type]
	some near in named(resource, ends[0])
	some far in named(resource, ends[1])
	some ours in object.get(vpc_tenants, [near], set())
	some theirs in object.get(vpc_tenants, [far], set())
	ours != theirs
}
