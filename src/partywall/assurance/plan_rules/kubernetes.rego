# METADATA
# scope: package
# title: Kubernetes manifests as lists of objects, pods and bindings, each with its tenant
package partywall.plan.kubernetes

import rego.v1

import data.partywall.plan.lib

manifests := [{"path": document.path, "manifest": manifest} |
	some document in lib.documents
	some manifest in flattened(document.contents)
	lib.text(lib.at(manifest, ["kind"])) != ""
	lib.text(lib.at(manifest, ["apiVersion"])) != ""
]

# A List holds others.
flattened(contents) := lib.each(lib.at(contents, ["items"])) if {
	endswith(lib.text(lib.at(contents, ["kind"])), "List")
	is_array(lib.at(contents, ["items"]))
} else := [contents]

cluster_wide := {
	"Namespace", "ClusterRole", "ClusterRoleBinding", "PersistentVolume", "StorageClass", "RuntimeClass", "PriorityClass",
	"CustomResourceDefinition", "Node", "IngressClass",
}

objects := [object_of(one.path, one.manifest) | some one in manifests]

object_of(path, manifest) := {
	"path": path,
	"kind": kind,
	"name": name,
	"namespace": namespace,
	"address": address_of(kind, given, name),
	"manifest": manifest,
	"labels": lib.entries(lib.at(manifest, ["metadata", "labels"])),
} if {
	kind := lib.text(lib.at(manifest, ["kind"]))
	name := name_of(lib.entries(lib.at(manifest, ["metadata"])))
	given := lib.text(lib.at(manifest, ["metadata", "namespace"]))
	namespace := namespace_of(kind, given)
}

name_of(metadata) := name if {
	name := lib.text(lib.at(metadata, ["name"]))
	name != ""
} else := lib.text(lib.at(metadata, ["generateName"]))

namespace_of(kind, given) := "" if {
	kind in cluster_wide
} else := "default" if {
	given == ""
} else := given

address_of(kind, namespace, name) := concat("/", [kind, name]) if {
	namespace == ""
} else := concat("/", [kind, namespace, name])

namespaces := [one | some one in objects; one.kind == "Namespace"]

namespace_label := {name: label |
	some name, labels in namespace_labels
	count(labels) == 1
	some label in labels
}

namespace_labels[one.name] contains lib.label_of(one.labels) if some one in namespaces

# The cluster's own namespaces.
system := {"kube-system", "kube-public", "kube-node-lease"}

# Namespaces of the platform itself.
is_platform(namespace) if namespace in system

is_platform(namespace) if lib.is_shared(object.get(namespace_label, [namespace], ""))

tenant_of(labels, namespace) := lib.tenant_or_none(label) if {
	label := owner_label(labels, namespace)
}

# An object's own label, else its namespace's.
owner_label(labels, namespace) := own if {
	own := lib.label_of(labels)
	own != ""
} else := object.get(namespace_label, [namespace], "")

# Pod templates, whatever makes pods of them; custom resources too.
pods := [pod |
	some one in objects
	some template in templates(one.manifest)
	spec := lib.entries(lib.at(template, ["spec"]))
	labels := object.union(one.labels, lib.entries(lib.at(template, ["metadata", "labels"])))
	label := owner_label(labels, one.namespace)
	pod := {
		"path": one.path,
		"address": one.address,
		"namespace": one.namespace,
		"labels": labels,
		"label": label,
		"tenant": lib.tenant_or_none(label),
		"spec": spec,
		"account": account_of(spec),
	}
]

templates(manifest) := [template |
	some template in array.concat(itself(manifest), [
		lib.at(manifest, ["spec", "template"]),
		lib.at(manifest, ["spec", "podTemplate"]),
		lib.at(manifest, ["template"]),
		lib.at(manifest, ["spec", "jobTemplate", "spec", "template"]),
	])
	is_array(lib.at(template, ["spec", "containers"]))
]

itself(manifest) := [manifest] if {
	lib.at(manifest, ["kind"]) == "Pod"
} else := []

account_of(spec) := name if {
	name := lib.text(lib.at(spec, ["serviceAccountName"]))
	name != ""
} else := name if {
	name := lib.text(lib.at(spec, ["serviceAccount"]))
	name != ""
} else := "default"

containers := [{"pod": pod, "container": container, "name": lib.text(lib.at(container, ["name"]))} |
	some pod in pods
	some field in ["containers", "initContainers", "ephemeralContainers"]
	some container in lib.each(lib.at(pod.spec, [field]))
]

# Subjects of a binding, with their namespaces.
subjects(binding) := [{
	"kind": lib.text(lib.at(subject, ["kind"])),
	"name": lib.text(lib.at(subject, ["name"])),
	"namespace": lib.text(lib.at(subject, ["namespace"])),
} |
	some subject in lib.each(lib.at(binding.manifest, ["subjects"]))
]
