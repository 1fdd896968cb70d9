"""A SQL migration as the facts that rules ask about, read by Postgres' own parser.

What statements do is said here, in the field's words; whether that is right is said by `plan_rules/sql.rego`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from pglast import ast, enums
from pglast.parser import ParseError, parse_sql

from partywall.assurance.plan.sql_expressions import column_names, described, functions_in, named, tables_in
from partywall.errors import Malformed

LIMIT_BYTES: Final = 4 * 1024 * 1024
STATEMENTS_LIMIT: Final = 20_000

Fact = dict[str, Any]
_Reader = Callable[[Any], Iterator[Fact]]
_RANDOM_TYPES: Final = frozenset({"uuid"})
_ROW_SECURITY: Final = {
    "AT_EnableRowSecurity": "enable",
    "AT_DisableRowSecurity": "disable",
    "AT_ForceRowSecurity": "force",
    "AT_NoForceRowSecurity": "no_force",
}
_ROLE_RIGHTS: Final = {"superuser": "SUPERUSER", "bypassrls": "BYPASSRLS", "isreplication": "REPLICATION"}


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


def _table(relation: Any) -> str:
    """Return schema.name; a name without a schema, or in public, stands alone."""
    schema = relation.schemaname
    return f"{schema}.{relation.relname}" if schema and schema != "public" else str(relation.relname)


def _create_table(node: Any) -> Iterator[Fact]:
    columns = [part for part in node.tableElts or () if isinstance(part, ast.ColumnDef)]
    types = {str(column.colname): _type(column) for column in columns}
    unique = [key for column in columns for key in _column_keys(column)]
    unique += [
        _key(part, types) for part in node.tableElts or () if isinstance(part, ast.Constraint) and _is_unique(part)
    ]
    yield {
        "kind": "create_table",
        "name": _table(node.relation),
        "table": _table(node.relation),
        "temporary": node.relation.relpersistence == "t",
        "columns": list(types),
        "parents": [_table(parent) for parent in node.inhRelations or ()],
        "unique": unique,
    }


def _create_foreign_table(node: Any) -> Iterator[Fact]:
    yield from _create_table(node.base)


def _create_schema(node: Any) -> Iterator[Fact]:
    """Yield what is made within `create schema … create table …`."""
    for inner in node.schemaElts or ():
        relation = getattr(inner, "relation", None) or getattr(inner, "view", None)
        if relation is not None and relation.schemaname is None:
            relation.schemaname = node.schemaname
        yield from _facts(inner)


def _create_table_as(node: Any) -> Iterator[Fact]:
    name, query = _table(node.into.rel), node.query
    if node.objtype == enums.ObjectType.OBJECT_MATVIEW:
        yield {"kind": "create_materialized_view", "name": name, "reads": tables_in(query, _table)}
    else:
        temporary = node.into.rel.relpersistence == "t"
        yield {"kind": "create_table", "name": name, "table": name, "temporary": temporary, "columns": []}


def _select(node: Any) -> Iterator[Fact]:
    if node.intoClause is not None:
        yield from _create_table_as(ast.CreateTableAsStmt(query=node, into=node.intoClause))


def _alter_table(node: Any) -> Iterator[Fact]:
    table = _table(node.relation)
    for command in node.cmds or ():
        what = enums.AlterTableType(command.subtype).name
        base = {"name": table, "table": table}
        if what in _ROW_SECURITY:
            yield base | {"kind": "row_security", "change": _ROW_SECURITY[what]}
        elif what == "AT_AttachPartition":
            leaf = _table(command.def_.name)
            yield {"kind": "attach_partition", "name": leaf, "table": leaf, "parents": [table]}
        elif what == "AT_AddInherit":
            yield base | {"kind": "attach_partition", "parents": [_table(command.def_)]}
        elif what == "AT_AddConstraint" and _is_unique(command.def_) and command.def_.keys:
            yield base | {"kind": "alter_table", "unique": [_key(command.def_, {})]}
        elif what == "AT_AddColumn":
            yield base | {"kind": "alter_table", "unique": _column_keys(command.def_)}
        elif what in {"AT_SetRelOptions", "AT_ResetRelOptions"}:
            yield base | {"kind": "alter_view", "weakened": _weakened(command.def_, reset=what.startswith("AT_Reset"))}


def _weakened(options: Any, *, reset: bool) -> list[str]:
    """Return which protections of a view are switched off."""
    named_off = [one.defname.lower() for one in options or () if reset or not (one.arg is None or _is_on(one.arg))]
    return [name for name in named_off if name in {"security_invoker", "security_barrier"}]


def _policy(node: Any) -> Iterator[Fact]:
    table = _table(node.table)
    fact: Fact = {"kind": "create_policy", "name": f"{table}.{node.policy_name}", "table": table}
    fact |= {"using": described(node.qual), "check": described(node.with_check)}
    if isinstance(node, ast.AlterPolicyStmt):
        yield fact | {"kind": "alter_policy"}
    else:
        yield fact | {"permissive": bool(node.permissive), "command": node.cmd_name}


def _drop(node: Any) -> Iterator[Fact]:
    if node.removeType == enums.ObjectType.OBJECT_POLICY:
        for parts in node.objects:
            words = [part.sval for part in parts]
            table = ".".join(word for word in words[:-1] if word != "public")
            yield {"kind": "drop_policy", "name": f"{table}.{words[-1]}", "table": table}


def _function(node: Any) -> Iterator[Fact]:
    options = {option.defname: option.arg for option in node.options or () if option.defname != "set"}
    name = named(node.funcname)
    language = options["language"].sval.lower() if "language" in options else "sql"
    body = " ".join(str(part.sval) for part in options.get("as") or () if isinstance(part, ast.String))
    yield {
        "kind": "create_function",
        "name": name,
        "security_definer": _is_on(options.get("security")),
        "search_path": _pins_search_path(node.options),
        "language": language,
        "reads_setting": "current_setting" in body.lower() or "current_setting" in functions_in(node.sql_body),
    }
    if language != "sql" and _is_dynamic(body):
        yield {"kind": "opaque", "name": name, "what": "SQL that the function puts together (EXECUTE)"}


def _alter_function(node: Any) -> Iterator[Fact]:
    options = {option.defname: option.arg for option in node.actions or () if option.defname != "set"}
    yield {
        "kind": "alter_function",
        "name": named(node.func.objname),
        "security_definer": _is_on(options.get("security")),
        "search_path": _pins_search_path(node.actions),
    }


def _do(_node: Any) -> Iterator[Fact]:
    yield {"kind": "opaque", "name": "do", "what": "a DO block"}


def _grant(node: Any) -> Iterator[Fact]:
    if node.is_grant:
        on = [_granted_on(part) for part in node.objects or ()]
        public = enums.RoleSpecType.ROLESPEC_PUBLIC
        yield {
            "kind": "grant",
            "name": ", ".join(on) or "default privileges",
            "privileges": [one.priv_name or "all" for one in node.privileges or ()] or ["all"],
            "public": any(role.roletype == public for role in node.grantees or ()),
        }


def _default_privileges(node: Any) -> Iterator[Fact]:
    yield from _grant(node.action)


def _granted_on(part: Any) -> str:
    if isinstance(part, ast.RangeVar):
        return _table(part)
    if isinstance(part, ast.ObjectWithArgs):
        return named(part.objname)
    return named(part) if isinstance(part, tuple) else str(getattr(part, "sval", "?"))


def _role(node: Any) -> Iterator[Fact]:
    name = node.role if isinstance(node.role, str) else node.role.rolename or "current_user"
    rights = [
        _ROLE_RIGHTS[one.defname] for one in node.options or () if one.defname in _ROLE_RIGHTS and _is_on(one.arg)
    ]
    yield {"kind": "role", "name": name, "rights": rights}


def _view(node: Any) -> Iterator[Fact]:
    on = {option.defname.lower() for option in node.options or () if option.arg is None or _is_on(option.arg)}
    yield {
        "kind": "create_view",
        "name": _table(node.view),
        "security_invoker": "security_invoker" in on,
        "security_barrier": "security_barrier" in on,
        "reads": tables_in(node.query, _table),
    }


def _index(node: Any) -> Iterator[Fact]:
    if node.unique:
        columns = [name for one in node.indexParams for name in ([one.name] if one.name else column_names(one.expr))]
        table = _table(node.relation)
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


def _is_on(value: Any) -> bool:
    """Whether an option's value means true: `true`, `on`, `1`, however the parser holds it."""
    for field in ("boolval", "ival"):
        if hasattr(value, field):
            return bool(getattr(value, field))
    return str(getattr(value, "sval", "")).lower() in {"true", "on", "1", "yes"}


def _pins_search_path(options: Any) -> bool:
    wanted = enums.VariableSetKind.VAR_SET_VALUE
    sets = [option.arg for option in options or () if option.defname == "set"]
    return any((one.name or "").lower() == "search_path" and one.kind == wanted for one in sets)


def _is_dynamic(body: str) -> bool:
    return "execute" in body.lower()


_READERS: Final[dict[str, _Reader]] = {
    "CreateStmt": _create_table,
    "CreateForeignTableStmt": _create_foreign_table,
    "CreateSchemaStmt": _create_schema,
    "CreateTableAsStmt": _create_table_as,
    "SelectStmt": _select,
    "AlterTableStmt": _alter_table,
    "CreatePolicyStmt": _policy,
    "AlterPolicyStmt": _policy,
    "DropStmt": _drop,
    "CreateFunctionStmt": _function,
    "AlterFunctionStmt": _alter_function,
    "DoStmt": _do,
    "GrantStmt": _grant,
    "AlterDefaultPrivilegesStmt": _default_privileges,
    "CreateRoleStmt": _role,
    "AlterRoleStmt": _role,
    "ViewStmt": _view,
    "IndexStmt": _index,
}
