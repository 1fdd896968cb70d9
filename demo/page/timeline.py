"""The run as it happened: what each tenant's people did and were refused, and when it was probed and knocked out."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Final

from demo.page.facts import Facts
from demo.page.markup import Safe, tag

LANE: Final = 62
BAND: Final = 26
STRIP: Final = 12
AXIS: Final = 26
STEPS: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120)


def wide(facts: Facts) -> Safe:
    """Names beside the lanes."""
    return _timeline(facts, "wide", width=1200, label=110, bins=220)


def narrow(facts: Facts) -> Safe:
    """Fewer, wider bars."""
    return _timeline(facts, "narrow", width=358, label=78, bins=70)


def _timeline(facts: Facts, kind: str, *, width: int, label: int, bins: int) -> Safe:
    scale = _Scale(facts, width, label)
    lanes = _pack(facts.knockouts)
    top = BAND + 8
    bottom = top + len(facts.tenants) * LANE + 10 + (STRIP + 12) + (len(lanes) * (STRIP + 3) + 9 if lanes else 0)
    parts = [*_chapters(facts, scale, bottom), *_axis(scale, bottom)]
    for at, name in enumerate(facts.tenants):
        parts += _tenant(facts, name, scale, top + at * LANE, bins)
    y = top + len(facts.tenants) * LANE + 10
    parts += _strip("Probes", facts.probes, scale, y, lambda one: (one["id"], one["result"] in {"held", "skipped"}))
    y += STRIP + 12
    for number, lane in enumerate(lanes):
        parts += _strip(
            "Knock-outs" if number == 0 else "",
            lane,
            scale,
            y + number * (STRIP + 3),
            lambda one: (f"{one['knock_out']} / {one['probe']}", one["knocked_out"] == "leak"),
        )
    what = "Time runs to the right. For each tenant: allowed actions above the line, refused ones below."
    return tag(
        "svg",
        tag("title", "The run, second by second"),
        tag("desc", what),
        *parts,
        viewBox=f"0 0 {width} {bottom + AXIS}",
        class_=f"timeline {kind}",
        role="img",
    )


class _Scale:
    """Seconds of the run as x."""

    def __init__(self, facts: Facts, width: int, label: int) -> None:
        self.began_s, self.length_s = facts.began_s, max(facts.duration_s, 1.0)
        self.label, self.width = label, width

    def x(self, at_s: float) -> float:
        """Of a moment in Unix seconds."""
        share = min(1.0, max(0.0, (at_s - self.began_s) / self.length_s))
        return round(self.label + share * (self.width - self.label - 2), 1)


def _chapters(facts: Facts, scale: _Scale, bottom: int) -> list[Safe]:
    """A band for each chapter that took long enough to be seen, numbered as in the list of chapters."""
    parts = []
    for number, chapter in enumerate(facts.chapters, 1):
        x = scale.x(chapter["at_s"])
        wide = scale.x(chapter["at_s"] + chapter["duration_s"]) - x
        title = tag("title", f"{number}. {chapter['name']}")
        if wide < 1:
            continue
        parts.append(tag("rect", title, x=x, y=0, width=wide, height=bottom, class_="chapter" + " odd" * (number % 2)))
        if wide > 12:
            parts.append(tag("text", number, x=x + 5, y=16, class_="number"))
    return parts


def _axis(scale: _Scale, bottom: int) -> list[Safe]:
    room = 12 if scale.width > 600 else 5
    step = next((step for step in STEPS if scale.length_s / step <= room), STEPS[-1])
    parts = [tag("line", x1=scale.label, x2=scale.width, y1=bottom, y2=bottom, class_="axis")]
    for tick in range(0, int(scale.length_s) + 1, step):
        x = scale.x(scale.began_s + tick)
        parts.append(tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, class_="axis"))
        last = tick + step > scale.length_s
        parts.append(
            tag("text", f"{tick} s", x=x, y=bottom + 19, class_="tick", text_anchor="end" if last else "middle")
        )
    return parts


def _tenant(facts: Facts, name: str, scale: _Scale, y: int, bins: int) -> list[Safe]:
    moments: list[tuple[float, bool]] = facts.ledgers.get(name, {}).get("moments", [])
    size_s = scale.length_s / bins
    ups: Counter[int] = Counter()
    downs: Counter[int] = Counter()
    for at_s, denied in moments:
        (downs if denied else ups)[min(bins - 1, max(0, int((at_s - facts.began_s) / size_s)))] += 1
    most = math.sqrt(max(_most(facts, size_s), 1))
    zero = y + 38
    parts = [
        tag("text", name, x=0, y=zero - 8, class_="lane"),
        tag("text", f"{sum(ups.values())} · {sum(downs.values())}", x=0, y=zero + 8, class_="unit"),
        tag("line", x1=scale.label, x2=scale.width, y1=zero, y2=zero, class_="zero"),
    ]
    wide = max(1.0, (scale.width - scale.label) / bins - 0.8)
    for counts, sign, room, class_ in ((ups, -1, 34.0, f"bar t{facts.index(name)}"), (downs, 1, 18.0, "bar denied")):
        for at, count in sorted(counts.items()):
            height = max(1.5, min(1.0, math.sqrt(count) / most) * room)
            x = scale.x(facts.began_s + at * size_s)
            top = zero - height if sign < 0 else zero + 1
            said = tag("title", f"{at * size_s:.1f} s: {count} {'refused' if sign > 0 else 'allowed'}")
            parts.append(
                tag("rect", said, x=x, y=round(top, 1), width=round(wide, 1), height=round(height, 1), class_=class_)
            )
    return parts


def _most(facts: Facts, size_s: float) -> int:
    counts = Counter(
        (name, denied, int((at_s - facts.began_s) / size_s))
        for name, ledger in facts.ledgers.items()
        for at_s, denied in ledger["moments"]
    )
    return max(counts.values(), default=1)


def _pack(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Share what overlaps in time among as few lanes as it takes."""
    lanes: list[list[dict[str, Any]]] = []
    for row in sorted(rows, key=lambda row: float(row["at_s"])):
        free = next((lane for lane in lanes if lane[-1]["at_s"] + lane[-1]["duration_s"] <= row["at_s"]), None)
        if free is None:
            lanes.append([row])
        else:
            free.append(row)
    return lanes


def _strip(label: str, rows: list[dict[str, Any]], scale: _Scale, y: float, judge: Any) -> list[Safe]:
    parts = [tag("text", label, x=0, y=y + STRIP - 1, class_="lane")] if label else []
    for row in rows:
        name, good = judge(row)
        x = scale.x(row["at_s"])
        wide = max(1.5, scale.x(row["at_s"] + row["duration_s"]) - x - 1)
        said = tag("title", f"{name}: {row['duration_s']:.1f} s")
        parts.append(
            tag("rect", said, x=x, y=y, width=round(wide, 1), height=STRIP, rx=1.5, class_="ran" if good else "ran bad")
        )
    return parts
