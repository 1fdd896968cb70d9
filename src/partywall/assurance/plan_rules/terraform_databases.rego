# METADATA
# scope: package
# title: Databases and disks
package partywall.plan.terraform_databases

import rego.v1

import data.partywall.plan.lib
import data.partywall.plan.terraform as tf

# What says that a resource is encrypted.
encrypting := {
	"aws_db_instance": "storage_encrypted",
	"aws_rds_cluster": "storage_encrypted",
	"aws_ebs_volume": "encrypted",
	"aws_efs_file_system": "encrypted",
	"aws_redshift_cluster": "encrypted",
	"aws_elasticache_replication_group": "at_rest_encryption_enabled",
}

# METADATA
# title: A database that the internet can reach
# description: A public address leaves one password between every tenant's rows and the world.
# custom:
#   id: PWP-141
#   severity: critical
#   threat: RLS-1, IAC-5
#   fix: Set publicly_accessible, ipv4_enabled or public_network_access_enabled to false; connect inside the network.
deny contains lib.finding("PWP-141", resource, "publicly_accessible is true") if {
	some resource in tf.resources
	resource.type in {"aws_db_instance", "aws_rds_cluster_instance", "aws_redshift_cluster", "aws_dms_replication_instance"}
	lib.at(resource.after, ["publicly_accessible"]) == true
}

deny contains lib.finding("PWP-141", resource, sprintf("it admits %s", [range])) if {
	some resource in tf.resources
	resource.type == "google_sql_database_instance"
	some settings in lib.each(lib.at(resource.after, ["settings"]))
	some ip in lib.each(lib.at(settings, ["ip_configuration"]))
	some network in lib.each(lib.at(ip, ["authorized_networks"]))
	range := lib.at(network, ["value"])
	lib.lowered(range) in lib.everywhere
}

deny contains lib.finding("PWP-141", resource, "it has a public address (ipv4_enabled)") if {
	some resource in tf.resources
	resource.type == "google_sql_database_instance"
	some settings in lib.each(lib.at(resource.after, ["settings"]))
	some ip in lib.each(lib.at(settings, ["ip_configuration"]))
	lib.at(ip, ["ipv4_enabled"]) == true
}

deny contains lib.finding("PWP-141", resource, "public_network_access_enabled is not false") if {
	some resource in tf.resources
	resource.type in {"azurerm_mssql_server", "azurerm_postgresql_flexible_server", "azurerm_postgresql_server", "azurerm_mysql_flexible_server", "azurerm_cosmosdb_account"}
	lib.at(resource.after, ["public_network_access_enabled"]) != false
	lib.at(resource.unknown, ["public_network_access_enabled"]) != true
}

# METADATA
# title: A database or disk that is not encrypted
# description: Snapshots and disks without encryption carry every tenant's rows to whoever gets hold of them.
# custom:
#   id: PWP-142
#   severity: high
#   threat: CR-1, IAC-5
#   fix: Set storage_encrypted (or encrypted) to true, with the tenant's own key.
deny contains lib.finding("PWP-142", resource, sprintf("%s is not true", [field])) if {
	some resource in tf.resources
	field := encrypting[resource.type]
	lib.at(resource.after, [field]) != true
	lib.at(resource.unknown, [field]) != true
}
