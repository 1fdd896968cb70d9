"""The filters of `partywall audit search` and `export`, as options: one for each parameter of the API."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])
_AGO: Final = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class When(click.ParamType[str]):
    """A time: `2026-01-31T08:00:00Z`, Unix seconds, or how long ago (`15m`, `2h`, `7d`)."""

    name = "TIME"

    def convert(self, value: Any, _param: click.Parameter | None, _context: click.Context | None) -> str:
        """Return what the API takes."""
        ago = _AGO.fullmatch(str(value))
        return str(value) if ago is None else f"{time.time() - int(ago[1]) * _SECONDS[ago[2]]:.3f}"


_OPTIONS: Final = (
    click.option("--action", help="Such as tool.call or operator.key."),
    click.option("--action-prefix", metavar="TEXT", help="All actions that begin so, such as `operator.`."),
    click.option("--phase", type=click.Choice(["intent", "outcome", "denial"])),
    click.option("--verdict", type=click.Choice(["allow", "deny", "needs-approval"])),
    click.option("--result", type=click.Choice(["complete", "failed", "cancelled", "cut", "denied-midway", "unknown"])),
    click.option("--who", "principal", metavar="ID", help="The agent, user or `system:…` that acted."),
    click.option("--user", metavar="ID", help="On whose behalf an agent acted."),
    click.option("--resource", metavar="NAME", help="`<kind>/<id>`, such as memory/agt_…."),
    click.option("--kind", help="All resources of a kind, such as tool."),
    click.option("--trace", "trace_id", metavar="HEX", help="One trace, 32 hexadecimal digits."),
    click.option("--act", metavar="ID", help="One action: its intent and its outcome."),
    click.option("--parent", metavar="ID", help="What this action caused."),
    click.option("--reason", metavar="TEXT", help="Why it was denied or failed, word by word."),
    click.option("--policy", "policy_revision", metavar="REVISION"),
    click.option("--since", type=When(), help="From then on: 2026-01-31T08:00:00Z, or 15m, 2h, 7d ago."),
    click.option("--until", type=When(), help="Before then."),
    click.option("--from-seq", type=click.IntRange(min=0), metavar="N", help="From this leaf on."),
    click.option("--to-seq", type=click.IntRange(min=0), metavar="N", help="Before this leaf."),
)


def filter_options(function: Function) -> Function:
    """Add every filter as an option; the command takes them as keyword arguments."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def given(filters: dict[str, Any]) -> dict[str, Any]:
    """Return the filters that were given."""
    return {name: value for name, value in filters.items() if value is not None}
