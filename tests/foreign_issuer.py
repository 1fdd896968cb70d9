"""An external issuer on a loopback port, with real keys: honest by default, hostile on demand."""

import base64
import contextlib
import hmac
import http.server
import json
import secrets
import threading
import time
import warnings

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

MAKE = {
    "RS256": lambda: RSAKey.generate_key(2048),
    "PS256": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "ES384": lambda: ECKey.generate_key("P-384"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
}


def encode(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """A signing key with its id."""

    def __init__(self, algorithm="ES256", kid=None):
        self.algorithm = algorithm
        self.kid = kid or secrets.token_hex(6)
        self.key = MAKE[algorithm]()

    def public(self, **more):
        return {**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": self.algorithm} | more

    def sign(self, claims, **header):
        head = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"} | header
        head = {name: value for name, value in head.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return jwt.encode(head, claims, self.key, algorithms=[self.algorithm])

    def sign_bytes(self, header, payload):
        """Sign exactly these bytes, whatever they say."""
        from joserfc._rfc7515.registry import JWSRegistry

        signed = f"{encode(header)}.{encode(payload)}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            algorithm = JWSRegistry.algorithms[self.algorithm]
            return f"{signed}.{encode(algorithm.sign(signed.encode(), self.key))}"


class ForeignIssuer:
    """One issuer. published: what its key set says; break_with: what it does instead of answering."""

    def __init__(self, algorithm="ES256"):
        self.key = Key(algorithm)
        self.published = [self.key.public()]
        self.document = {}
        self.break_with = None
        self.asked = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def rotate(self):
        """Sign with a new key and publish it alone."""
        self.key = Key(self.key.algorithm)
        self.published = [self.key.public()]

    def claims(self, **changed):
        now = int(time.time())
        said = {"iss": self.url, "iat": now, "nbf": now, "exp": now + 300, "jti": secrets.token_hex(8)} | changed
        return {name: value for name, value in said.items() if value is not None}

    def token(self, **changed):
        return self.key.sign(self.claims(**changed))

    def answer(self, path):
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.document
        return {"keys": self.published}

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def _handler(issuer):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            issuer.asked.append(self.path)
            if issuer.break_with is not None:
                with contextlib.suppress(OSError):
                    issuer.break_with(self)
                return
            reply(self, 200, json.dumps(issuer.answer(self.path)).encode())

        def do_POST(self):
            issuer.asked.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            reply(self, 200, b'{"error":"not here"}')

        def log_message(self, *_):
            pass

    return Handler


def reply(handler, status, body, **headers):
    handler.send_response(status)
    for name, value in {"content-length": str(len(body)), "content-type": "application/json", **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def redirecting(url):
    return lambda handler: reply(handler, 302, b"", location=url)


def huge(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(2_000):
        handler.wfile.write(b" " * 1_024)


def slow(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        time.sleep(0.2)


def unsigned(claims, **header):
    return f"{encode({'alg': 'none', 'typ': 'JWT'} | header)}.{encode(claims)}."


def keyed_with_the_public_key(key, claims):
    """HS256 with the bytes of the published key as its secret: the classic confusion of algorithms."""
    signed = f"{encode({'alg': 'HS256', 'kid': key.kid, 'typ': 'JWT'})}.{encode(claims)}"
    return f"{signed}.{encode(hmac.digest(key.key.as_pem(private=False), signed.encode(), 'sha256'))}"
