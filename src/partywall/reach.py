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
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return networks of their CIDR texts. Raises: ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def faces(address: Address) -> tuple[Address, ...]:
    """Return what an address stands for: an IPv6 one that carries an IPv4 one (mapped, 6to4, Teredo, NAT64) is both."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    carried = [address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return (address, *(one for one in carried if one is not None))


def is_never(address: Address) -> bool:
    """Whether nobody's URL may lead there, whatever is allowed: link-local (cloud metadata), multicast, unspecified."""
    return any(_is_never(face) for face in faces(address))


def _is_never(face: Address) -> bool:
    if face.is_loopback or face in _NAT64:  # `::1` and NAT64 lie in a block that is reserved as a whole
        return False
    return bool(face.is_link_local or face.is_multicast or face.is_unspecified or face.is_reserved)


def is_loopback(address: Address) -> bool:
    """Whether it is this machine."""
    return any(face.is_loopback for face in faces(address))


def is_public(address: Address) -> bool:
    """Whether it, and whatever it stands for, belongs to the public internet."""
    return all(face.is_global and not getattr(face, "is_site_local", False) for face in faces(address))


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
        if is_loopback(address):
            return self._loopback
        return is_public(address) or all(
            any(face in network for network in self._networks if network.version == face.version)
            for face in faces(address)
        )

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
