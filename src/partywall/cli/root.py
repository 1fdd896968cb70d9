"""The root of the command line: what every command shares, and commands that are imported when they are used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from partywall.cli.credentials import CredentialsStore
from partywall.version import __version__

EXAMPLES = """\b
Examples:
  partywall up                                        start it; Ctrl-C stops it
  partywall login --bootstrap TOKEN                   become the platform operator
  partywall tenant create acme --admin root           a tenant, and a profile for its admin
  partywall --profile acme-root agent create scout    an agent, and its first key
  partywall audit verify acme.jsonl                   prove that an exported log is whole
"""


class LazyGroup(click.Group):
    """A group whose commands are `module:attribute`, imported on use: `partywall status` loads no HTTP client."""

    def __init__(self, *args: Any, places: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._places.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place[0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._places.items()])


def build(places: Mapping[str, tuple[str, str]]) -> click.Group:
    """Return the root command over these commands: name -> (`module:attribute`, one line of help)."""

    @click.group(
        cls=LazyGroup,
        places=places,
        epilog=EXAMPLES,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    @click.option(
        "--url", envvar="PARTYWALL_URL", help="Where the platform answers; else the profile's, else port 8470."
    )
    @click.option("--key", envvar="PARTYWALL_KEY", help="API key or access token; else the profile's.")
    @click.option("--profile", envvar="PARTYWALL_PROFILE", help="A saved sign-in; else the current one.")
    @click.version_option(__version__, prog_name="partywall")
    @click.pass_context
    def root(context: click.Context, url: str | None, key: str | None, profile: str | None) -> None:
        """Partywall: a wall between the tenants of an AI-agent platform, and the proof that it holds."""
        context.obj = {"url": url, "key": key, "profile": profile, "saved": CredentialsStore().get}

    assert isinstance(root, click.Group)
    return root
