"""A SQL migration as the facts that rules ask about, read by Postgres' own parser.

What statements do is said here, in the field's words; whether that is right is said by `plan_rules/sql.rego`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from pglast import ast
from pglast.parser import ParseError, parse_sql

from partywall.assurance.plan import sql_rights as rights
from partywall.assurance.plan import sql_tables as tables
from partywall.assurance.plan.sql_expressions import Fact
from partywall.errors import Malformed

LIMIT_BYTES: Final = 4 * 1024 * 1024
STATEMENTS_LIMIT: Final = 20_000

_Reader = Callable[[Any], Iterator[Fact]]


def parse_migration(text: str) -> Fact:
    """Return {"sql": {"statements": […]}}, each with kind, name, line and column, in order.

    text: at most 4 MiB. Raises: Malformed when Postgres would not parse it.
    """
    if len(text.encode("utf-8", "replace")) > LIMIT_BYTES:
        raise Malformed(f"a migration has at most {LIMIT_BYTES} bytes", code="sql-too-large")
    try:
        parsed = parse_sql(text)
    except ParseError as error:
        raise Malformed(f"Postgres cannot parse it: {_placed(error, text)}", code="malformed-sql") from error
    except (ValueError, RecursionError, UnicodeError, MemoryError) as error:
        raise Malformed(f"Postgres cannot parse it: {error}", code="malformed-sql") from error
    if len(parsed) > STATEMENTS_LIMIT:
        raise Malformed(f"a migration has at most {STATEMENTS_LIMIT} statements", code="sql-too-large")
    try:
        statements = [place | fact for raw in parsed for place in [_place(raw, text)] for fact in _facts(raw.stmt)]
    except RecursionError as error:
        raise Malformed("its expressions nest too deeply", code="malformed-sql") from error
    return {"sql": {"statements": statements}}


def _placed(error: ParseError, text: str) -> str:
    message, offset = str(error.args[0]), error.args[1] if len(error.args) > 1 else None
    return f"{message} (line {text.count(chr(10), 0, offset) + 1})" if isinstance(offset, int) else message


def _place(raw: ast.RawStmt, text: str) -> Fact:
    start = raw.stmt_location or 0
    while start < len(text) and text[start].isspace():
        start += 1
    return {"line": text.count("\n", 0, start) + 1, "column": start - (text.rfind("\n", 0, start) + 1) + 1}


def _facts(statement: Any) -> list[Fact]:
    """Return what a statement does; what no rule asks about is there too, so that no exception slips past it."""
    kind = type(statement).__name__
    reader = _READERS.get(kind)
    return list(reader(statement) if reader is not None else ()) or [{"kind": "other", "name": kind}]


def _create_schema(node: Any) -> Iterator[Fact]:
    """Yield what is made within `create schema … create table …`."""
    for inner in node.schemaElts or ():
        relation = getattr(inner, "relation", None) or getattr(inner, "view", None)
        if relation is not None and relation.schemaname is None:
            relation.schemaname = node.schemaname
        yield from _facts(inner)


_READERS: Final[dict[str, _Reader]] = {
    "CreateStmt": tables.create_table,
    "CreateForeignTableStmt": tables.create_foreign_table,
    "CreateSchemaStmt": _create_schema,
    "CreateTableAsStmt": tables.create_table_as,
    "SelectStmt": tables.select,
    "AlterTableStmt": tables.alter_table,
    "CreatePolicyStmt": tables.policy,
    "AlterPolicyStmt": tables.policy,
    "DropStmt": tables.drop,
    "CreateFunctionStmt": rights.function,
    "AlterFunctionStmt": rights.alter_function,
    "DoStmt": rights.do_block,
    "GrantStmt": rights.grant,
    "AlterDefaultPrivilegesStmt": rights.default_privileges,
    "CreateRoleStmt": rights.role,
    "AlterRoleStmt": rights.role,
    "ViewStmt": tables.view,
    "IndexStmt": tables.index,
}
