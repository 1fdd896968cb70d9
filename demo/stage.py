"""What the chapters share: the deployment, its tenants and their servers, and what the command line asked for."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from demo import suites
from demo.desk import DeskProcess
from demo.report import Report, Skip
from demo.tenants import Tenant
from partywall.supervisor.throwaway import Throwaway

if TYPE_CHECKING:
    from demo.doors.attempt import Attempt
    from demo.knocked import Knockers


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """tasks: the first so many of each suite; no_model, no_probes, no_knockouts: why not, or '' to play them.

    keep: the deployment's home; full: every knock-out, however long it takes.
    """

    tasks: int | None = None
    no_model: str = ""
    no_probes: str = ""
    no_knockouts: str = ""
    keep: bool = False
    full: bool = False


class Stage:
    """Each chapter finds here what the ones before it made; `stack` takes everything down again."""

    def __init__(self, report: Report, options: Options, stack: AsyncExitStack) -> None:
        self.report = report
        self.options = options
        self.stack = stack
        self.platform: Throwaway | None = None
        self.tenants: list[Tenant] = []
        self.desks: dict[str, DeskProcess] = {}
        self.attempts: list[Attempt] = []
        self.findings: list[dict[str, Any]] = []
        self.knockers: Knockers | None = None

    @property
    def console(self) -> Console:
        """Where progress is shown."""
        return self.report.console

    def running(self) -> Throwaway:
        """Return the deployment. Raises: Skip."""
        if self.platform is None or not self.platform.url:
            raise Skip("the platform did not start")
        return self.platform

    def everyone(self) -> list[Tenant]:
        """Return every tenant. Raises: Skip unless all were made."""
        self.running()
        if len(self.tenants) != len(suites.SUITES):
            raise Skip("the tenants were not made")
        return self.tenants
