"""What a probe is: an attack with an id of attacks.md, that either finds a leak or says how the wall held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from partywall.assurance.target import NotHere, Target

__all__ = ["PROBES", "Attack", "Finding", "Leak", "NotHere", "Probe", "expect", "probe"]


class Leak(Exception):
    """The wall did not hold; the text is the evidence."""


Attack = Callable[[Target], str]


class Probe(msgspec.Struct, frozen=True):
    """id: as in docs/threat-model.md. control: the control that it tests, as its knock-out names it."""

    id: str
    title: str
    control: str
    attack: Attack


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """result: held | leak | skipped | broken. evidence: how, or why."""

    id: str
    title: str
    control: str
    result: str
    evidence: str
    duration_s: float


PROBES: Final[list[Probe]] = []


def probe(id_: str, title: str, *, control: str) -> Callable[[Attack], Attack]:
    """Register an attack. It returns one sentence of evidence that the wall held, or raises Leak or NotHere."""

    def register(attack: Attack) -> Attack:
        PROBES.append(Probe(id_, title, control, attack))
        return attack

    return register


def expect(condition: object, evidence: str) -> None:
    """Raises: Leak unless condition holds."""
    if not condition:
        raise Leak(evidence)
