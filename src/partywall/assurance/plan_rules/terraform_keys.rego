# METADATA
# scope: package
# title: A key of its own for each tenant
package partywall.plan.terraform_keys

import rego.v1

import data.partywall.plan.lib
import data.partywall.plan.terraform as tf

# Where a resource names its key: paths in `after`, with lists at fixed places as Terraform writes blocks.
key_paths := {
	"aws_s3_bucket_server_side_encryption_configuration": [["rule", "apply_server_side_encryption_by_default", "kms_master_key_id"]],
	"aws_db_instance": [["kms_key_id"]],
	"aws_rds_cluster": [["kms_key_id"]],
	"aws_ebs_volume": [["kms_key_id"]],
	"aws_efs_file_system": [["kms_key_id"]],
	"aws_dynamodb_table": [["server_side_encryption", "kms_key_arn"]],
	"aws_sqs_queue": [["kms_master_key_id"]],
	"aws_sns_topic": [["kms_master_key_id"]],
	"aws_secretsmanager_secret": [["kms_key_id"]],
	"aws_opensearch_domain": [["encrypt_at_rest", "kms_key_id"]],
	"google_storage_bucket": [["encryption", "default_kms_key_name"]],
	"google_sql_database_instance": [["encryption_key_name"]],
	"google_bigquery_dataset": [["default_encryption_configuration", "kms_key_name"]],
	"google_compute_disk": [["disk_encryption_key", "kms_key_self_link"]],
	"google_pubsub_topic": [["kms_key_name"]],
	"azurerm_storage_account": [["customer_managed_key", "key_vault_key_id"]],
	"azurerm_storage_account_customer_managed_key": [["key_vault_key_id"], ["key_name"]],
	"azurerm_managed_disk": [["disk_encryption_set_id"]],
	"azurerm_mssql_database": [["transparent_data_encryption_key_vault_key_id"]],
	"azurerm_postgresql_flexible_server": [["customer_managed_key", "key_vault_key_id"]],
}

# Blocks are lists of one in a plan; a path steps through them.
through(value, path) := found if {
	count(path) == 1
	found := [inner | some one in lib.each(value); inner := lib.at(one, [path[0]]); inner != null]
} else := found if {
	count(path) == 2
	found := [inner |
		some one in lib.each(value)
		some two in lib.each(lib.at(one, [path[0]]))
		inner := lib.at(two, [path[1]])
		inner != null
	]
} else := [inner |
	some one in lib.each(value)
	some two in lib.each(lib.at(one, [path[0]]))
	some three in lib.each(lib.at(two, [path[1]]))
	inner := lib.at(three, [path[2]])
	inner != null
]

# The names of the keys that a resource uses: an id that is known, or the key resource that its expression refers to.
known_keys(resource) := [lower(id) |
	some path in object.get(key_paths, [resource.type], [])
	some id in through(resource.after, path)
	is_string(id)
	not managed(id)
]

managed(id) if id == ""

managed(id) if contains(id, "alias/aws/")

referred_keys(resource) := [target |
	some path in object.get(key_paths, [resource.type], [])
	some expression in through(object.get(tf.expressions, [resource.key], {}), path)
	some key in tf.referred(resource, expression)
	target := instance_key(resource, expression, key)
]

instance_key(resource, expression, key) := concat("#", [key, resource.instance]) if {
	tf.by_instance(expression)
} else := key

# What a bucket's own key settings say of the bucket: they carry no tags of their own.
settings_of := {
	"aws_s3_bucket_server_side_encryption_configuration": ["bucket"],
	"azurerm_storage_account_customer_managed_key": ["storage_account_id"],
}

owner(resource) := resource.tenant if {
	resource.tenant != ""
} else := found[0] if {
	found := [tenant |
		some name in targets(resource)
		tenant := object.get(tenant_of_store, [name], "")
		tenant != ""
	]
	count(found) > 0
} else := ""

targets(resource) := array.concat(
	[id | some field in object.get(settings_of, [resource.type], []); id := lib.text(lib.at(resource.after, [field])); id != ""],
	[target |
		some field in object.get(settings_of, [resource.type], [])
		expression := tf.expression_of(resource, [field])
		some key in tf.referred(resource, expression)
		target := instance_key(resource, expression, key)
	],
)

# Names of one store in a plan, each to its tenant; instances of one resource only with their index.
tenant_of_store[name] := tenant if {
	some name, tenants in tenants_of_store
	count(tenants) == 1
	some tenant in tenants
}

tenants_of_store[name] contains resource.tenant if {
	some resource in tf.resources
	resource.type in {"aws_s3_bucket", "azurerm_storage_account"}
	resource.tenant != ""
	some name in [
		lib.text(lib.at(resource.after, ["bucket"])), lib.text(lib.at(resource.after, ["id"])), resource.key,
		concat("#", [resource.key, resource.instance]),
	]
	name != ""
}

uses := [{"resource": resource, "key": key, "tenant": tenant} |
	some resource in tf.resources
	object.get(key_paths, [resource.type], []) != []
	tenant := owner(resource)
	tenant != ""
	some key in names_of(resource)
]

names_of(resource) := known if {
	known := known_keys(resource)
	count(known) > 0
} else := referred_keys(resource)

tenants_of_key[use.key] contains use.tenant if some use in uses

# Stores whose key is set by a resource of its own.
keyed_apart contains target if {
	some resource in tf.resources
	object.get(settings_of, [resource.type], []) != []
	has_key(resource)
	some target in targets(resource)
}

has_key(resource) if count(known_keys(resource)) > 0

has_key(resource) if count(referred_keys(resource)) > 0

has_key(resource) if {
	some path in object.get(key_paths, [resource.type], [])
	some unknown in through(resource.unknown, path)
	unknown == true
}

is_keyed(resource) if has_key(resource)

is_keyed(resource) if {
	some name in [
		lib.text(lib.at(resource.after, ["bucket"])), lib.text(lib.at(resource.after, ["id"])), resource.key,
		concat("#", [resource.key, resource.instance]),
	]
	name != ""
	name in keyed_apart
}

stores := {type | some type, _ in key_paths; not type in {name | some name, _ in settings_of}} | {"aws_s3_bucket"}

# METADATA
# title: One key for several tenants
# description: >-
#   Whoever may use the key for one tenant can decrypt the other's data, and destroying one tenant's key destroys both.
# custom:
#   id: PWP-111
#   severity: critical
#   threat: CR-1, CR-2, IAC-2
#   fix: Make one key for each tenant (for_each over tenants) and name it where that tenant's data is stored.
deny contains lib.finding("PWP-111", use.resource, sprintf("its key is used by %d tenants: %s", [count(tenants), concat(", ", sort(tenants))])) if {
	some use in uses
	tenants := tenants_of_key[use.key]
	count(tenants) > 1
}

# METADATA
# title: A tenant's data without a key of the tenant's own
# description: Under the provider's default key a tenant cannot be erased, and nothing but access lists parts tenants.
# custom:
#   id: PWP-112
#   severity: high
#   threat: CR-1, CR-2, IAC-2
#   fix: Set the customer-managed key (kms_key_id, default_kms_key_name, customer_managed_key …) to the tenant's own key.
deny contains lib.finding("PWP-112", resource, sprintf("it holds data of %s and names no key of its own", [resource.tenant])) if {
	some resource in tf.resources
	resource.tenant != ""
	resource.type in stores
	not is_keyed(resource)
}

# METADATA
# title: A key that anybody may use
# description: A key policy with Principal * or a public member lets any account decrypt what the key protects.
# custom:
#   id: PWP-113
#   severity: critical
#   threat: CR-1, IAC-2
#   fix: Name the principals of the tenant that owns the key, and nobody else.
deny contains lib.finding("PWP-113", resource, "its policy allows everybody (Principal *)") if {
	some resource in tf.resources
	resource.type in {"aws_kms_key", "aws_kms_key_policy", "aws_kms_replica_key", "aws_kms_external_key"}
	some statement in tf.allowing(lib.at(resource.after, ["policy"]))
	tf.anybody(statement)
	not tf.conditioned(statement)
}

deny contains lib.finding("PWP-113", resource, sprintf("it gives the key to %s", [member])) if {
	some resource in tf.resources
	startswith(resource.type, "google_kms_")
	some field in ["member", "members"]
	some member in lib.each(lib.at(resource.after, [field]))
	lib.lowered(member) in {"allusers", "allauthenticatedusers"}
}

# METADATA
# title: A key whose identity is known only after apply
# description: The plan does not say which key it will be, so it cannot be shown that no other tenant uses it.
# custom:
#   id: PWP-114
#   severity: low
#   threat: IAC-2
#   fix: Refer to the key resource itself, in the same module, instead of passing its id through variables.
warn contains lib.finding("PWP-114", resource, "which key it will use is known only after apply") if {
	some resource in tf.resources
	owner(resource) != ""
	has_key(resource)
	count(names_of(resource)) == 0
}
