"""What every knocked-out gateway is: the product, stamped, with one part replaced by its subclass."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, ClassVar

from knockouts.mark import StampedHttp, StampedLedger
from partywall.decision.ports import Ledger
from partywall.gateway.http import Request
from partywall.gateway.worker import Gateway

REQUEST: ContextVar[Request | None] = ContextVar("request", default=None)
"""The request under way: what a careless implementation keeps at hand."""


def swap(owner: Any, name: str, replacement: Any) -> None:
    """Replace one attribute of a module or class, in this process only."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name} to knock out")
    setattr(owner, name, replacement)


class Knocked(Gateway):
    """The product, stamped. Subclasses replace one part."""

    name: ClassVar[str] = "nothing"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.http: Any = StampedHttp(self.http, self.name)

    def make_ledger(self) -> Ledger:
        return StampedLedger(super().make_ledger(), self.name)


class Remembering(Knocked):
    """Keeps the request at hand for the careless parts."""

    def make_doors(self) -> list[Any]:
        return [_remember(door) for door in super().make_doors()]


def _remember(door: Any) -> Any:
    class Remembered:
        prefixes = door.prefixes
        routes = door.routes
        openai_errors = door.openai_errors

        async def __call__(self, request: Request) -> None:
            REQUEST.set(request)
            await door(request)

    return Remembered()
