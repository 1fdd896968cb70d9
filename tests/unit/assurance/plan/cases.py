"""One small change to a good plan, manifest or migration for each way that a rule must fail it."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from partywall.assurance.plan.sql import parse_migration
from partywall.assurance.plan.yaml_text import parse_yaml_text

GOOD = Path(__file__).parent / "good"
Document = dict[str, Any]


class Case(NamedTuple):
    rule: str
    name: str
    file: str
    break_it: Callable[[Any], Any]


@functools.cache
def _loaded(file: str) -> Any:
    text = (GOOD / file).read_text()
    if file.endswith(".json"):
        return json.loads(text)
    return [value for value, _ in parse_yaml_text(text)] if file.endswith(".yaml") else text


def documents(file: str, break_it: Callable[[Any], Any] | None = None) -> list[Document]:
    """Return a fixture as the rules see it, after the change."""
    value = copy.deepcopy(_loaded(file))
    if break_it is not None:
        changed = break_it(value)
        value = value if changed is None else changed
    if file.endswith(".sql"):
        return [{"path": file, "contents": parse_migration(value)}]
    return [{"path": file, "contents": one} for one in (value if isinstance(value, list) else [value])]


CASES: list[Case] = []


def case(rule: str, file: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    def keep(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        CASES.append(Case(rule, function.__name__, file, function))
        return function

    return keep


# --- Terraform --------------------------------------------------------------------------------------------------------


def change(plan: Any, address: str) -> Any:
    return next(one for one in plan["resource_changes"] if one["address"] == address)


def after(plan: Any, address: str) -> Any:
    return change(plan, address)["change"]["after"]


def add(plan: Any, address: str, values: dict[str, Any], **unknown: Any) -> None:
    kind, name = address.split(".")
    made = {"actions": ["create"], "before": None, "after": values, "after_unknown": unknown}
    plan["resource_changes"].append(
        {"address": address, "mode": "managed", "type": kind, "name": name, "provider_name": "x", "change": made}
    )


def configure(plan: Any, address: str, expressions: dict[str, Any]) -> None:
    resources = plan["configuration"]["root_module"]["resources"]
    resources[:] = [one for one in resources if one["address"] != address]
    resources.append({"address": address, "mode": "managed", "expressions": expressions})


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@case("PWP-101", "aws.json")
def a_public_acl(plan: Any) -> None:
    after(plan, 'aws_s3_bucket_acl.documents["acme"]')["acl"] = "public-read"


@case("PWP-101", "aws.json")
def a_grant_to_all_users(plan: Any) -> None:
    grant = {
        "grantee": [{"type": "Group", "uri": "http://acs.amazonaws.com/groups/global/AllUsers"}],
        "permission": "READ",
    }
    after(plan, 'aws_s3_bucket_acl.documents["acme"]')["access_control_policy"] = [{"grant": [grant]}]


@case("PWP-101", "aws.json")
def a_bucket_policy_for_everybody(plan: Any) -> None:
    everybody = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": "s3:GetObject", "Resource": "*"}
    after(plan, 'aws_s3_bucket_policy.documents["acme"]')["policy"] = policy(everybody)


@case("PWP-101", "aws.json")
def a_bucket_policy_for_all_but_one(plan: Any) -> None:
    all_but = {"Effect": "Allow", "NotPrincipal": {"AWS": "arn:aws:iam::1:root"}, "Action": "s3:*", "Resource": "*"}
    after(plan, 'aws_s3_bucket_policy.documents["acme"]')["policy"] = policy(all_but)


@case("PWP-101", "aws.json")
def a_bucket_policy_with_a_condition_that_excludes(plan: Any) -> None:
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
    everybody["Condition"] = {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}
    after(plan, 'aws_s3_bucket_policy.documents["acme"]')["policy"] = policy(everybody)


@case("PWP-101", "gcp.json")
def a_bucket_for_all_users(plan: Any) -> None:
    after(plan, "google_storage_bucket_iam_member.acme")["member"] = "allUsers"


@case("PWP-101", "gcp.json")
def a_binding_for_all_authenticated(plan: Any) -> None:
    values = {"bucket": "corp-acme", "role": "roles/storage.objectViewer", "members": ["allAuthenticatedUsers"]}
    add(plan, "google_storage_bucket_iam_binding.open", values)


@case("PWP-101", "gcp.json")
def a_whole_policy_for_all_users(plan: Any) -> None:
    data = json.dumps({"bindings": [{"role": "roles/storage.objectViewer", "members": ["allUsers"]}]})
    add(plan, "google_storage_bucket_iam_policy.open", {"bucket": "corp-acme", "policy_data": data})


@case("PWP-101", "azure.json")
def a_public_container(plan: Any) -> None:
    after(plan, "azurerm_storage_container.acme")["container_access_type"] = "blob"


@case("PWP-102", "aws.json")
def a_block_with_a_hole(plan: Any) -> None:
    after(plan, 'aws_s3_bucket_public_access_block.documents["acme"]')["restrict_public_buckets"] = False


@case("PWP-102", "aws.json")
def a_bucket_without_block(plan: Any) -> None:
    add(plan, "aws_s3_bucket.more", {"bucket": "more", "tags": {"tenant": "shared"}})


@case("PWP-102", "aws.json")
def a_block_in_a_module_for_another_bucket(plan: Any) -> None:
    module = plan["configuration"]["root_module"]["module_calls"]["audit"]["module"]
    module["resources"][1]["expressions"]["bucket"]["references"] = ["aws_s3_bucket.other.id", "aws_s3_bucket.other"]


@case("PWP-102", "gcp.json")
def prevention_inherited(plan: Any) -> None:
    after(plan, "google_storage_bucket.acme")["public_access_prevention"] = "inherited"


@case("PWP-102", "azure.json")
def nested_items_public(plan: Any) -> None:
    del after(plan, "azurerm_storage_account.acme")["allow_nested_items_to_be_public"]


@case("PWP-103", "gcp.json")
def object_lists(plan: Any) -> None:
    after(plan, "google_storage_bucket.acme")["uniform_bucket_level_access"] = False


@case("PWP-103", "aws.json")
def object_writers(plan: Any) -> None:
    rule = after(plan, 'aws_s3_bucket_ownership_controls.documents["acme"]')["rule"]
    rule[0]["object_ownership"] = "ObjectWriter"


@case("PWP-104", "aws.json")
def an_unknown_policy(plan: Any) -> None:
    one = change(plan, 'aws_s3_bucket_policy.documents["acme"]')["change"]
    del one["after"]["policy"]
    one["after_unknown"]["policy"] = True


@case("PWP-111", "aws.json")
def one_key_by_reference(plan: Any) -> None:
    for resource in plan["configuration"]["root_module"]["resources"]:
        if resource["address"] == "aws_db_instance.records":
            resource["expressions"]["kms_key_id"] = {
                "references": ['aws_kms_key.tenant["acme"].arn', "aws_kms_key.tenant"]
            }


@case("PWP-111", "aws.json")
def one_key_by_id(plan: Any) -> None:
    for tenant in ("acme", "globex"):
        after(plan, f'aws_db_instance.records["{tenant}"]')["kms_key_id"] = "arn:aws:kms:eu-central-1:1:key/shared"


@case("PWP-111", "gcp.json")
def a_google_key_for_two(plan: Any) -> None:
    key = after(plan, "google_storage_bucket.acme")["encryption"]
    after(plan, "google_storage_bucket.globex")["encryption"] = key


@case("PWP-111", "azure.json")
def an_azure_key_for_two(plan: Any) -> None:
    key = after(plan, "azurerm_storage_account.acme")["customer_managed_key"]
    after(plan, "azurerm_postgresql_flexible_server.globex")["customer_managed_key"] = key


@case("PWP-112", "aws.json")
def a_database_without_key(plan: Any) -> None:
    values = {"storage_encrypted": True, "publicly_accessible": False, "tags": {"tenant": "acme"}}
    add(plan, "aws_db_instance.more", values)


@case("PWP-112", "aws.json")
def the_providers_key(plan: Any) -> None:
    values = {"kms_key_id": "alias/aws/secretsmanager", "tags": {"tenant": "acme"}}
    add(plan, "aws_secretsmanager_secret.more", values)


@case("PWP-112", "gcp.json")
def a_google_database_without_key(plan: Any) -> None:
    del after(plan, "google_sql_database_instance.acme")["encryption_key_name"]


@case("PWP-112", "azure.json")
def an_account_without_key(plan: Any) -> None:
    after(plan, "azurerm_storage_account.acme")["customer_managed_key"] = []


@case("PWP-113", "aws.json")
def a_key_for_everybody(plan: Any) -> None:
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}
    after(plan, 'aws_kms_key.tenant["acme"]')["policy"] = policy(everybody)


@case("PWP-113", "gcp.json")
def a_google_key_for_everybody(plan: Any) -> None:
    after(plan, "google_kms_crypto_key_iam_member.acme")["member"] = "allAuthenticatedUsers"


@case("PWP-114", "aws.json")
def a_key_through_a_variable(plan: Any) -> None:
    for resource in plan["configuration"]["root_module"]["resources"]:
        if resource["address"] == "aws_db_instance.records":
            resource["expressions"]["kms_key_id"] = {"references": ["var.key"]}


@case("PWP-121", "aws.json")
def a_queue_of_nobody(plan: Any) -> None:
    add(plan, "aws_sqs_queue.events", {"name": "events", "tags": {"team": "platform"}})


@case("PWP-121", "gcp.json")
def a_bucket_of_nobody(plan: Any) -> None:
    bucket = after(plan, "google_storage_bucket.acme")
    bucket["labels"] = bucket["effective_labels"] = {}


@case("PWP-121", "azure.json")
def a_vault_of_nobody(plan: Any) -> None:
    add(plan, "azurerm_key_vault.more", {"name": "more", "tags": None})


@case("PWP-131", "aws.json")
def ssh_for_the_world(plan: Any) -> None:
    ingress = after(plan, 'aws_security_group.agents["acme"]')["ingress"]
    ingress[0] |= {"from_port": 22, "to_port": 22, "cidr_blocks": ["0.0.0.0/0"]}


@case("PWP-131", "aws.json")
def a_rule_for_the_world(plan: Any) -> None:
    values = {"type": "ingress", "from_port": 0, "to_port": 65535, "protocol": "tcp", "ipv6_cidr_blocks": ["::/0"]}
    add(plan, "aws_security_group_rule.open", values | {"security_group_id": "sg-1"})


@case("PWP-131", "aws.json")
def a_new_style_rule_for_the_world(plan: Any) -> None:
    values = {"cidr_ipv4": "0.0.0.0/0", "from_port": 5432, "to_port": 5432, "ip_protocol": "tcp"}
    add(plan, "aws_vpc_security_group_ingress_rule.open", values | {"security_group_id": "sg-1"})


@case("PWP-131", "gcp.json")
def a_firewall_for_the_world(plan: Any) -> None:
    after(plan, "google_compute_firewall.acme")["source_ranges"] = ["0.0.0.0/0"]


@case("PWP-131", "gcp.json")
def a_firewall_without_sources(plan: Any) -> None:
    after(plan, "google_compute_firewall.acme")["source_ranges"] = []


@case("PWP-131", "azure.json")
def a_group_for_the_internet(plan: Any) -> None:
    after(plan, "azurerm_network_security_group.acme")["security_rule"][0]["source_address_prefix"] = "*"


@case("PWP-131", "azure.json")
def many_ports_for_the_internet(plan: Any) -> None:
    after(plan, "azurerm_network_security_rule.https")["destination_port_range"] = "80-9000"


@case("PWP-132", "aws.json")
def one_tenants_group_in_anothers(plan: Any) -> None:
    add(plan, "aws_security_group.acme", {"id": "sg-acme", "ingress": [], "tags": {"tenant": "acme"}})
    add(plan, "aws_security_group.globex", {"id": "sg-globex", "ingress": [], "tags": {"tenant": "globex"}})
    values = {"type": "ingress", "from_port": 443, "to_port": 443, "security_group_id": "sg-acme"}
    add(plan, "aws_security_group_rule.join", values | {"source_security_group_id": "sg-globex"})


@case("PWP-132", "aws.json")
def one_tenants_group_in_anothers_by_reference(plan: Any) -> None:
    add(plan, "aws_security_group.acme", {"ingress": [], "tags": {"tenant": "acme"}}, id=True)
    add(plan, "aws_security_group.globex", {"ingress": [], "tags": {"tenant": "globex"}}, id=True)
    add(plan, "aws_vpc_security_group_ingress_rule.join", {"from_port": 443, "to_port": 443}, security_group_id=True)
    opened = {"references": ["aws_security_group.acme.id", "aws_security_group.acme"]}
    admitted = {"references": ["aws_security_group.globex.id", "aws_security_group.globex"]}
    expressions = {"security_group_id": opened, "referenced_security_group_id": admitted}
    configure(plan, "aws_vpc_security_group_ingress_rule.join", expressions)


@case("PWP-132", "azure.json")
def peered_tenants(plan: Any) -> None:
    after(plan, "azurerm_virtual_network.globex")["id"] = "/virtualNetworks/net-globex"
    after(plan, "azurerm_virtual_network_peering.hub")["remote_virtual_network_id"] = "/virtualNetworks/net-globex"


@case("PWP-141", "aws.json")
def a_public_database(plan: Any) -> None:
    after(plan, 'aws_db_instance.records["acme"]')["publicly_accessible"] = True


@case("PWP-141", "gcp.json")
def a_database_with_an_address(plan: Any) -> None:
    settings = after(plan, "google_sql_database_instance.acme")["settings"][0]
    settings["ip_configuration"][0]["ipv4_enabled"] = True


@case("PWP-141", "gcp.json")
def a_database_for_every_network(plan: Any) -> None:
    settings = after(plan, "google_sql_database_instance.acme")["settings"][0]
    settings["ip_configuration"][0]["authorized_networks"] = [{"name": "all", "value": "0.0.0.0/0"}]


@case("PWP-141", "azure.json")
def a_server_on_the_public_network(plan: Any) -> None:
    after(plan, "azurerm_postgresql_flexible_server.acme")["public_network_access_enabled"] = True


@case("PWP-142", "aws.json")
def an_unencrypted_database(plan: Any) -> None:
    after(plan, 'aws_db_instance.records["acme"]')["storage_encrypted"] = False


@case("PWP-142", "aws.json")
def an_unencrypted_disk(plan: Any) -> None:
    values = {"size": 8, "kms_key_id": "arn:aws:kms:eu-central-1:1:key/acme", "tags": {"tenant": "acme"}}
    add(plan, "aws_ebs_volume.more", values)


@case("PWP-151", "aws.json")
def every_bucket(plan: Any) -> None:
    statement = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    after(plan, 'aws_iam_role_policy.agent["acme"]')["policy"] = policy(statement)


@case("PWP-151", "aws.json")
def every_bucket_of_a_name(plan: Any) -> None:
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::corp-documents-*/*"}
    after(plan, 'aws_iam_role_policy.agent["acme"]')["policy"] = policy(statement)


@case("PWP-151", "aws.json")
def every_bucket_for_whoever_has_a_tag(plan: Any) -> None:
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    statement["Condition"] = {"StringLike": {"aws:ResourceTag/tenant": "*"}}
    after(plan, 'aws_iam_role_policy.agent["acme"]')["policy"] = policy(statement)


@case("PWP-151", "aws.json")
def every_key(plan: Any) -> None:
    statement = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "arn:aws:kms:*:111122223333:key/*"}
    after(plan, 'aws_iam_role.agent["acme"]')["inline_policy"] = [{"name": "x", "policy": policy(statement)}]


@case("PWP-151", "aws.json")
def all_but_some_actions(plan: Any) -> None:
    statement = {"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:aws:s3:::corp-documents-acme/*"}
    after(plan, 'aws_iam_role_policy.agent["acme"]')["policy"] = policy(statement)


@case("PWP-151", "aws.json")
def the_administrators_policy(plan: Any) -> None:
    values = {"role": "agent-acme", "policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess"}
    add(plan, "aws_iam_role_policy_attachment.admin", values)


@case("PWP-151", "gcp.json")
def viewer_of_the_project(plan: Any) -> None:
    after(plan, "google_project_iam_member.metrics")["role"] = "roles/storage.objectViewer"


@case("PWP-151", "azure.json")
def reader_of_the_subscription(plan: Any) -> None:
    after(plan, "azurerm_role_assignment.acme")["scope"] = "/subscriptions/0000"


@case("PWP-152", "aws.json")
def a_role_for_everybody(plan: Any) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    after(plan, 'aws_iam_role.agent["acme"]')["assume_role_policy"] = policy(statement)


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def find(manifests: Any, kind: str, name: str, namespace: str | None = None) -> Any:
    return next(
        one
        for one in manifests
        if one["kind"] == kind
        and one["metadata"]["name"] == name
        and namespace in {None, one["metadata"].get("namespace")}
    )


def pod(manifests: Any) -> Any:
    return find(manifests, "Deployment", "agent")["spec"]["template"]["spec"]


def container(manifests: Any) -> Any:
    return pod(manifests)["containers"][0]


def without(manifests: Any, kind: str, name: str, namespace: str) -> Any:
    manifests.remove(find(manifests, kind, name, namespace))


@case("PWP-201", "tenants.yaml")
def no_default_deny(manifests: Any) -> None:
    without(manifests, "NetworkPolicy", "default-deny", "globex")


@case("PWP-201", "tenants.yaml")
def deny_for_some_pods_only(manifests: Any) -> None:
    spec = find(manifests, "NetworkPolicy", "default-deny", "globex")["spec"]
    spec["podSelector"] = {"matchLabels": {"app": "agent"}}


@case("PWP-201", "tenants.yaml")
def egress_left_open(manifests: Any) -> None:
    del find(manifests, "NetworkPolicy", "default-deny", "globex")["spec"]["policyTypes"]


@case("PWP-202", "tenants.yaml")
def an_unlabelled_namespace(manifests: Any) -> None:
    del find(manifests, "Namespace", "globex")["metadata"]["labels"]["tenant"]


@case("PWP-202", "tenants.yaml")
def a_pod_in_a_namespace_of_nobody(manifests: Any) -> None:
    deployment = find(manifests, "Deployment", "agent")
    deployment["metadata"]["namespace"] = "default"
    deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] = False
    del deployment["spec"]["template"]["metadata"]["labels"]["tenant"]


@case("PWP-203", "tenants.yaml")
def a_privileged_container(manifests: Any) -> None:
    container(manifests)["securityContext"]["privileged"] = True


@case("PWP-203", "tenants.yaml")
def a_privileged_init_container(manifests: Any) -> None:
    init = copy.deepcopy(container(manifests))
    init["securityContext"]["privileged"] = True
    pod(manifests)["initContainers"] = [init]


@case("PWP-203", "tenants.yaml")
def a_privileged_pod_of_a_custom_resource(manifests: Any) -> None:
    template = copy.deepcopy(find(manifests, "Deployment", "agent")["spec"]["template"])
    template["spec"]["containers"][0]["securityContext"]["privileged"] = True
    custom = {"apiVersion": "agents.x-k8s.io/v1alpha1", "kind": "Sandbox", "spec": {"podTemplate": template}}
    manifests.append(custom | {"metadata": {"name": "box", "namespace": "acme"}})


@case("PWP-203", "tenants.yaml")
def a_privileged_pod_in_a_list(manifests: Any) -> None:
    container(manifests)["securityContext"]["privileged"] = True
    deployment = find(manifests, "Deployment", "agent")
    manifests.remove(deployment)
    manifests.append({"apiVersion": "v1", "kind": "List", "items": [deployment]})


@case("PWP-204", "tenants.yaml")
def a_folder_of_the_node(manifests: Any) -> None:
    pod(manifests)["volumes"].append({"name": "run", "hostPath": {"path": "/run/containerd"}})


@case("PWP-205", "tenants.yaml")
def the_nodes_network(manifests: Any) -> None:
    pod(manifests)["hostNetwork"] = True


@case("PWP-205", "tenants.yaml")
def the_nodes_processes(manifests: Any) -> None:
    pod(manifests)["hostPID"] = True


@case("PWP-205", "tenants.yaml")
def a_port_of_the_node(manifests: Any) -> None:
    container(manifests)["ports"] = [{"containerPort": 80, "hostPort": 80}]


@case("PWP-206", "tenants.yaml")
def an_added_capability(manifests: Any) -> None:
    container(manifests)["securityContext"]["capabilities"]["add"] = ["NET_RAW"]


@case("PWP-206", "tenants.yaml")
def capabilities_kept(manifests: Any) -> None:
    del container(manifests)["securityContext"]["capabilities"]


@case("PWP-207", "tenants.yaml")
def escalation_not_refused(manifests: Any) -> None:
    del container(manifests)["securityContext"]["allowPrivilegeEscalation"]


@case("PWP-208", "tenants.yaml")
def root_not_refused(manifests: Any) -> None:
    del pod(manifests)["securityContext"]["runAsNonRoot"]


@case("PWP-208", "tenants.yaml")
def user_zero(manifests: Any) -> None:
    container(manifests)["securityContext"]["runAsUser"] = 0


@case("PWP-209", "tenants.yaml")
def untrusted_code_on_the_shared_kernel(manifests: Any) -> None:
    job = find(manifests, "CronJob", "code-runner")["spec"]["jobTemplate"]["spec"]["template"]
    del job["spec"]["runtimeClassName"]


@case("PWP-210", "tenants.yaml")
def a_mounted_token(manifests: Any) -> None:
    pod(manifests)["automountServiceAccountToken"] = True


@case("PWP-210", "tenants.yaml")
def the_default_accounts_token(manifests: Any) -> None:
    del pod(manifests)["serviceAccountName"]


@case("PWP-211", "tenants.yaml")
def an_account_for_two(manifests: Any) -> None:
    find(manifests, "Namespace", "acme")["metadata"]["labels"]["tenant"] = "shared"
    find(manifests, "Secret", "model-key")["metadata"]["labels"] = {"tenant": "acme"}
    other = copy.deepcopy(find(manifests, "Deployment", "agent"))
    other["metadata"]["name"] = "other"
    other["spec"]["template"]["metadata"]["labels"]["tenant"] = "globex"
    del other["spec"]["template"]["spec"]["containers"][0]["env"]
    manifests.append(other)


@case("PWP-212", "tenants.yaml")
def a_wildcard_for_a_tenant(manifests: Any) -> None:
    find(manifests, "ClusterRole", "pod-reader")["rules"][0]["verbs"] = ["*"]


@case("PWP-212", "tenants.yaml")
def the_clusters_admin(manifests: Any) -> None:
    find(manifests, "ClusterRoleBinding", "pod-readers")["roleRef"]["name"] = "cluster-admin"


@case("PWP-212", "tenants.yaml")
def every_secret_for_a_tenant(manifests: Any) -> None:
    find(manifests, "ClusterRole", "pod-reader")["rules"][0]["resources"].append("secrets")


@case("PWP-212", "tenants.yaml")
def the_clusters_admin_for_everybody(manifests: Any) -> None:
    binding = find(manifests, "ClusterRoleBinding", "pod-readers")
    binding["roleRef"]["name"] = "cluster-admin"
    binding["subjects"] = [{"kind": "Group", "name": "system:authenticated"}]


@case("PWP-213", "tenants.yaml")
def a_secret_of_another_tenant(manifests: Any) -> None:
    find(manifests, "Secret", "model-key")["metadata"]["labels"] = {"tenant": "globex"}


@case("PWP-213", "tenants.yaml")
def a_mounted_secret_of_another_tenant(manifests: Any) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "k", "namespace": "acme", "labels": {"tenant": "globex"}},
    }
    manifests.append(secret)
    pod(manifests)["volumes"].append({"name": "k", "projected": {"sources": [{"secret": {"name": "k"}}]}})


@case("PWP-214", "tenants.yaml")
def no_limits(manifests: Any) -> None:
    del container(manifests)["resources"]


@case("PWP-215", "tenants.yaml")
def egress_to_everywhere(manifests: Any) -> None:
    find(manifests, "NetworkPolicy", "from-gateway")["spec"]["egress"].append({})


@case("PWP-215", "tenants.yaml")
def egress_to_every_address(manifests: Any) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "128.0.0.0/1", "except": ["192.168.0.0/16"]}}]}
    find(manifests, "NetworkPolicy", "from-gateway")["spec"]["egress"].append(rule)


@case("PWP-215", "tenants.yaml")
def egress_to_every_v6_address(manifests: Any) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "::/0"}}], "ports": [{"port": 1, "endPort": 1024}]}
    find(manifests, "NetworkPolicy", "from-gateway")["spec"]["egress"].append(rule)


@case("PWP-216", "tenants.yaml")
def an_account_in_anothers_namespace(manifests: Any) -> None:
    find(manifests, "RoleBinding", "reader")["subjects"][0]["namespace"] = "globex"


@case("PWP-216", "tenants.yaml")
def everybody_in_a_namespace(manifests: Any) -> None:
    subject = {"kind": "Group", "name": "system:serviceaccounts"}
    find(manifests, "RoleBinding", "reader")["subjects"].append(subject)


@case("PWP-217", "tenants.yaml")
def ingress_from_everybody(manifests: Any) -> None:
    del find(manifests, "NetworkPolicy", "from-gateway")["spec"]["ingress"][0]["from"]


@case("PWP-217", "tenants.yaml")
def ingress_from_every_namespace(manifests: Any) -> None:
    find(manifests, "NetworkPolicy", "from-gateway")["spec"]["ingress"][0]["from"] = [{"namespaceSelector": {}}]


@case("PWP-217", "tenants.yaml")
def ingress_from_another_tenant(manifests: Any) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "globex"}}}
    find(manifests, "NetworkPolicy", "from-gateway")["spec"]["ingress"][0]["from"] = [peer]


@case("PWP-218", "tenants.yaml")
def a_guest_in_anothers_namespace(manifests: Any) -> None:
    job = find(manifests, "CronJob", "code-runner")["spec"]["jobTemplate"]["spec"]["template"]
    job["metadata"]["labels"]["tenant"] = "acme"


@case("PWP-219", "tenants.yaml")
def no_quota(manifests: Any) -> None:
    without(manifests, "ResourceQuota", "quota", "globex")


# --- SQL --------------------------------------------------------------------------------------------------------------

NOTES = "0001_notes.sql"


def swapped(rule: str, old: str, new: str) -> None:
    """Add a case that replaces one text of the migration."""

    def change_text(text: str) -> str:
        assert old in text, old
        return text.replace(old, new)

    CASES.append(Case(rule, new.strip()[:60] or f"without {old.strip()[:50]}", NOTES, change_text))


def added(rule: str, statement: str) -> None:
    """Add a case that adds a statement to the migration."""
    CASES.append(Case(rule, statement[:60], NOTES, lambda text: f"{text}\n{statement};\n"))


WHO = """create function app.who() returns text {};
create policy who on app.note to app using (tenant = app.who())"""
swapped("PWP-301", "alter table app.note enable row level security;", "")
swapped("PWP-301", "alter table app.note force row level security;", "")
added("PWP-301", "create table app.copy as select * from app.note")
added("PWP-301", "select * into app.copy from app.note")
added("PWP-301", "create foreign table app.elsewhere (x int) server other")
added("PWP-301", "create schema more create table bare (x int)")
swapped("PWP-302", "to app using (tenant = (select id from pw.tenant));", "to app using (true);")
swapped("PWP-302", "to app using (tenant = (select id from pw.tenant));", "to app using (1 = 1 or tenant = 'x');")
swapped("PWP-302", "to app using (tenant = (select id from pw.tenant));", "to app using (tenant = tenant);")
swapped("PWP-302", "to app using (tenant = (select id from pw.tenant));", "to app using (current_user = 'app');")
swapped("PWP-302", "with check (tenant = (select id from pw.tenant))", "with check (not false)")
added("PWP-302", "create policy open on app.note for insert to app")
added("PWP-302", "alter policy tenant on app.note using ('t'::boolean)")
swapped(
    "PWP-303",
    "to app using (tenant = (select id from pw.tenant));",
    "to app using (tenant = current_setting('app.t'));",
)
swapped(
    "PWP-303",
    "with check (tenant = (select id from pw.tenant))",
    "with check (tenant = (select current_setting('t', true)))",
)
added("PWP-303", WHO.format("language sql as $$ select current_setting('app.tenant') $$"))
added("PWP-303", WHO.format("language sql return current_setting('app.tenant')"))
swapped("PWP-304", " set search_path = pg_catalog, pg_temp", "")
swapped("PWP-304", " set search_path = pg_catalog, pg_temp", " set search_path from current")
added("PWP-304", "alter function app.other() security definer")
added("PWP-305", "grant select on all tables in schema app to public")
added("PWP-305", "alter default privileges in schema app grant select on tables to public")
swapped("PWP-306", "nobypassrls", "bypassrls")
added("PWP-306", "alter role app with superuser")
swapped("PWP-307", "security_invoker = true, ", "")
swapped("PWP-307", ", security_barrier = true", "")
added("PWP-307", "create materialized view app.all_notes as select * from app.note")
added("PWP-307", "alter view app.recent set (security_invoker = false)")
added("PWP-307", "alter view app.recent reset (security_barrier)")
swapped("PWP-308", "alter table app.note_acme enable row level security, force row level security;", "")
added("PWP-308", "create table app.note_more () inherits (app.note)")
added("PWP-308", "alter table app.note attach partition app.note_old for values in ('old')")
swapped("PWP-309", "unique (tenant, slug)", "unique (slug)")
swapped("PWP-309", "body text not null", "body text not null unique")
swapped("PWP-309", "on app.note (tenant, lower(slug))", "on app.note (lower(slug))")
added("PWP-309", "alter table app.note add constraint one_slug unique (slug)")
added("PWP-310", "alter table app.note disable row level security")
added("PWP-310", "alter table app.note no force row level security")
added("PWP-310", "drop policy tenant on app.archive")
added("PWP-311", "do $$ begin execute 'create table app.hidden (x int)'; end $$")
added("PWP-311", "create function app.f() returns void language plpgsql as $$ begin execute 'select 1'; end $$")
