# METADATA
# scope: package
# title: Whose is it
package partywall.plan.terraform_labels

import rego.v1

import data.partywall.plan.lib
import data.partywall.plan.terraform as tf

holds_data := {
	"aws_s3_bucket", "aws_db_instance", "aws_rds_cluster", "aws_dynamodb_table", "aws_ebs_volume", "aws_efs_file_system",
	"aws_sqs_queue", "aws_sns_topic", "aws_secretsmanager_secret", "aws_kms_key", "aws_opensearch_domain",
	"aws_elasticache_replication_group", "aws_iam_role", "google_storage_bucket", "google_sql_database_instance",
	"google_bigquery_dataset", "google_compute_disk", "google_pubsub_topic", "google_secret_manager_secret",
	"google_kms_crypto_key", "azurerm_storage_account", "azurerm_mssql_database", "azurerm_postgresql_flexible_server",
	"azurerm_managed_disk", "azurerm_key_vault", "azurerm_cosmosdb_account", "azurerm_servicebus_namespace",
}

labels_known(resource) if {
	every field in ["tags", "tags_all", "labels", "effective_labels", "user_labels", "settings"] {
		lib.at(resource.unknown, [field]) != true
	}
}

# METADATA
# title: A resource that does not say whose it is
# description: Without a tenant label no other rule, no bill, no erasure and no access condition can tell tenants apart.
# custom:
#   id: PWP-121
#   severity: medium
#   threat: NI-1, IAC-3
#   fix: 'Add the label: tags = { tenant = "…" }; what no tenant owns says tenant = "shared" or "platform".'
deny contains lib.finding("PWP-121", resource, "it has no tenant label") if {
	some resource in tf.resources
	resource.type in holds_data
	resource.label == ""
	labels_known(resource)
}
