# METADATA
# scope: package
# title: Pods that can leave their container
package partywall.plan.kubernetes_pods

import rego.v1

import data.partywall.plan.kubernetes as k8s
import data.partywall.plan.lib

context(one) := lib.entries(lib.at(one.container, ["securityContext"]))

shown(one) := sprintf("container %s", [one.name])

untrusted(labels) if lib.lowered(lib.at(labels, ["partywall.dev/untrusted-code"])) == "true"

untrusted(labels) if lib.lowered(lib.at(labels, ["untrusted-code"])) == "true"

untrusted(labels) if lib.lowered(lib.at(labels, ["trust"])) == "untrusted"

# A container's own setting, else the pod's.
effective(one, field) := value if {
	value := lib.at(context(one), [field])
	value != null
} else := lib.at(one.pod.spec, ["securityContext", field])

# METADATA
# title: A privileged container
# description: A privileged container is root on the node, and so reads every tenant's pods, secrets and disks there.
# custom:
#   id: PWP-203
#   severity: critical
#   threat: SB-1, IAC-8
#   fix: Remove privileged (or set it to false); ask for the one capability or device plugin that is needed.
deny contains lib.finding("PWP-203", one.pod, sprintf("%s is privileged", [shown(one)])) if {
	some one in k8s.containers
	lib.at(context(one), ["privileged"]) == true
}

deny contains lib.finding("PWP-203", one.pod, sprintf("%s is a host process", [shown(one)])) if {
	some one in k8s.containers
	lib.at(effective(one, "windowsOptions"), ["hostProcess"]) == true
}

# METADATA
# title: A folder of the node inside a pod
# description: hostPath shows a pod the node's files, among them other tenants' volumes and the runtime's socket.
# custom:
#   id: PWP-204
#   severity: critical
#   threat: SB-1, IAC-8
#   fix: Use a PersistentVolumeClaim, emptyDir or a CSI volume of the tenant's own instead of hostPath.
deny contains lib.finding("PWP-204", pod, sprintf("volume %s is hostPath %s", [lib.text(lib.at(volume, ["name"])), lib.text(lib.at(volume, ["hostPath", "path"]))])) if {
	some pod in k8s.pods
	some volume in lib.each(lib.at(pod.spec, ["volumes"]))
	lib.at(volume, ["hostPath"]) != null
}

# METADATA
# title: A pod in the node's own namespaces
# description: With the node's network, processes or IPC a pod sees other tenants' traffic, environments and memory.
# custom:
#   id: PWP-205
#   severity: critical
#   threat: SB-1, SB-2, IAC-8
#   fix: Remove hostNetwork, hostPID and hostIPC.
deny contains lib.finding("PWP-205", pod, sprintf("%s is true", [field])) if {
	some pod in k8s.pods
	some field in ["hostNetwork", "hostPID", "hostIPC"]
	lib.at(pod.spec, [field]) == true
}

deny contains lib.finding("PWP-205", one.pod, sprintf("%s takes port %d of the node", [shown(one), port])) if {
	some one in k8s.containers
	some declared in lib.each(lib.at(one.container, ["ports"]))
	port := lib.number(lib.at(declared, ["hostPort"]))
	port > 0
}

# METADATA
# title: A container with added capabilities
# description: Capabilities such as SYS_ADMIN or NET_RAW open the kernel, or the neighbours' traffic, to the container.
# custom:
#   id: PWP-206
#   severity: high
#   threat: SB-1, IAC-8
#   fix: 'Use capabilities: {drop: ["ALL"]} and add none but NET_BIND_SERVICE.'
deny contains lib.finding("PWP-206", one.pod, sprintf("%s adds %s", [shown(one), capability])) if {
	some one in k8s.containers
	some capability in lib.each(lib.at(context(one), ["capabilities", "add"]))
	is_string(capability)
	not upper(capability) in {"NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE"}
}

deny contains lib.finding("PWP-206", one.pod, sprintf("%s does not drop ALL capabilities", [shown(one)])) if {
	some one in k8s.containers
	dropped := {capability | some capability in lib.each(lib.at(context(one), ["capabilities", "drop"])); is_string(capability)}
	count(dropped & {"ALL", "all", "All"}) == 0
}

# METADATA
# title: A container that may gain privileges
# description: Without allowPrivilegeEscalation false a setuid program inside makes its caller root again.
# custom:
#   id: PWP-207
#   severity: high
#   threat: SB-1, IAC-8
#   fix: 'Set securityContext: {allowPrivilegeEscalation: false} on the container.'
deny contains lib.finding("PWP-207", one.pod, sprintf("%s does not set allowPrivilegeEscalation to false", [shown(one)])) if {
	some one in k8s.containers
	lib.at(context(one), ["allowPrivilegeEscalation"]) != false
}

# METADATA
# title: A container that may run as root
# description: Root inside is the first step of most ways out (CVE-2024-21626 and its kin).
# custom:
#   id: PWP-208
#   severity: high
#   threat: SB-1, IAC-8
#   fix: 'Set runAsNonRoot: true and a runAsUser above 0, for the pod or the container.'
deny contains lib.finding("PWP-208", one.pod, sprintf("%s does not set runAsNonRoot to true", [shown(one)])) if {
	some one in k8s.containers
	effective(one, "runAsNonRoot") != true
}

deny contains lib.finding("PWP-208", one.pod, sprintf("%s runs as user 0", [shown(one)])) if {
	some one in k8s.containers
	effective(one, "runAsUser") == 0
}

# METADATA
# title: Untrusted code on the shared kernel
# description: Code that a model or a stranger wrote needs a second wall; the default runtime shares the node's kernel.
# custom:
#   id: PWP-209
#   severity: critical
#   threat: SB-6, IAC-8
#   fix: 'Set runtimeClassName to a sandboxed runtime (gvisor, kata …) on pods labelled partywall.dev/untrusted-code: "true".'
deny contains lib.finding("PWP-209", pod, "it runs untrusted code and has no runtimeClassName") if {
	some pod in k8s.pods
	untrusted(pod.labels)
	lib.lowered(lib.at(pod.spec, ["runtimeClassName"])) in {"", "runc", "crun", "default"}
}

# METADATA
# title: A container without limits
# description: One tenant's loop takes the whole node's memory and processor, and its neighbours stop.
# custom:
#   id: PWP-214
#   severity: medium
#   threat: SB-4, IAC-8
#   fix: 'Set resources: {limits: {cpu: …, memory: …}} on the container.'
deny contains lib.finding("PWP-214", one.pod, sprintf("%s has no limit of %s", [shown(one), resource])) if {
	some one in k8s.containers
	some resource in ["cpu", "memory"]
	lib.at(one.container, ["resources", "limits", resource]) == null
}
