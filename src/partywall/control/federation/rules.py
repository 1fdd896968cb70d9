"""The federation's operations as the issuer performs them (`control/operations.py` has the rest)."""

from __future__ import annotations

from typing import Final

from partywall.control.federation import bindings, exchange, providers, transactions
from partywall.control.rule import ADMIN, ANYONE, EITHER, Mode, Rule
from partywall.decision.action import ActionType
from partywall.wire import operations as ops

FEDERATION: Final[dict[type[ops.Operation], Rule]] = {
    ops.IdpCreate: Rule(action=ActionType.OPERATOR_KEY, kind="idp", run=providers.create_provider, principals=EITHER),
    ops.IdpList: Rule(
        action=ActionType.OPERATOR_READ,
        kind="idp",
        run=providers.list_providers,
        principals=EITHER,
        mode=Mode.READS,
    ),
    ops.IdpShow: Rule(
        action=ActionType.OPERATOR_READ,
        kind="idp",
        run=providers.show_provider,
        principals=EITHER,
        target="idp",
        mode=Mode.READS,
    ),
    ops.IdpDelete: Rule(
        action=ActionType.OPERATOR_REVOKE,
        kind="idp",
        run=providers.delete_provider,
        principals=EITHER,
        target="idp",
        current=providers.show_provider,
    ),
    ops.BindingCreate: Rule(
        action=ActionType.OPERATOR_KEY, kind="binding", run=bindings.create_binding, principals=ADMIN
    ),
    ops.BindingList: Rule(
        action=ActionType.OPERATOR_READ,
        kind="binding",
        run=bindings.list_bindings,
        principals=ADMIN,
        mode=Mode.READS,
    ),
    ops.BindingDelete: Rule(
        action=ActionType.OPERATOR_REVOKE,
        kind="binding",
        run=bindings.delete_binding,
        principals=ADMIN,
        target="binding",
    ),
    ops.TokenExchange: Rule(
        action=ActionType.OPERATOR_TOKEN,
        kind="subject",
        run=exchange.exchange_token,
        principals=ANYONE,
        target="subject",
        mode=Mode.ISSUES,
    ),
    ops.TransactionCreate: Rule(
        action=ActionType.OPERATOR_TOKEN,
        kind="transaction",
        run=transactions.create_transaction,
        principals=ANYONE,
        target="subject",
        mode=Mode.ISSUES,
    ),
}
