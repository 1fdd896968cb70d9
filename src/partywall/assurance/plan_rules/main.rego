# METADATA
# scope: package
# title: Every rule under the name that conftest asks for
# description: "`conftest test --policy DIR FILE`, `opa eval -d DIR -i FILE data.main.deny` and `partywall plan check`."
package main

import rego.v1

# Both at once: `partywall plan check` asks once, so that the input is looked at once.
findings := deny | warn

deny contains finding if some finding in data.partywall.plan.terraform_storage.deny

deny contains finding if some finding in data.partywall.plan.terraform_keys.deny

deny contains finding if some finding in data.partywall.plan.terraform_labels.deny

deny contains finding if some finding in data.partywall.plan.terraform_network.deny

deny contains finding if some finding in data.partywall.plan.terraform_databases.deny

deny contains finding if some finding in data.partywall.plan.terraform_identity.deny

deny contains finding if some finding in data.partywall.plan.kubernetes_pods.deny

deny contains finding if some finding in data.partywall.plan.kubernetes_tenancy.deny

deny contains finding if some finding in data.partywall.plan.kubernetes_network.deny

deny contains finding if some finding in data.partywall.plan.kubernetes_access.deny

deny contains finding if some finding in data.partywall.plan.sql.deny

warn contains finding if some finding in data.partywall.plan.terraform_storage.warn

warn contains finding if some finding in data.partywall.plan.terraform_keys.warn
