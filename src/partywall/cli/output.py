"""How every command prints: a table or a few lines for people, one JSON document with `--json` for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """Add `--json` as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")(function)


class Output:
    """Prints one command's answer."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True)

    def data(self, data: Any) -> None:
        """Print the answer itself, with `--json` only."""
        if self.as_json:
            click.echo(json.dumps(data))

    def line(self, text: str, *, style: str = "") -> None:
        """Print one line for people."""
        if not self.as_json:
            self._console.print(escape(text), style=style or None)

    def done(self, text: str) -> None:
        """Print that it is done."""
        if not self.as_json:
            self._console.print(f"[green]done[/]  {escape(text)}")

    def secret(self, title: str, value: str) -> None:
        """Print a secret that is shown this once."""
        if not self.as_json:
            self._console.print(f"{escape(title)}  [bold]{escape(value)}[/]  [dim](shown once)[/]")

    def next(self, text: str) -> None:
        """Print what to do next."""
        if not self.as_json:
            self._console.print(f"[dim]next[/]  {escape(text)}")

    def fields(self, thing: Mapping[str, Any]) -> None:
        """Print one thing, a line for each of its members."""
        self.table(("", ""), [(name, value) for name, value in thing.items()], empty="")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
        """Print a table, or what to do when there is nothing to show."""
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(_cell(value) for value in row))
        if table.row_count:
            self._console.print(table)
        else:
            self.line(empty, style="dim")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return escape(", ".join(str(item) for item in value)) or "-"
    text = escape(str(value))
    return f"[green]{text}[/]" if text == "active" else f"[red]{text}[/]" if text == "suspended" else text
