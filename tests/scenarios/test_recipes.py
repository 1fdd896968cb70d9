"""Every recipe of docs/recipes, run as its reader would run it, with the real library and a scripted model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.platform_fixture import Platform

from partywall.assurance.target import Side, must

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"


class Model(BaseHTTPRequestHandler):
    """Asks for the tool `echo` when it has one and has not seen its result; else says what it saw last."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        last = asked["messages"][-1]
        if asked.get("tools") and last["role"] != "tool":
            call = {"name": "echo", "arguments": json.dumps({"text": "milk and bread"})}
            message = {"role": "assistant", "content": None}
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": call}]
            self._answer(asked, message, "tool_calls")
        else:
            self._answer(asked, {"role": "assistant", "content": f"seen: {last['content']}"}, "stop")

    def _answer(self, asked: dict[str, Any], message: dict[str, Any], finish: str) -> None:
        head = {"id": "chatcmpl-r", "created": 1, "model": "scripted"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        if asked.get("stream"):
            chunk = head | {"object": "chat.completion.chunk"}
            delta = {"index": 0, "delta": message, "finish_reason": finish}
            body = b"data: " + json.dumps(chunk | {"choices": [delta]}).encode() + b"\n\ndata: [DONE]\n\n"
            media_type = "text/event-stream"
        else:
            choice = {"index": 0, "message": message, "finish_reason": finish}
            body = json.dumps(head | {"object": "chat.completion", "choices": [choice], "usage": usage}).encode()
            media_type = "application/json"
        self.send_response(200)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def reader(platform: Platform) -> Iterator[tuple[Side, dict[str, str]]]:
    """One tenant's agent with a model, a tool server and a memory, and the environment that the recipes read."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    side, _ = platform.two_tenants()
    upstream = f"http://127.0.0.1:{server.server_address[1]}"
    body = {"slug": "scripted", "upstream": upstream, "upstream_model": "scripted"}
    path = f"/v1/tenants/{side.tenant}/models"
    must(side.wire.send("POST", path, credential=platform.operator_key(), body=body))
    grants = [
        {"action": "model.request", "resource": "model/scripted"},
        {"action": "tool.call", "resource": "tool/probe-tools/echo"},
        {"action": "memory", "resource": "memory/self"},
    ]
    agent = side.subject("reader", grants)
    yield (
        side,
        {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(RECIPES.parents[1] / "src"),
            "PARTYWALL_URL": platform.base_url,
            "PARTYWALL_KEY": side.new_key(agent),
            "PARTYWALL_MODEL": "scripted",
            "PARTYWALL_SERVER": "probe-tools",
        },
    )
    server.shutdown()
    server.server_close()


def run(environment: dict[str, str], recipe: str, *words: str) -> str:
    argv = [sys.executable, str(RECIPES / recipe), *words]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=100, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_openai_sdk(reader: tuple[Side, dict[str, str]]):
    said = run(reader[1], "openai_sdk.py")
    assert "models: scripted\n" in said
    assert "whole: seen: Say hello to the neighbours." in said
    assert "streamed: seen: Say hello to the neighbours." in said
    assert "there is no such" in said


def test_openai_agents(reader: tuple[Side, dict[str, str]]):
    called = len(reader[0].upstream.called)
    assert "milk and bread" in run(reader[1], "openai_agents.py", "What is on my list?")
    assert len(reader[0].upstream.called) == called + 1


def test_langgraph(reader: tuple[Side, dict[str, str]]):
    side, environment = reader
    assert "milk and bread" in run(environment, "langgraph_agent.py", "What is on my list?")
    kept = must(side.recall(environment["PARTYWALL_KEY"], "last-answer"))
    assert "milk and bread" in kept["value"]["answer"]


def test_mcp_client(reader: tuple[Side, dict[str, str]]):
    said = run(reader[1], "mcp_client.py", "echo", '{"text": "hello"}')
    assert said == "granted: echo\nanswered: hello\n"
    assert "refused: " in run(reader[1], "mcp_client.py", "erase", '{"text": "hello"}')


def test_every_recipe_is_listed_and_run():
    listed = (RECIPES / "README.md").read_text()
    for recipe in RECIPES.glob("*.py"):
        assert f"({recipe.name})" in listed
        assert f'"{recipe.name}"' in Path(__file__).read_text()
