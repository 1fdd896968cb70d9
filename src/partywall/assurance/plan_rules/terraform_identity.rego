# METADATA
# scope: package
# title: Rights that reach across tenants
package partywall.plan.terraform_identity

import rego.v1

import data.partywall.plan.lib
import data.partywall.plan.terraform as tf

documents := [{"resource": resource, "statement": statement} |
	some resource in tf.resources
	some policy in policies(resource)
	some statement in tf.allowing(policy)
]

policies(resource) := [lib.at(resource.after, ["policy"])] if {
	resource.type in {"aws_iam_policy", "aws_iam_role_policy", "aws_iam_user_policy", "aws_iam_group_policy"}
} else := [lib.at(inline, ["policy"]) | some inner in lib.each(lib.at(resource.after, ["inline_policy"])); some inline in [inner]] if {
	resource.type == "aws_iam_role"
} else := []

# Services that hold tenants' data or hand out rights to it.
data_services := {
	"s3", "kms", "dynamodb", "rds", "rds-data", "secretsmanager", "ssm", "sqs", "sns", "iam", "sts", "es", "opensearch", "bedrock",
	"elasticfilesystem", "ec2", "lambda", "logs",
}

wide_action(action) if action == "*"

wide_action(action) if {
	endswith(action, ":*")
	split(action, ":")[0] in data_services
}

wide_action(action) if lower(action) in {
	"s3:getobject", "s3:putobject", "s3:deleteobject", "s3:get*", "s3:list*", "s3:put*", "kms:decrypt", "kms:encrypt",
	"kms:generatedatakey", "secretsmanager:getsecretvalue", "dynamodb:getitem", "dynamodb:query", "dynamodb:scan",
	"dynamodb:putitem", "iam:passrole", "sts:assumerole", "ssm:getparameter", "ssm:getparameters",
}

wide_resource(resource) if resource == "*"

# Everything of a service, or of a kind: arn:aws:dynamodb:*:*:table/*.
wide_resource(resource) if {
	regex.match(`^arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9*-]*:[0-9*]*:((table|key|alias|secret|role|user|function|parameter|db|cluster|log-group|domain|access-point)[/:])?[*]+(/[*]+)?$`, resource)
}

# Several buckets: a name with a wildcard in it.
wide_resource(resource) if regex.match(`^arn:aws[a-z-]*:s3:::[^/]*[*]`, resource)

# A condition on the thing's own tag, name or context narrows even a wide resource to one tenant.
by_tenant(statement) if tf.requires(statement, {
	"aws:resourcetag", "s3:existingobjecttag", "dynamodb:leadingkeys", "secretsmanager:resourcetag", "ssm:resourcetag",
})

by_tenant(statement) if {
	some _, values in lib.entries(lib.at(statement, ["Condition"]))
	some name, _ in lib.entries(values)
	startswith(lower(name), "kms:encryptioncontext:")
	tf.requires(statement, {lower(name)})
}

# METADATA
# title: A right that reaches every tenant's data
# description: An Allow of data actions on * lets the holder read the data and use the keys of all tenants.
# custom:
#   id: PWP-151
#   severity: critical
#   threat: ROLE-1, IAC-6
#   fix: Name the tenant's own resources, or add a condition on aws:ResourceTag/tenant; on GCP and Azure grant on the resource.
deny contains lib.finding("PWP-151", one.resource, sprintf("it allows %s on %s", [action, target])) if {
	some one in documents
	not by_tenant(one.statement)
	some action in lib.each(lib.at(one.statement, ["Action"]))
	is_string(action)
	wide_action(action)
	some target in lib.each(lib.at(one.statement, ["Resource"]))
	is_string(target)
	wide_resource(target)
}

deny contains lib.finding("PWP-151", one.resource, "it allows all but a list of actions (NotAction), or all but a list of resources (NotResource)") if {
	some one in documents
	some field in ["NotAction", "NotResource"]
	lib.at(one.statement, [field]) != null
	not by_tenant(one.statement)
}

deny contains lib.finding("PWP-151", resource, sprintf("it attaches %s", [arn])) if {
	some resource in tf.resources
	resource.type in {"aws_iam_role_policy_attachment", "aws_iam_user_policy_attachment", "aws_iam_group_policy_attachment", "aws_iam_policy_attachment"}
	arn := lib.text(lib.at(resource.after, ["policy_arn"]))
	regex.match(`:aws:policy/(AdministratorAccess|PowerUserAccess|AmazonS3FullAccess|AmazonS3ReadOnlyAccess|AmazonDynamoDBFullAccess|IAMFullAccess|SecretsManagerReadWrite|AmazonRDSFullAccess)$`, arn)
}

deny contains lib.finding("PWP-151", resource, sprintf("it gives %s on the whole project", [role])) if {
	some resource in tf.resources
	resource.type in {"google_project_iam_member", "google_project_iam_binding", "google_folder_iam_member", "google_organization_iam_member"}
	role := lib.text(lib.at(resource.after, ["role"]))
	role in {
		"roles/owner", "roles/editor", "roles/storage.admin", "roles/storage.objectAdmin", "roles/storage.objectViewer",
		"roles/cloudkms.cryptoKeyDecrypter", "roles/cloudkms.cryptoKeyEncrypterDecrypter", "roles/secretmanager.secretAccessor",
		"roles/bigquery.dataViewer", "roles/bigquery.admin", "roles/cloudsql.admin", "roles/iam.serviceAccountTokenCreator",
	}
}

deny contains lib.finding("PWP-151", resource, sprintf("it gives %s on a whole subscription or group", [role])) if {
	some resource in tf.resources
	resource.type == "azurerm_role_assignment"
	role := lib.text(lib.at(resource.after, ["role_definition_name"]))
	role in {
		"Owner", "Contributor", "User Access Administrator", "Storage Blob Data Owner", "Storage Blob Data Contributor",
		"Storage Blob Data Reader", "Key Vault Administrator", "Key Vault Secrets User", "Key Vault Crypto User",
	}
	regex.match(`^(/|/subscriptions/[^/]+/?|/subscriptions/[^/]+/resourceGroups/[^/]+/?|/providers/Microsoft.Management/managementGroups/[^/]+)$`, lib.text(lib.at(resource.after, ["scope"])))
}

# METADATA
# title: A role that anybody may assume
# description: A trust policy with Principal * and no condition on who asks hands the role to every account.
# custom:
#   id: PWP-152
#   severity: critical
#   threat: ID-1, IAC-6
#   fix: Name the workload's own principal, or add aws:PrincipalOrgID, aws:SourceAccount or sts:ExternalId as a condition.
deny contains lib.finding("PWP-152", resource, "its trust policy allows everybody (Principal *)") if {
	some resource in tf.resources
	resource.type == "aws_iam_role"
	some statement in tf.allowing(lib.at(resource.after, ["assume_role_policy"]))
	tf.anybody(statement)
	not tf.conditioned(statement)
}
