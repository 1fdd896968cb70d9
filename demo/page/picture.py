"""The picture: houses in section. Each tenant is one, each layer a floor; attempts of the others end at its wall."""

from __future__ import annotations

from typing import Final

from demo.layers import TITLES
from demo.page.facts import Facts
from demo.page.markup import NONE, Safe, join, tag

ROW: Final = 60
HEAD: Final = 64
FOOT: Final = 40
LABEL: Final = 128
OUTSIDE: Final = 84
WALL: Final = 16
ROOM: Final = 152
GAP: Final = 20
CELL: Final = OUTSIDE + WALL + ROOM
NARROW_LABEL: Final = 98
NARROW_GAP: Final = 34
DART_TOP, DART_STEP = 14, 16


def wide(facts: Facts) -> Safe:
    """All tenants beside one another."""
    layers = facts.layers
    width = LABEL + len(facts.tenants) * (CELL + GAP) - GAP
    height = HEAD + len(layers) * ROW + FOOT
    floors = [
        join(
            tag("line", x1=0, x2=width, y1=HEAD + at * ROW, y2=HEAD + at * ROW, class_="floor"),
            tag("text", TITLES[layer], x=0, y=HEAD + at * ROW + ROW / 2 + 5, class_="layer"),
        )
        for at, layer in enumerate(layers)
    ]
    rooms = [_room(facts, name, "wide", LABEL + at * (CELL + GAP), 0) for at, name in enumerate(facts.tenants)]
    return _svg(facts, width, height, "wide", *floors, *rooms)


def narrow(facts: Facts) -> Safe:
    """One tenant below the other, for a telephone."""
    layers = facts.layers
    width = NARROW_LABEL + CELL
    block = HEAD + len(layers) * ROW + FOOT
    parts: list[Safe] = []
    for number, name in enumerate(facts.tenants):
        top = number * (block + NARROW_GAP)
        for at, layer in enumerate(layers):
            y = top + HEAD + at * ROW
            parts.append(tag("line", x1=0, x2=width, y1=y, y2=y, class_="floor"))
            parts.append(tag("text", TITLES[layer], x=0, y=y + ROW / 2 + 5, class_="layer"))
        parts.append(_room(facts, name, "narrow", NARROW_LABEL, top))
    height = len(facts.tenants) * (block + NARROW_GAP) - NARROW_GAP
    return _svg(facts, width, height, "narrow", *parts)


def standalone(facts: Facts, style: str) -> str:
    """Return the wide picture as a file of its own. style: its whole style sheet."""
    picture = wide(facts)
    at = picture.index(">") + 1
    opened = picture[:at].replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f"{opened}<style>{style}</style>{picture[at:]}\n"


def _svg(facts: Facts, width: float, height: float, kind: str, *parts: Safe) -> Safe:
    what = (
        f"{len(facts.tenants)} tenants, {len(facts.layers)} layers. Inside each tenant: its own allowed actions. "
        f"At each wall: the attempts of the others, {sum(facts.through.values())} of "
        f"{sum(facts.between.values())} came through."
    )
    bricks = tag(
        "pattern",
        tag("rect", width=WALL, height=12, class_="mortar"),
        tag("rect", x=0, y=0.75, width=WALL, height=4.5, class_="brick"),
        tag("rect", x=0, y=6.75, width=WALL / 2 - 0.75, height=4.5, class_="brick"),
        tag("rect", x=WALL / 2 + 0.75, y=6.75, width=WALL / 2 - 0.75, height=4.5, class_="brick"),
        id=f"bricks-{kind}",
        width=WALL,
        height=12,
        patternUnits="userSpaceOnUse",
    )
    return tag(
        "svg",
        tag("title", "Who could reach what"),
        tag("desc", what),
        tag("defs", bricks),
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        class_=f"picture {kind}",
        role="img",
    )


def _room(facts: Facts, name: str, kind: str, x: float, y: float) -> Safe:
    layers = facts.layers
    height = len(layers) * ROW
    inside, colour = OUTSIDE + WALL, f"t{facts.index(name)}"
    most = max([1, *(facts.allowed(tenant, layer) for tenant in facts.tenants for layer in layers)])
    ledger = facts.ledgers.get(name, {})
    knocks = sum(count - facts.through[key] for key, count in facts.between.items() if key[1] == name)
    parts = [
        tag("path", d=f"M{inside} {HEAD} V24 H{inside + ROOM} V{HEAD} Z", class_=f"roof {colour}"),
        tag("text", name, x=inside + 12, y=50, class_="name"),
        tag("rect", x=inside, y=HEAD, width=ROOM, height=height, class_=f"room {colour}"),
        tag("text", f"{knocks} refused", x=OUTSIDE - 6, y=50, class_="knocks", text_anchor="end"),
        tag(
            "rect",
            width=WALL,
            height=height + HEAD - 24,
            fill=f"url(#bricks-{kind})",
            transform=f"translate({OUTSIDE} 24)",
        ),
        tag("rect", x=OUTSIDE, y=HEAD + height, width=WALL + ROOM, height=6, class_="mortar base"),
        tag("text", _foot(ledger), x=inside, y=HEAD + height + 26, class_="foot"),
    ]
    parts += [_floor(facts, name, layer, HEAD + at * ROW, most) for at, layer in enumerate(layers)]
    return tag("g", *parts, transform=f"translate({x:g} {y:g})")


def _foot(ledger: dict[str, object]) -> str:
    return f"{ledger['leaves']:,} leaves, verified" if ledger else "no ledger read"


def _floor(facts: Facts, name: str, layer: str, y: float, most: int) -> Safe:
    allowed = facts.allowed(name, layer)
    inside = OUTSIDE + WALL
    length = (ROOM - 24) * (allowed / most) ** 0.5
    middle = y + ROW / 2
    parts = [
        tag("line", x1=inside, x2=inside + ROOM, y1=y, y2=y, class_="floor"),
        tag(
            "text",
            tag("tspan", f"{allowed:,}" if allowed else NONE, class_="count"),
            tag("tspan", "allowed", dx=6, class_="unit") if allowed else None,
            x=inside + 12,
            y=middle + 1,
        ),
        tag(
            "rect",
            x=inside + 12,
            y=middle + 9,
            width=round(length, 1),
            height=4,
            rx=2,
            class_=f"bar t{facts.index(name)}",
        ),
    ]
    others = [tenant for tenant in facts.tenants if tenant != name]
    darts = [
        _dart(facts, other, name, layer, y + DART_TOP + at * DART_STEP)
        for at, other in enumerate(others)
        if facts.between[other, name, layer]
    ]
    return join(*parts, *darts)


def _dart(facts: Facts, attacker: str, victim: str, layer: str, y: float) -> Safe:
    """One neighbour's attempts: an arrow that ends at the wall, or goes through it where one was not refused."""
    tried, through = facts.between[attacker, victim, layer], facts.through[attacker, victim, layer]
    colour = f"t{facts.index(attacker)}"
    end = OUTSIDE - 2 if not through else OUTSIDE + WALL + 8
    what = f"{attacker} tried {tried} times to reach {victim}'s {TITLES[layer].lower()}; {tried - through} refused"
    return tag(
        "g",
        tag("title", what),
        tag("text", attacker[:1].upper(), x=2, y=y + 4, class_=f"from {colour}"),
        tag("text", tried, x=34, y=y + 4, class_="tried", text_anchor="end"),
        tag("line", x1=40, x2=end - 5, y1=y, y2=y, class_=f"shaft {colour}"),
        tag("path", d=f"M{end} {y:g} l-7 -3.5 v7 z", class_=f"tip {colour}"),
        class_="dart leak" if through else "dart",
    )


def legend(facts: Facts) -> Safe:
    """The colours, and how to read the picture."""
    keys = [
        tag("li", tag("b", name[:1].upper(), class_=f"key t{at}"), f" {name}") for at, name in enumerate(facts.tenants)
    ]
    return tag("ul", *keys, class_="legend")
