"""The Rego engine: regorus, one engine per policy, bound to the thread that made it.

regorus raises where OPA leaves a rule undefined (builtin errors, type errors, conflicts): the strict choice, since an
error denies. It can also panic, and a panic is a BaseException. Source: ADR-0004, components.md.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from typing import Final, Protocol

from regorus import Engine

BASE_MODULE: Final = importlib.resources.files("partywall.decision").joinpath("base.rego").read_text("utf-8")
"""The base policy's text: part of the code, read once with it."""

_MAX_COLUMNS: Final = 1024
_MAX_LINES: Final = 4_000
_MAX_BYTES: Final = 131_072


class PolicyFailed(Exception):
    """A policy could not be loaded, evaluated or understood; whatever was asked is denied."""


class EnginePanicked(Exception):
    """The engine broke off inside, or is used by another thread; it must not be used again."""


class Evaluator(Protocol):
    """Evaluates one rule over one input document. An OPA server with the same modules can stand here too."""

    def evaluate(self, rule: str, document: str) -> str:
        """Return the rule's value as JSON text; sets become arrays. Raises: PolicyFailed, also when undefined."""
        ...


class RegoEngine:
    """Modules compiled once. Invariant: what goes wrong inside leaves as PolicyFailed or EnginePanicked."""

    __slots__ = ("_engine",)

    def __init__(self, modules: Mapping[str, str], *, coverage: bool = False) -> None:
        """modules: file name -> text, trusted or checked by `lint` before. Raises: PolicyFailed."""
        try:
            self._engine = Engine()
            self._engine.set_enable_coverage(coverage)
            self._engine.set_policy_length_config(max_col=_MAX_COLUMNS, max_file_bytes=_MAX_BYTES, max_lines=_MAX_LINES)
            for name, text in modules.items():
                self._engine.add_policy(name, text)
        except BaseException as error:
            raise _failed(error) from None

    def evaluate(self, rule: str, document: str) -> str:
        """Return the value of a rule (`data.tenant.deny`) for an input document."""
        try:
            self._engine.set_input_json(document)
            value: str = self._engine.eval_rule_as_json(rule)
        except BaseException as error:
            raise _failed(error) from None
        if value == '"<undefined>"':
            raise PolicyFailed(f"{rule} is undefined")
        return value

    def coverage(self) -> str:
        """Return which lines evaluations so far have reached, as JSON text. Raises: PolicyFailed."""
        try:
            report: str = self._engine.get_coverage_report_as_json()
        except BaseException as error:
            raise _failed(error) from None
        return report

    def syntax(self) -> str:
        """Return the syntax trees of all modules as JSON text. Raises: PolicyFailed."""
        try:
            tree: str = self._engine.get_ast_as_json()
        except BaseException as error:
            raise _failed(error) from None
        return tree


def _failed(error: BaseException) -> BaseException:
    """Return what to raise for what the engine raised; an interrupt stays one."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return error
    if not isinstance(error, Exception):
        return EnginePanicked(str(error))
    return PolicyFailed(str(error).partition("\n\nStack backtrace")[0].strip())
