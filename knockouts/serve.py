"""One knocked-out gateway as a process: `python -m knockouts.serve NAME FD`."""

from __future__ import annotations

import asyncio
import socket
import sys

from knockouts.gateways import CAUGHT_BY
from knockouts.mark import refuse_real_data
from partywall.app import read_settings, run
from partywall.gateway import worker
from partywall.settings import Home, Settings, default_home
from partywall.telemetry.log import Log, configure


def main(name: str, descriptor: int) -> None:
    """Serve as the knock-out of this name on a listening socket until SIGTERM."""
    home = default_home()
    refuse_real_data(home)
    made = next(made for made, _probe in CAUGHT_BY if made.name == name)

    async def serve(home: Home, settings: Settings, log: Log, stop: asyncio.Event) -> None:
        listener = socket.socket(fileno=descriptor)
        listener.setblocking(False)
        await worker.serve(home, settings, log, stop, index=90, listener=listener, make=made)

    run(serve, home, read_settings(home), configure(f"knocked-out-{name}"))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
