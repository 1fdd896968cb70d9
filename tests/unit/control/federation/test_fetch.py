"""The bounded client against real servers on this machine: what it does not follow, swallow or wait for."""

import asyncio
import datetime as dt
import http.server
import socket
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.foreign_issuer import ForeignIssuer, huge, redirecting, reply, slow

from partywall.control.federation import fetch
from partywall.control.federation.fetch import Fetcher
from partywall.errors import Malformed, Unavailable
from partywall.settings import FederationSettings

HERE = FederationSettings(loopback_http=True)


@pytest.fixture
def issuer():
    made = ForeignIssuer()
    yield made
    made.close()


async def cause(url, settings=HERE, fetcher=None):
    with pytest.raises(Unavailable) as caught:
        await (fetcher or Fetcher(settings)).get_json(url)
    assert "127.0.0.1" not in caught.value.public
    return caught.value.private


async def test_it_reads_json_and_posts_forms(issuer):
    fetcher = Fetcher(HERE)
    assert await fetcher.get_json(f"{issuer.url}/keys") == {"keys": issuer.published}
    assert await fetcher.get_json(f"http://localhost:{issuer.url.rsplit(':', 1)[1]}/keys") == {"keys": issuer.published}
    posted = await fetcher.post_form(f"{issuer.url}/token", {"code": "a b"}, {"authorization": "Basic x"})
    assert posted == (200, {"error": "not here"})


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (huge, "too large"),
        (redirecting("http://127.0.0.1:1/"), "status 302"),
        (lambda handler: reply(handler, 204, b""), "status 204"),
        (lambda handler: reply(handler, 200, b"\x1f\x8b\x08", **{"content-encoding": "gzip"}), "not JSON"),
        (lambda handler: reply(handler, 200, b'{"keys":[],"keys":[]}'), "not JSON"),
        (lambda handler: reply(handler, 200, b"[" * 100 + b"]" * 100), "not JSON"),
        (lambda handler: handler.wfile.write(b"SSH-2.0-x\r\n\r\n"), "RemoteProtocolError"),
        (lambda handler: handler.connection.close(), None),
    ],
)
async def test_whatever_goes_wrong_is_out_of_reach(issuer, broken, expected):
    issuer.break_with = broken
    found = await cause(f"{issuer.url}/keys")
    assert expected in {None, found}


async def test_it_waits_for_nobody(issuer, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT_S", 0.5)
    issuer.break_with = slow
    started = time.monotonic()
    assert await cause(f"{issuer.url}/keys") == "TimeoutError"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("host", ["a..b", ".example.com", "a" * 64 + ".example"])
async def test_a_host_that_is_no_name_is_out_of_reach(host):
    assert await cause(f"https://{host}/keys") == "UnicodeError"


async def test_name_servers_that_never_answer_hold_up_nobody_elses_names(issuer, monkeypatch):
    released, look_up = threading.Event(), socket.getaddrinfo

    def hanging(host, *more, **options):
        if host.endswith(".example"):
            released.wait(30)
            raise socket.gaierror("nobody")
        return look_up(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    monkeypatch.setattr(fetch, "TIMEOUT_S", 1.0)
    anybodys, others = Fetcher(HERE), Fetcher(HERE)
    try:
        hosts = [f"a{number}.example" for number in range(fetch.NAMES_LIMIT)] * 2
        causes = await asyncio.gather(*(cause(f"https://{host}/", fetcher=anybodys) for host in hosts))
        assert set(causes) == {"TimeoutError"}
        assert await cause("https://one-more.example/", fetcher=anybodys) == "OSError"  # at once: nothing piles up
        assert await others.get_json(f"{issuer.url}/keys") == {"keys": issuer.published}
    finally:
        released.set()
    for _ in range(1_000):
        if await fetched(anybodys, issuer):
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("what was being looked up is still in the way")


async def fetched(fetcher, issuer):
    try:
        return await fetcher.get_json(f"{issuer.url}/keys") == {"keys": issuer.published}
    except Unavailable:
        return False


async def test_an_address_inside_is_not_connected_to(issuer):
    port = issuer.url.rsplit(":", 1)[1]
    for url in (f"https://127.0.0.1:{port}/", f"https://localhost:{port}/", "https://169.254.169.254/"):
        assert await cause(url, FederationSettings()) == "OSError"
    with pytest.raises(Malformed):
        await Fetcher(FederationSettings()).get_json(f"{issuer.url}/keys")
    assert issuer.asked == []


class Secure:
    """An https server with a certificate of its own authority, for one name."""

    def __init__(self, folder, name):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        self.authority = folder / "ca.pem"
        self.authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = folder / "key.pem"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority, private)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                reply(self, 200, b'{"fine":true}')

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda *_: None
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


async def test_a_certificate_is_verified_for_the_name_that_was_asked(tmp_path):
    secure = Secure(tmp_path, "localhost")
    try:
        settings = FederationSettings(private_hosts=("localhost", "127.0.0.1"))
        assert await cause(f"https://localhost:{secure.port}/", settings) == "ConnectError"
        trusting = Fetcher(settings)
        trusting._tls = ssl.create_default_context(cafile=secure.authority)
        assert await trusting.get_json(f"https://localhost:{secure.port}/") == {"fine": True}
        assert await cause(f"https://127.0.0.1:{secure.port}/", fetcher=trusting) == "ConnectError"
    finally:
        secure.close()
