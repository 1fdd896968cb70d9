"""The two published AuthZEN scenarios, as a tenant of ours would have them: applications, people, grants and a policy.

Both are re-expressed from what the OpenID AuthZEN working group describes: the Todo interop scenario (five people, four
roles, five permissions) and the fixture of the 1.0 certification scenario. An application is registered as a server
whose tools are its permissions; a role is a set of grants; who owns what is for the policy to compare.
"""

from __future__ import annotations

from typing import Any, Final

from partywall.assurance.target import Side

EVERYTHING: Final = {"type": "object"}
TODO_TOOLS: Final = ("can_read_todos", "can_create_todo", "can_update_todo", "can_delete_todo")
VIEWER: Final = ("user/can_read_user", "todo/can_read_todos")
EDITOR: Final = (*VIEWER, "todo/can_create_todo", "todo/can_update_todo", "todo/can_delete_todo")
ROLES: Final = {"rick": EDITOR, "morty": EDITOR, "summer": EDITOR, "beth": VIEWER, "jerry": VIEWER}
"""Rick is admin and evil genius: an editor whom the policy lets delete and update what others own."""
MAIL: Final = {
    "rick": "rick@the-citadel.com",
    "morty": "morty@the-citadel.com",
    "summer": "summer@the-smiths.com",
    "beth": "beth@the-smiths.com",
    "jerry": "jerry@the-smiths.com",
}
POLICY: Final = """package tenant

mail := {
    "rick": "rick@the-citadel.com", "morty": "morty@the-citadel.com", "summer": "summer@the-smiths.com",
    "beth": "beth@the-smiths.com", "jerry": "jerry@the-smiths.com",
}

touching if input.resource.name in {"todo/can_update_todo", "todo/can_delete_todo"}

owned if input.payload.resource.ownerID == mail[input.principal.slug]

owned if input.principal.slug == "rick"

deny contains {"reason": "not-the-owner", "advice": "Ask the owner of this todo."} if {
    touching
    not owned
}

# --- the certification's records ---

writing if input.resource.name == "record/write"

archived if input.payload.resource.status == "archived"

archived if {
    not input.payload.resource.status
    input.payload.id == "record-2"
}

admin if input.payload.subject.role == "admin"

admin if input.principal.slug == "bob"

deny contains "archived" if {
    writing
    archived
    not admin
}

deny contains "not-for-bob" if {
    writing
    input.principal.slug == "bob"
    not archived
}

deny contains "hard-delete" if {
    input.resource.name == "record/delete"
    input.payload.action.soft == false
}
"""
RECORD: Final = {"type": "object", "properties": {"id": {"type": "string", "enum": ["record-1", "record-2"]}}}
RECORD_TOOLS: Final = ("read", "write", "delete")
RECORD_ROLES: Final = {"alice": ("read", "write", "delete"), "bob": ("read", "write")}


def furnish(side: Side) -> None:
    """Give a tenant both applications, their people and the policy."""
    _application(side, "user", ("can_read_user",), EVERYTHING)
    _application(side, "todo", TODO_TOOLS, EVERYTHING)
    _application(side, "record", RECORD_TOOLS, RECORD)
    for slug, tools in ROLES.items():
        _user(side, slug, tools)
    for slug, words in RECORD_ROLES.items():
        _user(side, slug, tuple(f"record/{word}" for word in words))
    side.api("PUT", "/v1/policy", {"module": POLICY})


def _application(side: Side, slug: str, tools: tuple[str, ...], schema: Any) -> None:
    described = [{"name": name, "input_schema": schema} for name in tools]
    side.api("POST", "/v1/servers", {"slug": slug, "url": "http://127.0.0.1:9/none", "tools": described})


def _user(side: Side, slug: str, tools: tuple[str, ...]) -> None:
    grants = [{"action": "tool.call", "resource": f"tool/{tool}"} for tool in tools]
    side.api("POST", "/v1/subjects", {"kind": "user", "slug": slug, "grants": grants})


def todo_cases() -> list[tuple[str, str, dict[str, Any], bool]]:
    """Return (who, permission, resource, decision): the scenario's table of roles, written out."""
    cases: list[tuple[str, str, dict[str, Any], bool]] = []
    for who, tools in ROLES.items():
        editor = tools == EDITOR
        cases += [(who, "can_read_user", {"type": "user", "id": MAIL[about]}, True) for about in ("beth", "rick")]
        cases.append((who, "can_read_todos", {"type": "todo", "id": "todo-1"}, True))
        cases.append((who, "can_create_todo", {"type": "todo", "id": "todo-1"}, editor))
        for permission in ("can_update_todo", "can_delete_todo"):
            for owner in (who, "morty" if who == "rick" else "rick"):
                todo = {"type": "todo", "id": f"todo-of-{owner}", "properties": {"ownerID": MAIL[owner]}}
                cases.append((who, permission, todo, editor and (owner == who or who == "rick")))
    return cases


ACTIVE: Final = {"type": "record", "id": "record-1"}
ARCHIVED: Final = {"type": "record", "id": "record-2", "properties": {"status": "archived"}}
ALICE: Final = {"type": "user", "id": "alice"}
BOB: Final = {"type": "user", "id": "bob"}
BOSS: Final = BOB | {"properties": {"role": "admin"}}
CERTIFIED: Final[tuple[tuple[dict[str, Any], dict[str, Any], dict[str, Any], bool], ...]] = (
    (ALICE, {"name": "read"}, ACTIVE, True),
    (ALICE, {"name": "write"}, ACTIVE, True),
    (BOB, {"name": "read"}, ACTIVE, True),
    (BOB, {"name": "write"}, ACTIVE, False),
    (ALICE, {"name": "write"}, ARCHIVED, False),
    (BOSS, {"name": "write"}, ARCHIVED, True),
    (ALICE, {"name": "delete", "properties": {"soft": True}}, ACTIVE, True),
    (ALICE, {"name": "delete", "properties": {"soft": False}}, ACTIVE, False),
)
"""The eight decisions whose values the certification checks."""
