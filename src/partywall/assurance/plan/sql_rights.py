"""Functions, roles and grants of a migration, as facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pglast import ast, enums

from partywall.assurance.plan.sql_expressions import Fact, functions_in, is_on, named, table_name

_ROLE_RIGHTS: Final = {"superuser": "SUPERUSER", "bypassrls": "BYPASSRLS", "isreplication": "REPLICATION"}


def function(node: Any) -> Iterator[Fact]:
    """Yield a function, and that it cannot be checked when it runs text."""
    options = {option.defname: option.arg for option in node.options or () if option.defname != "set"}
    name = named(node.funcname)
    language = options["language"].sval.lower() if "language" in options else "sql"
    body = " ".join(str(part.sval) for part in options.get("as") or () if isinstance(part, ast.String))
    yield {
        "kind": "create_function",
        "name": name,
        "security_definer": is_on(options.get("security")),
        "search_path": _pins_search_path(node.options),
        "language": language,
        "reads_setting": "current_setting" in body.lower() or "current_setting" in functions_in(node.sql_body),
    }
    if language != "sql" and _is_dynamic(body):
        yield {"kind": "opaque", "name": name, "what": "SQL that the function puts together (EXECUTE)"}


def alter_function(node: Any) -> Iterator[Fact]:
    """Yield what a function is turned into."""
    options = {option.defname: option.arg for option in node.actions or () if option.defname != "set"}
    yield {
        "kind": "alter_function",
        "name": named(node.func.objname),
        "security_definer": is_on(options.get("security")),
        "search_path": _pins_search_path(node.actions),
    }


def do_block(_node: Any) -> Iterator[Fact]:
    """Yield that the statement cannot be checked."""
    yield {"kind": "opaque", "name": "do", "what": "a DO block"}


def grant(node: Any) -> Iterator[Fact]:
    """Yield a right that is given."""
    if node.is_grant:
        on = [_granted_on(part) for part in node.objects or ()]
        public = enums.RoleSpecType.ROLESPEC_PUBLIC
        yield {
            "kind": "grant",
            "name": ", ".join(on) or "default privileges",
            "privileges": [one.priv_name or "all" for one in node.privileges or ()] or ["all"],
            "public": any(role.roletype == public for role in node.grantees or ()),
        }


def default_privileges(node: Any) -> Iterator[Fact]:
    """Yield a right that will be given."""
    yield from grant(node.action)


def _granted_on(part: Any) -> str:
    if isinstance(part, ast.RangeVar):
        return table_name(part)
    if isinstance(part, ast.ObjectWithArgs):
        return named(part.objname)
    return named(part) if isinstance(part, tuple) else str(getattr(part, "sval", "?"))


def role(node: Any) -> Iterator[Fact]:
    """Yield a role with the rights that matter to row security."""
    name = node.role if isinstance(node.role, str) else node.role.rolename or "current_user"
    rights = [_ROLE_RIGHTS[one.defname] for one in node.options or () if one.defname in _ROLE_RIGHTS and is_on(one.arg)]
    yield {"kind": "role", "name": name, "rights": rights}


def _pins_search_path(options: Any) -> bool:
    wanted = enums.VariableSetKind.VAR_SET_VALUE
    sets = [option.arg for option in options or () if option.defname == "set"]
    return any((one.name or "").lower() == "search_path" and one.kind == wanted for one in sets)


def _is_dynamic(body: str) -> bool:
    return "execute" in body.lower()
