"""Tenant policies as people write them, varied in the features they use; and inputs, honest and hostile."""

from __future__ import annotations

import copy
import random
from typing import Any

TENANT, NEIGHBOUR = "ten_" + "a" * 26, "ten_" + "b" * 26
AGENT, USER = "agt_" + "a" * 26, "usr_" + "a" * 26
SERVER, MODEL = "mcp_" + "a" * 26, "mdl_" + "a" * 26

MODULES: dict[str, str] = {
    "amount": """
        deny contains "amount-too-large" if input.payload.amount > 1000
        approve contains {"reason": "large-transfer", "advice": "Ask for less."} if input.payload.amount > 100
    """,
    "recipients": """
        allowed := {"DE89370400440532013000", "GB29NWBK60161331926819"}
        sending if input.resource.name == "bank/send_money"
        deny contains "unknown-recipient" if {
            sending
            not known
        }
        known if input.payload.recipient in allowed
    """,
    "kinds": """
        deny_grant contains "users-only" if input.principal.kind != "user"
        deny_grant contains {"reason": "not-in-tool", "advice": "Use another tool."} if {
            startswith(input.resource.name, "bank/")
            endswith(input.resource.name, "_all")
        }
        obligations_grant contains {"redact": ["iban", "email"]} if input.resource.kind == "tool"
    """,
    "words": """
        words := ["password", "secret", "geheim"]
        texts contains lower(message.content) if some message in input.payload.messages
        deny contains reason if {
            some text in texts
            some word in words
            contains(text, word)
            reason := sprintf("word-%s", [word])
        }
    """,
    "hours": """
        open if { input.context.time.hour >= 8; input.context.time.hour < 18; input.context.time.weekday < 5 }
        deny contains "closed" if not open
        obligations contains {"truncate": 2000} if open
        obligations contains {"tag": 2} if input.context.label.classification >= 2
    """,
    "mail": """
        outside contains address if {
            some address in input.payload.to
            not regex.match(`^[a-z0-9._-]+@acme\\.example$`, address)
        }
        deny contains "outside-recipient" if count(outside) > 0
        deny contains "many-recipients" if count(input.payload.to) > 3
    """,
    "every": """
        numeric if every item in input.payload.items { is_number(item) }
        deny contains "not-numbers" if not numeric
        deny contains "sum" if sum(input.payload.items) > 10
        deny contains "max" if max(input.payload.items) == 7
    """,
    "objects": """
        limits := {"alice": 10, "bob": 20}
        limit := object.get(limits, input.payload.recipient, 5)
        extra := object.keys(input.payload) - {"amount", "recipient", "to", "items", "messages", "path"}
        deny contains "extra-fields" if count(extra) > 0
        deny contains "over-limit" if input.payload.amount > limit
    """,
    "functions": """
        within(path, folder) if startswith(path, concat("", [folder, "/"]))
        clean(path) := trim(lower(path), " ")
        inside if within(clean(input.payload.path), "/srv/data")
        deny contains "outside-folder" if not inside
        deny contains "climbs" if ".." in split(input.payload.path, "/")
    """,
    "else": """
        risk := "high" if input.payload.amount > 500
        else := "medium" if input.payload.amount > 50
        else := "low"
        approve contains risk if risk == "high"
        obligations contains {"tag": 1} if risk == "medium"
        deny contains "agents-stay-low" if { input.principal.kind == "agent"; risk != "low" }
    """,
    "network": r"""
        deny contains "private-address" if regex.match(`^10\.[0-9]{1,3}\.`, input.payload.recipient)
        deny contains "bad-path" if {
            parts := split(input.payload.path, "/")
            parts[1] != "srv"
        }
        deny contains "long" if count(input.payload.path) > 20
        deny contains "mid" if substring(input.payload.path, 1, 3) == "etc"
    """,
    "delegation": """
        alone if { input.principal.kind == "agent"; input.principal.on_behalf_of == null }
        deny_grant contains "only-for-users" if alone
        deny contains "not-for-bob" if input.principal.on_behalf_of.slug == "bob"
        reading if input.context.class == "internal-read"
        deny contains "untrusted" if { input.context.label.trust == "untrusted"; not reading }
        deny contains "types" if type_name(input.payload) != "object"
    """,
    "scopes": """
        wide if input.principal.scopes == null
        deny contains "wide-credential" if wide
        deny contains "deep" if input.context.depth + 1 > 3
        shared := {"a", "b"} & {x | some x in input.payload.to}
        deny contains "sets" if shared != set()
        seen := {name: true | some name, _ in input.payload}
        deny contains "has-token" if seen["token"]
    """,
    "text": """
        deny contains "replace" if replace(input.payload.recipient, "-", "") == "DE89"
        deny contains "index" if indexof(input.payload.recipient, "x") >= 0
        deny contains "any" if strings.any_prefix_match(input.payload.path, ["/etc", "/root"])
        deny contains "slice" if array.slice(input.payload.items, 0, 2) == [1, 2]
        deny contains "doubled" if input.payload.amount * 2 == 6
        deny contains "space" if trim_space(input.payload.recipient) == "bob"
    """,
}


def module(name: str) -> str:
    """Return a module's whole text."""
    lines = (line.removeprefix("        ") for line in MODULES[name].splitlines())
    return "package tenant\n\n" + "\n".join(lines).strip() + "\n"


def example(draw: random.Random) -> dict[str, Any]:
    """Return an honest input of both entry points, varied within its schema."""
    kind = draw.choice(["agent", "agent", "user"])
    grants = [
        {"action": "tool.call", "resource": f"tool/{SERVER}/*"},
        {"action": "model.request", "resource": f"model/{MODEL}"},
    ]
    user = {
        "kind": "user",
        "id": USER,
        "slug": draw.choice(["alice", "bob"]),
        "grants": grants[: draw.choice([0, 2, 2])],
    }
    tool = draw.choice(["send_money", "delete_all", "read"])
    resource_id, name = (f"{SERVER}/{tool}", f"bank/{tool}") if draw.random() < 0.8 else (MODEL, "smollm2")
    resource_kind = "model" if resource_id == MODEL else "tool"
    return {
        "principal": {
            "kind": kind,
            "id": AGENT if kind == "agent" else USER,
            "slug": "scout",
            "tenant": TENANT,
            "scopes": draw.choice([None, ["tool.call"]]),
            "clearance": 1,
            "grants": grants[: draw.choice([1, 2, 2, 2])],
            "on_behalf_of": user if kind == "agent" and draw.random() < 0.5 else None,
        },
        "action": {"type": "tool.call" if resource_kind == "tool" else "model.request"},
        "resource": {
            "region": "local",
            "tenant": TENANT,
            "kind": resource_kind,
            "id": resource_id,
            "name": name,
            "classification": 1,
        },
        "revision": "1-000000000000",
        "context": {
            "class": draw.choice(["effect", "internal-read"]),
            "depth": draw.randrange(4),
            "label": draw.choice(
                [None, {"classification": draw.randrange(4), "trust": draw.choice(["trusted", "untrusted"])}]
            ),
            "time": {"unix_s": 1_800_000_000, "hour": draw.randrange(24), "weekday": draw.randrange(7)},
        },
        "payload": _payload(draw),
    }


def _payload(draw: random.Random) -> dict[str, Any]:
    full = {
        "amount": draw.choice([1, 3.0, 2.5, 60, 101, 700, 5000]),
        "recipient": draw.choice(["DE89370400440532013000", "bob", " bob ", "10.1.2.3", "x", "DE-89"]),
        "to": draw.choice(
            [[], ["a@acme.example"], ["a", "b"], ["a@acme.example", "eve@evil.example"], ["x@acme.example"] * 4]
        ),
        "items": draw.choice([[], [1, 2, 3], [7], [1.5], [5, 6]]),
        "messages": [{"role": "user", "content": draw.choice(["hello", "the PASSWORD", "Straße", "secret plan"])}],
        "path": draw.choice(["/srv/data/a", "/SRV/data/../b ", "/etc/passwd", "", "a/b", "/srv/other/long/long/long"]),
    }
    return {key: value for key, value in full.items() if draw.random() < 0.75}


HOSTILE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    1.0,
    0.1,
    -0.0,
    1e300,
    2**63,
    -(2**63),
    "",
    "0",
    "1",
    "true",
    "null",
    [],
    {},
    [[]],
    [None],
    {"": ""},
    "\u0000",
    "é",
    "ǅ",
    "İSTANBUL",
    "ΟΔΟΣ",
    "\U0001f600",
    "a" * 200,
    "../../x",
    "*",
    "tool/*",
    "agent",
    "user",
    "platform",
    TENANT,
    NEIGHBOUR,
    ["a", "b"],
    {"a": 1},
    {"kind": "user"},
    {"0": 1},
    "10.0.0.1/8",
    "١٢",
    " ",
    "secret\u200b",
    1000.0000000000001,
)


def mutate(value: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Return a copy with one to three members anywhere replaced by hostile values, removed, or added."""
    changed = copy.deepcopy(value)
    for _ in range(draw.randint(1, 3)):
        holder: Any = changed
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(holder[key], dict | list) and holder[key] and draw.random() < 0.8:
                holder = holder[key]
                continue
            if isinstance(holder, dict) and draw.random() < 0.2:
                del holder[key]
            elif isinstance(holder, dict) and draw.random() < 0.1:
                holder[str(draw.choice(["token", "extra", "grants", "kind"]))] = copy.deepcopy(draw.choice(HOSTILE))
            else:
                holder[key] = copy.deepcopy(draw.choice(HOSTILE))
            break
    return changed
