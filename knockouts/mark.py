"""The stamp of a knock-out, and the guard that keeps it away from real data."""

from __future__ import annotations

import msgspec

from partywall.decision.ports import Ledger
from partywall.decision.record import Record
from partywall.gateway.http import HttpServer, Receive, Scope, Send
from partywall.settings import Home

MARK = "KNOCKED-OUT"
HEADER = b"partywall-knocked-out"


def mark(home: Home) -> None:
    """Mark a fresh home as one for knock-outs."""
    (home.path / MARK).write_text("This deployment has controls removed on purpose. Delete it.\n")


def refuse_real_data(home: Home) -> None:
    """Raises: SystemExit unless the home was made for knock-outs."""
    if not (home.path / MARK).is_file():
        raise SystemExit("a knock-out starts in a home made for knock-outs, and never in an existing one")


class StampedHttp:
    """Adds the stamp to every reply."""

    def __init__(self, server: HttpServer, name: str) -> None:
        self._server = server
        self._name = name.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamped(message: Scope) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (HEADER, self._name)]
            await send(message)

        await self._server(scope, receive, stamped)

    @property
    def draining(self) -> bool:
        """As the server's."""
        return self._server.draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self._server.draining = value


class StampedLedger:
    """Adds the stamp to every leaf."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger = ledger
        self._name = name

    async def append(self, record: Record, *, durable: bool) -> None:
        parameters = {**record.parameters, MARK: self._name}
        await self._ledger.append(msgspec.structs.replace(record, parameters=parameters), durable=durable)
