"""Tables, views, indexes and policies of a migration, as facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pglast import ast, enums

from partywall.assurance.plan.sql_expressions import Fact, column_names, described, is_on, table_name, tables_in

_RANDOM_TYPES: Final = frozenset({"uuid"})
_ROW_SECURITY: Final = {
    "AT_EnableRowSecurity": "enable",
    "AT_DisableRowSecurity": "disable",
    "AT_ForceRowSecurity": "force",
    "AT_NoForceRowSecurity": "no_force",
}


def create_table(node: Any) -> Iterator[Fact]:
    """Yield a table with its columns, parents and keys."""
    columns = [part for part in node.tableElts or () if isinstance(part, ast.ColumnDef)]
    types = {str(column.colname): _type(column) for column in columns}
    unique = [key for column in columns for key in _column_keys(column)]
    unique += [
        _key(part, types) for part in node.tableElts or () if isinstance(part, ast.Constraint) and _is_unique(part)
    ]
    yield {
        "kind": "create_table",
        "name": table_name(node.relation),
        "table": table_name(node.relation),
        "temporary": node.relation.relpersistence == "t",
        "columns": list(types),
        "parents": [table_name(parent) for parent in node.inhRelations or ()],
        "unique": unique,
    }


def create_foreign_table(node: Any) -> Iterator[Fact]:
    """Yield a foreign table, which can have no row security."""
    yield from create_table(node.base)


def create_table_as(node: Any) -> Iterator[Fact]:
    """Yield a table or materialized view that a query fills."""
    name, query = table_name(node.into.rel), node.query
    if node.objtype == enums.ObjectType.OBJECT_MATVIEW:
        yield {"kind": "create_materialized_view", "name": name, "reads": tables_in(query, table_name)}
    else:
        temporary = node.into.rel.relpersistence == "t"
        yield {"kind": "create_table", "name": name, "table": name, "temporary": temporary, "columns": []}


def select(node: Any) -> Iterator[Fact]:
    """Yield a table that `select … into` makes."""
    if node.intoClause is not None:
        yield from create_table_as(ast.CreateTableAsStmt(query=node, into=node.intoClause))


def alter_table(node: Any) -> Iterator[Fact]:
    """Yield each change of a table or view that matters to isolation."""
    table = table_name(node.relation)
    for command in node.cmds or ():
        what = enums.AlterTableType(command.subtype).name
        base = {"name": table, "table": table}
        if what in _ROW_SECURITY:
            yield base | {"kind": "row_security", "change": _ROW_SECURITY[what]}
        elif what == "AT_AttachPartition":
            leaf = table_name(command.def_.name)
            yield {"kind": "attach_partition", "name": leaf, "table": leaf, "parents": [table]}
        elif what == "AT_AddInherit":
            yield base | {"kind": "attach_partition", "parents": [table_name(command.def_)]}
        elif what == "AT_AddConstraint" and _is_unique(command.def_) and command.def_.keys:
            yield base | {"kind": "alter_table", "unique": [_key(command.def_, {})]}
        elif what == "AT_AddColumn":
            yield base | {"kind": "alter_table", "unique": _column_keys(command.def_)}
        elif what in {"AT_SetRelOptions", "AT_ResetRelOptions"}:
            yield base | {"kind": "alter_view", "weakened": _weakened(command.def_, reset=what.startswith("AT_Reset"))}


def _weakened(options: Any, *, reset: bool) -> list[str]:
    """Return which protections of a view are switched off."""
    named_off = [one.defname.lower() for one in options or () if reset or not (one.arg is None or is_on(one.arg))]
    return [name for name in named_off if name in {"security_invoker", "security_barrier"}]


def policy(node: Any) -> Iterator[Fact]:
    """Yield a policy, new or changed."""
    table = table_name(node.table)
    fact: Fact = {"kind": "create_policy", "name": f"{table}.{node.policy_name}", "table": table}
    fact |= {"using": described(node.qual), "check": described(node.with_check)}
    if isinstance(node, ast.AlterPolicyStmt):
        yield fact | {"kind": "alter_policy"}
    else:
        yield fact | {"permissive": bool(node.permissive), "command": node.cmd_name}


def drop(node: Any) -> Iterator[Fact]:
    """Yield each policy that is dropped."""
    if node.removeType == enums.ObjectType.OBJECT_POLICY:
        for parts in node.objects:
            words = [part.sval for part in parts]
            table = ".".join(word for word in words[:-1] if word != "public")
            yield {"kind": "drop_policy", "name": f"{table}.{words[-1]}", "table": table}


def view(node: Any) -> Iterator[Fact]:
    """Yield a view with what it reads and how it is guarded."""
    on = {option.defname.lower() for option in node.options or () if option.arg is None or is_on(option.arg)}
    yield {
        "kind": "create_view",
        "name": table_name(node.view),
        "security_invoker": "security_invoker" in on,
        "security_barrier": "security_barrier" in on,
        "reads": tables_in(node.query, table_name),
    }


def index(node: Any) -> Iterator[Fact]:
    """Yield a unique index."""
    if node.unique:
        columns = [name for one in node.indexParams for name in ([one.name] if one.name else column_names(one.expr))]
        table = table_name(node.relation)
        yield {
            "kind": "create_index",
            "name": f"{table}.{node.idxname or ''}".rstrip("."),
            "table": table,
            "unique": [{"columns": columns}],
        }


def _is_unique(constraint: Any) -> bool:
    return constraint.contype in {enums.ConstrType.CONSTR_UNIQUE, enums.ConstrType.CONSTR_PRIMARY}


def _column_keys(column: Any) -> list[Fact]:
    """Return the keys that a column's own constraints make."""
    unique = any(_is_unique(one) for one in column.constraints or ())
    return [{"columns": [column.colname], "random": _type(column) in _RANDOM_TYPES}] if unique else []


def _key(constraint: Any, types: dict[str, str]) -> Fact:
    """Return a table constraint's columns. random: all are of a type that callers do not choose and cannot guess."""
    columns = [key.sval for key in constraint.keys or ()]
    return {"columns": columns, "random": bool(columns) and all(types.get(name) in _RANDOM_TYPES for name in columns)}


def _type(column: Any) -> str:
    return str(column.typeName.names[-1].sval) if column.typeName is not None else ""
