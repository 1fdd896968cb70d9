"""The real OPA, behind the same port as the engine that it is the reference of."""

from __future__ import annotations

import json
from collections.abc import Mapping

from opa_bindings import OpaEngine, OpaError

from partywall.decision.rego import PolicyFailed


class Opa:
    """Evaluates with the Open Policy Agent's own library."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._engine = OpaEngine()
        for name, text in modules.items():
            self._engine.add_policy(name, text)

    def evaluate(self, rule: str, document: str) -> str:
        try:
            return json.dumps(self._engine.eval_document(rule.removeprefix("data."), json.loads(document)))
        except OpaError as error:
            raise PolicyFailed(str(error)) from None
