"""The smallest FastMCP proxy with authentication: `python fastmcp_proxy.py UPSTREAM PORT TOKEN`, in its own venv."""

import sys

from fastmcp.server import create_proxy
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier

upstream, port, token = sys.argv[1:]
verifier = StaticTokenVerifier(tokens={token: {"client_id": "bench", "scopes": []}})
proxy = create_proxy(upstream, name="peer", auth=verifier)
proxy.run(
    transport="http",
    host="127.0.0.1",
    port=int(port),
    stateless_http=True,
    json_response=True,
    log_level="error",
    show_banner=False,
)
