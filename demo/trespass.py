"""Every tenant tries every door of every other: each attempt must be refused, and none may learn anything."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
from rich.markup import escape
from rich.table import Table

from demo.doors import DOORS
from demo.doors.attempt import Attempt, Door, attempt
from demo.report import Chapter
from demo.stage import Stage
from demo.tenants import Tenant


async def trespass(stage: Stage, chapter: Chapter) -> None:
    """Make every attempt of every ordered pair; each attacker in a thread of its own."""
    tenants = stage.everyone()
    doors = [door for door in DOORS if door.here(tenants[0])]
    absent = [door.name for door in DOORS if door not in doors]
    with stage.console.status("trying every door of every neighbour …"):
        made = await asyncio.gather(*(asyncio.to_thread(_all_of, a, tenants, doors) for a in tenants))
    stage.attempts = attempts = [one for each in made for one in each]
    for one in attempts:
        chapter.must(one.held, f"{one.who} → {one.whose}: {one.tried}: {one.status} {one.reason}")
        chapter.must(one.same is not False, f"{one.who} → {one.whose}: {one.tried}: not as a missing name is answered")
    stage.console.print(table(attempts))
    twins = [one.same for one in attempts if one.same is not None]
    pairs = {(one.who, one.whose) for one in attempts if one.who != one.whose}
    chapter.figures = {"absent": absent}
    chapter.says = (
        f"{sum(one.held for one in attempts)} of {len(attempts)} attempts refused at {len(doors)} doors, over all "
        f"{len(pairs)} ordered pairs; {sum(twins)} of {len(twins)} answers are byte for byte those of a missing name"
    )
    if absent:
        chapter.says += f"; not in this version: {', '.join(absent)}"


def _all_of(a: Tenant, tenants: list[Tenant], doors: list[Door]) -> list[Attempt]:
    made = []
    for door in doors:
        neighbours = [a] if door.alone else [b for b in tenants if b is not a]
        made += [attempt(door, tried, a, b) for b in neighbours for tried in door.tries(a, b)]
    return made


def locate(attempts: list[Attempt], places: dict[str, tuple[str, int]]) -> list[Attempt]:
    """Return the attempts with the act and the leaf that the ledger has for each. places: by trace."""
    located = []
    for one in attempts:
        act, leaf = places.get(one.trace, (one.act, one.leaf))
        located.append(msgspec.structs.replace(one, act=act, leaf=leaf))
    return located


def table(attempts: list[Attempt]) -> Table:
    """Return one row a door and thing tried: how many pairs tried, and what they were answered."""
    shown = Table(box=None, pad_edge=False)
    for column in ("door", "tried", "refused", "answered"):
        shown.add_column(column, overflow="fold")
    rows: dict[tuple[str, str], list[Attempt]] = {}
    for one in attempts:
        rows.setdefault((one.door, one.tried), []).append(one)
    last = ""
    for (door, tried), ones in rows.items():
        held = sum(one.held for one in ones)
        answers = Counter(f"{one.status} {one.code}".strip() for one in ones)
        colour = "green" if held == len(ones) else "bold red"
        said = ", ".join(answers)
        shown.add_row(door if door != last else "", escape(tried), f"[{colour}]{held}/{len(ones)}[/]", escape(said))
        last = door
    return shown
