"""The products that are measured beside us, each in a venv of its own, with one worker and its documented settings.

- LiteLLM proxy: one uvicorn worker (its default and its advice), LITELLM_MODE=PRODUCTION, request_timeout 600, a master
  key. No database, so no virtual keys and no spend records: lighter than its production.
- ContextForge: one uvicorn worker, ENVIRONMENT=production, AUTH_REQUIRED with JWTs, caches in memory, buffered metrics,
  no rate limit, LOG_LEVEL=ERROR; one session that all calls share, so that it keeps its upstream session (three to four
  times faster than without). SQLite on the local disk instead of PostgreSQL and Redis over a network.
- FastMCP proxy: one uvicorn worker, stateless HTTP with JSON replies, a static bearer token. It records nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT_S = 180.0
MCP_HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One server under load. pid: of its first process. start_s: until it first answered a caller with a credential.

    widths: at how many connections it is measured. One Python worker that needs milliseconds for each call is busy with
    a few; more would only queue.
    """

    url: str
    credential: str
    body: bytes
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    pid: int = 0
    start_s: float = 0.0
    version: str = ""
    widths: tuple[int, ...] = (1, 8, 32)


def tool_call(name: str) -> bytes:
    """Return the body of one call of the stub's tool."""
    params = {"name": name, "arguments": {"account": "travel"}}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def send(method: str, url: str, credential: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
    """Return (status, body) of one request; status 0 when nothing answers."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    sent = {"content-type": "application/json", "authorization": f"Bearer {credential}", **(headers or {})}
    request = urllib.request.Request(url, data=data, method=method, headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def binary(peer: str, name: str) -> str:
    """Return a command of a peer's venv. Raises: SystemExit when it is not set up."""
    path = ROOT / f".venv-peers-{peer}" / "bin" / name
    if not path.exists():
        raise SystemExit(f"{path.parent.parent.name} is not set up: run `make bench-peers`, or scripts/peers python3")
    return str(path)


def version(peer: str, distribution: str) -> str:
    """Return the version of what a peer's venv holds."""
    words = [binary(peer, "python"), "-c", f"import importlib.metadata as m; print(m.version({distribution!r}))"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def running(
    words: list[str], folder: Path, ready: Callable[[], Any], environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[int, float]]:
    """Run a server until `ready` sends a request that it answers with 200; yield its pid and the seconds that took."""
    started = time.perf_counter()
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            words, env={**os.environ, **environment}, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        while ready()[0] != 200:
            if process.poll() is not None or time.perf_counter() - started > START_LIMIT_S:
                raise SystemExit(f"{words[0]} did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield process.pid, time.perf_counter() - started
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """Yield a fresh folder that goes away afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"peer-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def litellm(upstream: str, body: bytes) -> Iterator[Peer]:
    """Run the LiteLLM proxy before an OpenAI-compatible upstream."""
    key, port = f"sk-{secrets.token_urlsafe(32)}", free_port()
    model = {
        "model_name": "stub",
        "litellm_params": {"model": "openai/stub", "api_base": f"{upstream}/v1", "api_key": "x"},
    }
    settings = {"request_timeout": 600, "set_verbose": False, "json_logs": True}
    config = {"model_list": [model], "general_settings": {"master_key": key}, "litellm_settings": settings}
    environment = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with folder_of("litellm") as folder:
        (folder / "config.yaml").write_text(json.dumps(config))
        words = [binary("litellm", "litellm"), "--config", "config.yaml", "--host", "127.0.0.1"]
        words += ["--port", str(port), "--num_workers", "1"]
        base = f"http://127.0.0.1:{port}"
        with running(words, folder, lambda: send("GET", f"{base}/v1/models", key), environment) as (pid, start_s):
            yield Peer(
                url=f"{base}/v1/chat/completions",
                credential=key,
                body=body,
                pid=pid,
                start_s=start_s,
                version=version("litellm", "litellm"),
            )


@contextmanager
def contextforge(upstream: str) -> Iterator[Peer]:
    """Run ContextForge before a tool server: a gateway, and a virtual server with its one tool."""
    names = ("JWT_SECRET_KEY", "AUTH_ENCRYPTION_SECRET", "BASIC_AUTH_PASSWORD")
    environment = {name: secrets.token_urlsafe(48) for name in names}
    for name in ("PLATFORM_ADMIN_PASSWORD", "DEFAULT_USER_PASSWORD"):
        environment[name] = f"{secrets.token_urlsafe(32)}aA1!"
    environment |= {
        "PLATFORM_ADMIN_EMAIL": "admin@example.com",
        "AUTH_REQUIRED": "true",
        "USE_STATEFUL_SESSIONS": "true",
        "CACHE_TYPE": "memory",
        "ENVIRONMENT": "production",
        "LOG_LEVEL": "ERROR",
        "RATE_LIMITING_ENABLED": "false",
        "SSRF_ALLOW_LOCALHOST": "true",
        "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
    }
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    words = [binary("contextforge", "mcpgateway"), "mcpgateway.main:app", "--host", "127.0.0.1"]
    words += ["--port", str(port), "--workers", "1", "--no-access-log"]
    with folder_of("contextforge") as folder:
        environment["DATABASE_URL"] = f"sqlite:///{folder}/gateway.db"
        token = _contextforge_token(environment, folder)

        def ready() -> Any:
            return send("GET", f"{base}/tools", token)

        with running(words, folder, ready, environment):  # the first start makes its database
            server = _contextforge_server(base, token, upstream)
        with running(words, folder, ready, environment) as (pid, start_s):
            url = f"{base}/servers/{server}/mcp"
            yield Peer(
                url=url,
                credential=token,
                body=tool_call("stub-balance"),
                headers={**MCP_HEADERS, "mcp-session-id": _session(url, token)},
                pid=pid,
                start_s=start_s,
                version=version("contextforge", "mcp-contextforge-gateway"),
            )


def _session(url: str, token: str) -> str:
    """Open a session as clients do; return its id."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    sent = {**MCP_HEADERS, "content-type": "application/json", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, data=json.dumps(opening).encode(), method="POST", headers=sent)
    with urllib.request.urlopen(request, timeout=30) as reply:
        session = str(reply.headers["mcp-session-id"])
    opened = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert send("POST", url, token, opened, {**MCP_HEADERS, "mcp-session-id": session})[0] == 202
    return session


def _contextforge_token(environment: Mapping[str, str], folder: Path) -> str:
    words = [binary("contextforge", "python"), "-m", "mcpgateway.utils.create_jwt_token", "--admin"]
    words += ["--username", environment["PLATFORM_ADMIN_EMAIL"], "--exp", "600"]
    said = subprocess.run(
        words, check=True, capture_output=True, text=True, cwd=folder, env={**os.environ, **environment}
    )
    return said.stdout.strip().splitlines()[-1]


def _contextforge_server(base: str, token: str, upstream: str) -> str:
    gateway = {"name": "stub", "url": f"{upstream}/mcp", "transport": "STREAMABLEHTTP"}
    status, said = send("POST", f"{base}/gateways", token, gateway)
    assert status == 200, said
    tool = json.loads(send("GET", f"{base}/tools", token)[1])[0]["id"]
    status, said = send("POST", f"{base}/servers", token, {"server": {"name": "s", "associated_tools": [tool]}})
    assert status in {200, 201}, said
    return str(json.loads(said)["id"])


@contextmanager
def fastmcp(upstream: str) -> Iterator[Peer]:
    """Run a FastMCP proxy before a tool server."""
    token, port = secrets.token_urlsafe(32), free_port()
    words = [binary("fastmcp", "python"), str(ROOT / "bench" / "fastmcp_proxy.py"), f"{upstream}/mcp", str(port), token]
    call, url = tool_call("balance"), f"http://127.0.0.1:{port}/mcp"

    def ready() -> Any:
        return send("POST", url, token, call, MCP_HEADERS)

    with folder_of("fastmcp") as folder, running(words, folder, ready) as (pid, start_s):
        yield Peer(
            url=url,
            credential=token,
            body=call,
            headers=MCP_HEADERS,
            pid=pid,
            start_s=start_s,
            version=version("fastmcp", "fastmcp"),
        )


@contextmanager
def tool_stub() -> Iterator[str]:
    """Run the tool server that all of them stand before; yield its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.tool_stub"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()
