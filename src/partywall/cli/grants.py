"""How grants are typed: `ACTION=RESOURCE`, such as `tool.call=tool/mail/*`."""

from __future__ import annotations

from typing import Any, Final

import click

HELP: Final = "ACTION=RESOURCE, such as tool.call=tool/mail/* or model.request=model/smollm2; may be repeated."


def parse(words: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the grants as the API takes them. Raises: click.BadParameter."""
    grants = []
    for word in words:
        action, separator, resource = word.partition("=")
        if not (separator and action and resource):
            raise click.BadParameter(f"{word!r} is not ACTION=RESOURCE, such as model.request=model/smollm2")
        grants.append({"action": action, "resource": resource})
    return grants


def show(grants: list[dict[str, Any]]) -> list[str]:
    """Return grants as they are typed."""
    return [f"{grant['action']}={grant['resource']}" for grant in grants]
