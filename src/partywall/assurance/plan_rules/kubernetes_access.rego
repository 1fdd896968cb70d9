# METADATA
# scope: package
# title: Service accounts and roles
package partywall.plan.kubernetes_access

import rego.v1

import data.partywall.plan.kubernetes as k8s
import data.partywall.plan.lib

accounts_without_token := {concat("/", [one.namespace, one.name]) |
	some one in k8s.objects
	one.kind == "ServiceAccount"
	lib.at(one.manifest, ["automountServiceAccountToken"]) == false
}

account_tenant[key] := lib.label_of(one.labels) if {
	some key, ones in accounts
	count(ones) == 1
	some one in ones
}

accounts[key] contains {"labels": one.labels} if {
	some one in k8s.objects
	one.kind == "ServiceAccount"
	key := concat("/", [one.namespace, one.name])
}

tenants_of_account[key] contains pod.tenant if {
	some pod in k8s.pods
	pod.tenant != ""
	key := concat("/", [pod.namespace, pod.account])
}

mounts_token(pod) if lib.at(pod.spec, ["automountServiceAccountToken"]) == true

mounts_token(pod) if {
	lib.at(pod.spec, ["automountServiceAccountToken"]) != false
	not concat("/", [pod.namespace, pod.account]) in accounts_without_token
}

# Roles that reach every tenant when they are bound for the whole cluster.
wide_roles[name] contains reason if {
	some one in k8s.objects
	one.kind == "ClusterRole"
	name := one.name
	some rule in lib.each(lib.at(one.manifest, ["rules"]))
	some reason in reasons(rule)
}

wide_roles[name] contains "it is one of the cluster's own wide roles" if some name in ["cluster-admin", "admin", "edit"]

reasons(rule) := {reason |
	some field in ["verbs", "resources"]
	"*" in words(rule, field)
	reason := sprintf("it has * in %s", [field])
} | {reason |
	some verb in ["escalate", "bind", "impersonate"]
	verb in words(rule, "verbs")
	reason := sprintf("it may %s", [verb])
} | {reason |
	some verb in ["get", "list", "watch"]
	verb in words(rule, "verbs")
	"secrets" in words(rule, "resources")
	count(words(rule, "resourceNames")) == 0
	reason := sprintf("it may %s secrets", [verb])
}

words(rule, field) := {word | some word in lib.each(lib.at(rule, [field])); is_string(word)}

# Who is a tenant, or may be one: accounts outside the platform's own namespaces, and groups of everybody.
tenant_subject(subject) if {
	subject.kind == "ServiceAccount"
	not k8s.is_platform(subject.namespace)
	not lib.is_shared(account_label(subject))
}

tenant_subject(subject) if {
	subject.kind == "Group"
	subject.name in {"system:authenticated", "system:unauthenticated", "system:serviceaccounts"}
}

tenant_subject(subject) if {
	subject.kind == "Group"
	startswith(subject.name, "system:serviceaccounts:")
	not k8s.is_platform(trim_prefix(subject.name, "system:serviceaccounts:"))
}

account_label(subject) := object.get(account_tenant, [concat("/", [subject.namespace, subject.name])], "")

# METADATA
# title: A pod with a token for the cluster's API
# description: Agents' code can read the mounted token and act as the account; few workloads ever need it.
# custom:
#   id: PWP-210
#   severity: medium
#   threat: ID-2, IAC-7
#   fix: 'Set automountServiceAccountToken: false on the pod or on its ServiceAccount.'
deny contains lib.finding("PWP-210", pod, sprintf("the token of service account %s is mounted", [pod.account])) if {
	some pod in k8s.pods
	mounts_token(pod)
}

# METADATA
# title: A service account that several tenants use
# description: What one tenant's pods may do, the other's may; the audit cannot tell them apart.
# custom:
#   id: PWP-211
#   severity: high
#   threat: ID-1, IAC-7
#   fix: Give each tenant's workloads a service account of their own, in the tenant's namespace.
deny contains lib.finding("PWP-211", pod, sprintf("service account %s is used by %s", [pod.account, concat(" and ", sort(tenants))])) if {
	some pod in k8s.pods
	tenants := object.get(tenants_of_account, [concat("/", [pod.namespace, pod.account])], set())
	count(tenants) > 1
}

# METADATA
# title: A tenant's account with rights over the whole cluster
# description: Wildcards, secrets or impersonation for the whole cluster are rights over every tenant's namespace.
# custom:
#   id: PWP-212
#   severity: critical
#   threat: ROLE-1, IAC-7
#   fix: Bind a Role with the verbs and resources that are needed, in the tenant's own namespace.
deny contains lib.finding("PWP-212", binding, sprintf("it gives %s to %s %s: %s", [role, subject.kind, subject.name, concat(", ", sort(reasons_of))])) if {
	some binding in k8s.objects
	binding.kind == "ClusterRoleBinding"
	role := lib.text(lib.at(binding.manifest, ["roleRef", "name"]))
	reasons_of := object.get(wide_roles, [role], set())
	count(reasons_of) > 0
	some subject in k8s.subjects(binding)
	tenant_subject(subject)
}

# METADATA
# title: A binding that lets one tenant's account into another's namespace
# description: The account reads or changes what is in the other tenant's cell.
# custom:
#   id: PWP-216
#   severity: critical
#   threat: NI-1, ROLE-1, IAC-7
#   fix: Bind accounts of the namespace's own tenant only.
deny contains lib.finding("PWP-216", binding, sprintf("it lets an account of %s into the namespace of %s", [theirs, ours])) if {
	some binding in k8s.objects
	binding.kind == "RoleBinding"
	ours := lib.tenant_or_none(object.get(k8s.namespace_label, [binding.namespace], ""))
	ours != ""
	some subject in k8s.subjects(binding)
	subject.kind == "ServiceAccount"
	theirs := lib.tenant_or_none(object.get(k8s.namespace_label, [subject.namespace], ""))
	theirs != ""
	theirs != ours
}

deny contains lib.finding("PWP-216", binding, sprintf("it lets group %s into the namespace of %s", [subject.name, ours])) if {
	some binding in k8s.objects
	binding.kind == "RoleBinding"
	ours := lib.tenant_or_none(object.get(k8s.namespace_label, [binding.namespace], ""))
	ours != ""
	some subject in k8s.subjects(binding)
	subject.kind == "Group"
	subject.name in {"system:authenticated", "system:unauthenticated", "system:serviceaccounts"}
}
