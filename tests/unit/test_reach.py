"""Which addresses somebody else's URL may lead to."""

import asyncio
import ipaddress
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest

from partywall.errors import ProviderFault, ProviderRefused
from partywall.providers.tools.exchange import Exchange
from partywall.reach import LOOKUPS_OF_ONE, Reach, is_never, parse_networks
from partywall.settings import ToolSettings

NEVER = ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "240.0.0.1")
PRIVATE = ("10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1")
LOOPBACK = ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1")
CARRIED = ("2002:7f00:1::", "2002:a00:1::", "2002:a9fe:a9fe::", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "fec0::1")
"""Loopback, private and metadata addresses carried in public-looking ones (6to4, NAT64), and old site-local ones."""
PUBLIC = ("8.8.8.8", "2606:4700::1111")


def of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


def test_by_default_only_public_addresses_are_reached():
    assert all(Reach().allows(of(text)) for text in PUBLIC)
    assert not any(Reach().allows(of(text)) for text in (*NEVER, *PRIVATE, *LOOPBACK, *CARRIED))


def test_what_is_allowed_is_allowed_and_nothing_beside_it():
    ours = Reach(parse_networks(["10.0.0.0/24", "fd00::/8"]), loopback=True)
    assert all(ours.allows(of(text)) for text in (*PUBLIC, *LOOPBACK, "10.0.0.1", "::ffff:10.0.0.1", "fd00::1"))
    assert not any(ours.allows(of(text)) for text in (*NEVER, "10.0.1.1", "192.168.1.1"))


def test_metadata_stays_out_of_reach_whatever_is_allowed():
    everything = Reach(parse_networks(["0.0.0.0/0", "::/0"]), loopback=True)
    assert not any(everything.allows(of(text)) for text in NEVER)
    assert all(is_never(of(text)) for text in NEVER)


def test_what_is_no_network_is_refused_when_read():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"private_networks": ["10.0.0.0/33"]}, ToolSettings)


async def test_a_name_with_one_bad_address_among_good_ones_is_refused(monkeypatch: pytest.MonkeyPatch):
    def answers(*addresses: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_what, **_more: found)

    answers("8.8.8.8", "127.0.0.1")
    with pytest.raises(ProviderRefused) as refused:
        await Reach().resolve("rebinding.example", 80)
    assert refused.value.code == "tool-server-address"
    assert "127.0.0.1" not in refused.value.public
    answers("8.8.8.8", "9.9.9.9")
    assert await Reach().resolve("good.example", 80) == "8.8.8.8"


async def test_the_checked_address_is_the_one_that_is_called(monkeypatch: pytest.MonkeyPatch):
    """Its owner answers the next look-up with another address: it is not asked again (DNS rebinding)."""

    class Says(BaseHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            hosts.append(self.headers["host"])
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

    hosts: list[str] = []
    server = HTTPServer(("127.0.0.1", 0), Says)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_what, **_more: found)
    exchange = Exchange(limit_bytes=1_000, reach=Reach(loopback=True))
    url = f"http://tools.invalid:{port}/mcp"
    assert (await exchange.post(url, b"{}", {}, owner="a", request_id=None, timeout_s=5.0)).status == 202
    assert hosts == [f"tools.invalid:{port}"]
    await exchange.close()
    closed = Exchange(limit_bytes=1_000, reach=Reach())
    with pytest.raises(ProviderRefused):
        await closed.post(url, b"{}", {}, owner="a", request_id=None, timeout_s=5.0)
    assert len(hosts) == 1
    await closed.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("url", ["http://2130706433:1/", "http://0x7f.1:1/", "http://127.1:1/", "http://0177.0.0.1:1/"])
async def test_other_spellings_of_loopback_are_loopback(url: str):
    exchange = Exchange(limit_bytes=1_000, reach=Reach())
    with pytest.raises(ProviderFault) as refused:
        await exchange.post(url, b"{}", {}, owner="a", request_id=None, timeout_s=1.0)
    assert refused.value.code in {"tool-server-address", "tool-server-unreachable"}
    await exchange.close()


async def test_names_that_never_answer_hold_up_nobody_but_their_owner(monkeypatch: pytest.MonkeyPatch):
    answered, lock, asked = threading.Event(), threading.Lock(), []

    def look_up(host: str, *_what, **_more):
        with lock:
            asked.append(host)
        if host.startswith("slow"):
            answered.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    reach = Reach()
    try:
        stuck = [asyncio.create_task(reach.resolve(f"slow{at}.example", 80, owner="a")) for at in range(40)]
        await asyncio.sleep(0.05)
        for one in stuck[:20]:  # who gives up does not get more threads for it
            one.cancel()
        async with asyncio.timeout(10):
            assert await reach.resolve("quick.example", 80, owner="b") == "8.8.8.8"
        assert sum(host.startswith("slow") for host in asked) <= LOOKUPS_OF_ONE
    finally:
        answered.set()
    assert await asyncio.gather(*stuck[20:]) == ["8.8.8.8"] * 20


async def test_no_two_tenants_share_a_connection_or_what_was_looked_up():
    exchange = Exchange(limit_bytes=1_000, reach=Reach(loopback=True))
    url = "http://127.0.0.1:9/mcp"
    assert await exchange._open(url, "a") is await exchange._open(url, "a")
    assert await exchange._open(url, "a") is not await exchange._open(url, "b")
    await exchange.close()
