# METADATA
# scope: package
# title: Buckets that others than their tenant can read
package partywall.plan.terraform_storage

import rego.v1

import data.partywall.plan.lib
import data.partywall.plan.terraform as tf

open_acls := {
	"public-read", "public-read-write", "authenticated-read", "website", "publicread", "publicreadwrite",
	"projectprivatepublicread", "log-delivery-write-public", "authenticatedread",
}

acl_fields := {
	"aws_s3_bucket": ["acl"],
	"aws_s3_bucket_acl": ["acl"],
	"aws_s3_object": ["acl"],
	"google_storage_bucket_acl": ["predefined_acl", "default_acl"],
	"google_storage_default_object_acl": ["predefined_acl"],
	"google_storage_object_acl": ["predefined_acl"],
}

policy_fields := {
	"aws_s3_bucket_policy": ["policy"],
	"aws_kms_key_policy": ["policy"],
	"aws_iam_policy": ["policy"],
	"aws_iam_role_policy": ["policy"],
	"google_storage_bucket_iam_policy": ["policy_data"],
}

anybody := {"allusers", "allauthenticatedusers"}

groups := {
	"http://acs.amazonaws.com/groups/global/allusers",
	"http://acs.amazonaws.com/groups/global/authenticatedusers",
}

blocks := ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"]

whole(resource) if {
	every name in blocks {
		lib.at(resource.after, [name]) == true
	}
}

# Buckets with a whole public access block: by name, or by what the configuration refers to.
blocked contains target if {
	some resource in tf.resources
	resource.type == "aws_s3_bucket_public_access_block"
	whole(resource)
	some target in block_targets(resource)
}

block_targets(resource) := [lib.text(lib.at(resource.after, ["bucket"]))] if {
	lib.text(lib.at(resource.after, ["bucket"])) != ""
} else := [target |
	expression := tf.expression_of(resource, ["bucket"])
	some key in tf.referred(resource, expression)
	target := instance_key(resource, expression, key)
]

instance_key(resource, expression, key) := concat("#", [key, resource.instance]) if {
	tf.by_instance(expression)
} else := key

account_blocked if {
	some resource in tf.resources
	resource.type == "aws_s3_account_public_access_block"
	whole(resource)
}

is_blocked(bucket) if account_blocked

is_blocked(bucket) if {
	some name in [
		lib.text(lib.at(bucket.after, ["bucket"])), lib.text(lib.at(bucket.after, ["id"])), bucket.key,
		concat("#", [bucket.key, bucket.instance]),
	]
	name != ""
	name in blocked
}

# METADATA
# title: Storage that anybody on the internet can read
# description: A public ACL, a public grant or a policy with Principal * hands every tenant's objects to whoever asks.
# custom:
#   id: PWP-101
#   severity: critical
#   threat: NI-1, IAC-1
#   fix: Remove the public ACL, grant or policy; serve files through the platform, or by signed addresses that expire.
deny contains lib.finding("PWP-101", resource, sprintf("its ACL is %s", [acl])) if {
	some resource in tf.resources
	some field in acl_fields[resource.type]
	acl := lib.at(resource.after, [field])
	lib.lowered(acl) in open_acls
}

deny contains lib.finding("PWP-101", resource, sprintf("it grants access to %s", [uri])) if {
	some resource in tf.resources
	resource.type == "aws_s3_bucket_acl"
	some policy in lib.each(lib.at(resource.after, ["access_control_policy"]))
	some grant in lib.each(lib.at(policy, ["grant"]))
	some grantee in lib.each(lib.at(grant, ["grantee"]))
	uri := lib.at(grantee, ["uri"])
	lib.lowered(uri) in groups
}

deny contains lib.finding("PWP-101", resource, "its policy allows everybody (Principal *)") if {
	some resource in tf.resources
	resource.type in {"aws_s3_bucket_policy", "aws_s3_bucket", "aws_s3_access_point", "aws_s3control_access_point_policy"}
	some statement in tf.allowing(lib.at(resource.after, ["policy"]))
	tf.anybody(statement)
	not tf.conditioned(statement)
}

deny contains lib.finding("PWP-101", resource, sprintf("it gives %s to %s", [lib.text(lib.at(resource.after, ["role"])), member])) if {
	some resource in tf.resources
	resource.type in {"google_storage_bucket_iam_member", "google_storage_bucket_iam_binding", "google_storage_bucket_access_control", "google_storage_default_object_access_control"}
	some field in ["member", "members", "entity"]
	some member in lib.each(lib.at(resource.after, [field]))
	lib.lowered(member) in anybody
}

deny contains lib.finding("PWP-101", resource, sprintf("it gives %s to %s", [lib.text(lib.at(binding, ["role"])), member])) if {
	some resource in tf.resources
	resource.type == "google_storage_bucket_iam_policy"
	some binding in lib.each(lib.at(tf.parsed(lib.at(resource.after, ["policy_data"])), ["bindings"]))
	some member in lib.each(lib.at(binding, ["members"]))
	lib.lowered(member) in anybody
}

deny contains lib.finding("PWP-101", resource, sprintf("its container_access_type is %s", [access])) if {
	some resource in tf.resources
	resource.type == "azurerm_storage_container"
	access := lib.at(resource.after, ["container_access_type"])
	lib.lowered(access) in {"blob", "container"}
}

# METADATA
# title: A bucket whose public access is not blocked
# description: Without the block, one later ACL or policy, by anybody who may write it, opens the bucket to the world.
# custom:
#   id: PWP-102
#   severity: high
#   threat: NI-1, IAC-1
#   fix: >-
#     AWS: aws_s3_bucket_public_access_block with all four settings true. GCP: public_access_prevention = "enforced".
#     Azure: allow_nested_items_to_be_public = false.
deny contains lib.finding("PWP-102", resource, "no public access block with all four settings on covers it") if {
	some resource in tf.resources
	resource.type == "aws_s3_bucket"
	not is_blocked(resource)
}

deny contains lib.finding("PWP-102", resource, "public_access_prevention is not \"enforced\"") if {
	some resource in tf.resources
	resource.type == "google_storage_bucket"
	lib.at(resource.after, ["public_access_prevention"]) != "enforced"
}

deny contains lib.finding("PWP-102", resource, "allow_nested_items_to_be_public is not false") if {
	some resource in tf.resources
	resource.type == "azurerm_storage_account"
	lib.at(resource.after, ["allow_nested_items_to_be_public"]) != false
	lib.at(resource.after, ["allow_blob_public_access"]) != false
}

# METADATA
# title: A bucket with an access list for each object
# description: Access lists of single objects escape review; uniform access keeps the bucket's policy the only one.
# custom:
#   id: PWP-103
#   severity: high
#   threat: NI-1, IAC-1
#   fix: "GCP: uniform_bucket_level_access = true. AWS: object_ownership = \"BucketOwnerEnforced\"."
deny contains lib.finding("PWP-103", resource, "uniform_bucket_level_access is not true") if {
	some resource in tf.resources
	resource.type == "google_storage_bucket"
	lib.at(resource.after, ["uniform_bucket_level_access"]) != true
}

deny contains lib.finding("PWP-103", resource, sprintf("object_ownership is %s", [ownership])) if {
	some resource in tf.resources
	resource.type == "aws_s3_bucket_ownership_controls"
	some rule in lib.each(lib.at(resource.after, ["rule"]))
	ownership := lib.text(lib.at(rule, ["object_ownership"]))
	ownership in {"ObjectWriter", "BucketOwnerPreferred"}
}

# METADATA
# title: A policy that can only be read after apply
# description: The plan does not say what the policy will allow, so nobody can review it before it is in force.
# custom:
#   id: PWP-104
#   severity: low
#   threat: IAC-1
#   fix: Apply what the policy refers to first, or name it by values that are known in the plan.
warn contains lib.finding("PWP-104", resource, "its policy is known only after apply") if {
	some resource in tf.resources
	some field in policy_fields[resource.type]
	lib.at(resource.unknown, [field]) == true
}
