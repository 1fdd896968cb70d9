"""An identity provider under the attacker's hands: it vouches for whomever a probe says, at a port of this machine."""

from __future__ import annotations

import json
import secrets
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey

CLIENT: str = "probe"


class ProbeProvider:
    """Serves discovery, keys and a token endpoint until closed. vouch: makes a code that is good for one ID token."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256")
        self._claims: dict[str, dict[str, Any]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """Its issuer."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def vouch(self, subject: str, nonce: str) -> str:
        """Return a code for a person who has signed in."""
        now, code = int(time.time()), secrets.token_urlsafe(16)
        self._claims[code] = {
            "iss": self.url,
            "sub": subject,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 200,
            "nonce": nonce,
            "jti": secrets.token_hex(8),
        }
        return code

    def answer(self, path: str, form: dict[str, list[str]]) -> Any:
        """Return what it says at a path."""
        if path == "/keys":
            return {"keys": [{**self.key.as_dict(private=False), "kid": "one", "alg": "ES256"}]}
        if path == "/token":
            claims = self._claims.pop(form["code"][0])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                token = jwt.encode({"alg": "ES256", "kid": "one"}, claims, self.key, algorithms=["ES256"])
            return {"access_token": "unused", "token_type": "Bearer", "id_token": token}
        endpoints = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        named = {"issuer": self.url, "authorization_response_iss_parameter_supported": True}
        return named | {name: self.url + path for name, path in endpoints.items()}

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _handler(provider: ProbeProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            data = json.dumps(provider.answer(self.path, parse_qs(self.rfile.read(length).decode()))).encode()
            self.send_response(200)
            for name, value in (("content-type", "application/json"), ("content-length", str(len(data)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815  # the server's own name

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
