"""What an expression of SQL looks at: columns, settings and tables; and whether it is true whatever the row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pglast import ast, enums

Fact = dict[str, Any]
"""One thing that a statement does."""


def walk(node: Any) -> Iterator[ast.Node]:
    """Yield a node of a syntax tree and everything below it."""
    stack = [node]
    while stack:
        here = stack.pop()
        if isinstance(here, ast.Node):
            yield here
            stack.extend(getattr(here, name) for name in here)
        elif isinstance(here, list | tuple):
            stack.extend(here)


def named(parts: Any) -> str:
    """Return a name of several parts with dots; what is in public or pg_catalog stands alone."""
    words = [str(part.sval) for part in parts or () if isinstance(part, ast.String)]
    return ".".join(words[1:] if len(words) > 1 and words[0] in {"public", "pg_catalog"} else words)


def column_names(node: Any) -> list[str]:
    """Return the columns that an expression names, subqueries included, in alphabetical order."""
    last = [part.fields[-1] for part in walk(node) if isinstance(part, ast.ColumnRef) and part.fields]
    return sorted({str(field.sval) for field in last if isinstance(field, ast.String)})


def functions_in(node: Any) -> list[str]:
    """Return the functions that are called."""
    return sorted({named(part.funcname) for part in walk(node) if isinstance(part, ast.FuncCall)})


def tables_in(node: Any, name: Callable[[Any], str]) -> list[str]:
    """Return the tables that a query reads."""
    return sorted({name(part) for part in walk(node) if isinstance(part, ast.RangeVar)})


def described(node: Any) -> dict[str, Any] | None:
    """Return what a policy's condition is: always or never true, its columns, the settings that it believes."""
    if node is None:
        return None
    return {
        "always": truth(node) is True,
        "never": truth(node) is False,
        "columns": column_names(node),
        "settings": _settings(node),
        "functions": functions_in(node),
    }


def _settings(node: Any) -> list[str]:
    found = set()
    for part in walk(node):
        if isinstance(part, ast.FuncCall) and named(part.funcname) == "current_setting":
            first = part.args[0] if part.args else None
            value = getattr(getattr(first, "val", None), "sval", None)
            found.add(value if isinstance(value, str) else "(computed)")
    return sorted(found)


def truth(node: Any) -> bool | None:
    """Return whether an expression is true or false for every row, as far as its shape tells; None when it depends."""
    if isinstance(node, ast.A_Const):
        return bool(node.val.boolval) if isinstance(node.val, ast.Boolean) else None
    if isinstance(node, ast.TypeCast):
        value = getattr(getattr(node.arg, "val", None), "sval", None)
        return _spelled(value) if isinstance(value, str) else truth(node.arg)
    if isinstance(node, ast.BoolExpr):
        return _joined(node.boolop, [truth(part) for part in node.args or ()])
    if isinstance(node, ast.A_Expr):
        return _compared(node)
    return None


def _spelled(word: str) -> bool | None:
    lowered = word.strip().lower()
    return True if lowered in {"t", "true", "on", "yes", "y", "1"} else False if lowered in {"f", "false"} else None


def _joined(operator: Any, values: list[bool | None]) -> bool | None:
    if operator == enums.BoolExprType.NOT_EXPR:
        return None if values[0] is None else not values[0]
    decisive = bool(operator == enums.BoolExprType.OR_EXPR)
    if decisive in values:
        return decisive
    return None if None in values else not decisive


def _compared(node: Any) -> bool | None:
    """Judge `1 = 1` and `tenant = tenant`; nothing that would need evaluation."""
    if node.kind != enums.A_Expr_Kind.AEXPR_OP or named(node.name) not in {"=", ">=", "<="} or node.lexpr is None:
        return None
    same = _shape(node.lexpr) == _shape(node.rexpr) and isinstance(node.lexpr, ast.A_Const | ast.ColumnRef)
    return True if same else None


def _shape(node: Any) -> Any:
    """Return a node without its places in the text."""
    if isinstance(node, ast.Node):
        return (type(node).__name__, *(_shape(getattr(node, name)) for name in node if name != "location"))
    return tuple(_shape(part) for part in node) if isinstance(node, list | tuple) else node


def table_name(relation: Any) -> str:
    """Return schema.name; a name without a schema, or in public, stands alone."""
    schema = relation.schemaname
    return f"{schema}.{relation.relname}" if schema and schema != "public" else str(relation.relname)


def is_on(value: Any) -> bool:
    """Whether an option's value means true: `true`, `on`, `1`, however the parser holds it."""
    for field in ("boolval", "ival"):
        if hasattr(value, field):
            return bool(getattr(value, field))
    return str(getattr(value, "sval", "")).lower() in {"true", "on", "1", "yes"}
