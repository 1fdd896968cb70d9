# METADATA
# scope: package
# title: Namespaces as cells of tenants
package partywall.plan.kubernetes_tenancy

import rego.v1

import data.partywall.plan.kubernetes as k8s
import data.partywall.plan.lib

# Pods that run in a namespace which these documents define, or that say whose they are.
known_namespaces := {one.name | some one in k8s.namespaces}

quotas := {one.namespace |
	some one in k8s.objects
	one.kind == "ResourceQuota"
	count(lib.entries(lib.at(one.manifest, ["spec", "hard"]))) > 0
}

tenants_of_secret[key] contains tenant if {
	some use in secret_uses
	use.pod.tenant != ""
	tenant := use.pod.tenant
	key := concat("/", [use.pod.namespace, use.secret])
}

tenants_of_secret[key] contains tenant if {
	some one in k8s.objects
	one.kind == "Secret"
	tenant := k8s.tenant_of(one.labels, one.namespace)
	tenant != ""
	key := concat("/", [one.namespace, one.name])
}

secret_uses := [{"pod": pod, "secret": secret} |
	some pod in k8s.pods
	some secret in array.concat(from_volumes(pod.spec), from_environment(pod.spec))
	secret != ""
]

from_volumes(spec) := [name |
	some volume in lib.each(lib.at(spec, ["volumes"]))
	some name in array.concat(
		[lib.text(lib.at(volume, ["secret", "secretName"]))],
		[lib.text(lib.at(source, ["secret", "name"])) | some source in lib.each(lib.at(volume, ["projected", "sources"]))],
	)
]

from_environment(spec) := [name |
	some field in ["containers", "initContainers"]
	some container in lib.each(lib.at(spec, [field]))
	some name in array.concat(
		[lib.text(lib.at(source, ["secretRef", "name"])) | some source in lib.each(lib.at(container, ["envFrom"]))],
		[lib.text(lib.at(variable, ["valueFrom", "secretKeyRef", "name"])) | some variable in lib.each(lib.at(container, ["env"]))],
	)
]

# METADATA
# title: A namespace or workload that does not say whose it is
# description: Without a tenant label neither policies, nor quotas, nor the audit can tell tenants apart.
# custom:
#   id: PWP-202
#   severity: medium
#   threat: NI-1, IAC-3
#   fix: 'Label the namespace (tenant: …; tenant: shared or platform for what no tenant owns) and run one tenant in each.'
deny contains lib.finding("PWP-202", one, "it has no tenant label") if {
	some one in k8s.namespaces
	not one.name in k8s.system
	lib.label_of(one.labels) == ""
}

deny contains lib.finding("PWP-202", pod, sprintf("neither it nor a namespace %s here has a tenant label", [pod.namespace])) if {
	some pod in k8s.pods
	not pod.namespace in known_namespaces
	not pod.namespace in k8s.system
	pod.label == ""
}

# METADATA
# title: A workload of one tenant in the namespace of another
# description: A namespace is one tenant's cell; its secrets, accounts and network policies are meant for that tenant.
# custom:
#   id: PWP-218
#   severity: critical
#   threat: NI-1, IAC-3
#   fix: Move the workload to its own tenant's namespace.
deny contains lib.finding("PWP-218", pod, sprintf("it belongs to %s, its namespace to %s", [pod.tenant, owner])) if {
	some pod in k8s.pods
	owner := lib.tenant_or_none(object.get(k8s.namespace_label, [pod.namespace], ""))
	owner != ""
	pod.tenant != ""
	pod.tenant != owner
}

# METADATA
# title: A secret that reaches another tenant's pod
# description: Whoever can read one pod's files or environment has the other tenant's credential.
# custom:
#   id: PWP-213
#   severity: critical
#   threat: MCP-1, ID-2, IAC-7
#   fix: Give each tenant its own secret, in its own namespace.
deny contains lib.finding("PWP-213", use.pod, sprintf("secret %s belongs to, or is used by, %s", [use.secret, concat(" and ", sort(tenants))])) if {
	some use in secret_uses
	tenants := object.get(tenants_of_secret, [concat("/", [use.pod.namespace, use.secret])], set())
	count(tenants) > 1
}

# METADATA
# title: A namespace without a quota
# description: Without a quota one tenant can take the cluster's memory, storage and addresses from all others.
# custom:
#   id: PWP-219
#   severity: medium
#   threat: SB-4, IAC-8
#   fix: Add a ResourceQuota (limits.cpu, limits.memory, pods, requests.storage) to the namespace.
deny contains lib.finding("PWP-219", one, "no ResourceQuota here is in it") if {
	some one in k8s.namespaces
	not k8s.is_platform(one.name)
	not one.name in quotas
}
