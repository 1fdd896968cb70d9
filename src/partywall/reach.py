"""Where a process may be sent by somebody else's URL: public addresses, and what the deployment's owner adds.

A name is resolved once, every address that it has is checked, and the connection must go to the one that is returned
here: looking it up again would let its owner answer differently (DNS rebinding). Source: OWASP SSRF, attacks.md MCP-4.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from weakref import WeakValueDictionary

from partywall.errors import PartywallError, ProviderFault, ProviderRefused

LOOKUPS_LIMIT: Final = 16
LOOKUPS_OF_ONE: Final = 2
"""Of one owner at once: a name whose own servers never answer holds its owner's lookups, and nobody else's."""
LOOKUP_S: Final = 10.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return networks of their CIDR texts. Raises: ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def is_never(address: Address) -> bool:
    """Whether nobody's URL may lead there, whatever is allowed: link-local (cloud metadata), multicast, unspecified."""
    seen = getattr(address, "ipv4_mapped", None) or address
    if seen.is_loopback:  # `::1` lies in a block that is reserved as a whole
        return False
    return bool(seen.is_link_local or seen.is_multicast or seen.is_unspecified or seen.is_reserved)


class Reach:
    """networks: private ones that are allowed. loopback: whether this machine's own servers are."""

    def __init__(self, networks: Iterable[Network] = (), *, loopback: bool = False) -> None:
        self._networks = tuple(networks)
        self._loopback = loopback
        self._threads = ThreadPoolExecutor(LOOKUPS_LIMIT, thread_name_prefix="lookup")
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def allows(self, address: Address) -> bool:
        """Whether a connection may go to this address."""
        if is_never(address):
            return False
        seen: Address = getattr(address, "ipv4_mapped", None) or address
        if seen.is_loopback:
            return self._loopback
        return seen.is_global or any(seen in network for network in self._networks if network.version == seen.version)

    async def resolve(self, host: str, port: int, *, owner: str = "") -> str:
        """Return the address to connect to. owner: whose URL it is.

        Raises: ProviderFault for a name without one; ProviderRefused.
        """
        try:
            found = await asyncio.wait_for(self._look_up(host, port, owner), LOOKUP_S)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise ProviderFault(
                "the tool server's name has no address; ask a tenant admin to check it", code="tool-server-unreachable"
            ) from error
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not addresses or not all(self.allows(address) for address in addresses):
            raise out_of_reach()
        return str(addresses[0])

    async def _look_up(self, host: str, port: int, owner: str) -> list[Any]:
        """Return what the system says of a name, when it is its owner's turn; a turn lasts as long as the lookup."""
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(host)
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        turns = self._turns.setdefault(owner, asyncio.Semaphore(LOOKUPS_OF_ONE))
        await turns.acquire()
        looking = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        looking.add_done_callback(lambda done: _ended(done, turns))
        return await asyncio.shield(looking)


def _ended(done: asyncio.Future[list[Any]], turns: asyncio.Semaphore) -> None:
    if not done.cancelled():
        done.exception()  # whoever asked may be gone, and then nobody else looks at it
    turns.release()


def out_of_reach() -> PartywallError:
    """Return what is said of an address that must not be reached; the address itself stays unsaid."""
    return ProviderRefused(
        "the tool server lies at a private address; the platform's operator decides which may be reached ([tools] in"
        " config.toml, or `partywall up --loopback-tools` for servers on the same machine)",
        code="tool-server-address",
    )
