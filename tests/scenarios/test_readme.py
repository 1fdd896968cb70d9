"""What the README tells a newcomer to type: every command is there, and the five minutes work as they stand."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from partywall.app import COMMANDS
from partywall.cli.root import build
from partywall.supervisor.throwaway import Throwaway

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
KEY = re.compile(r"pw_[a-z2-7]{26}_[\w-]+")


def commands() -> Iterator[list[str]]:
    """Yield the words of every `partywall` command in the README's shell blocks."""
    for language, text in BLOCKS:
        if language == "sh":
            for line in re.sub(r"<<'END'.*?^END$", "", text, flags=re.MULTILINE | re.DOTALL).splitlines():
                for part in line.split("&&"):
                    words = shlex.split(part, comments=True)
                    if words[:1] == ["partywall"]:
                        yield words[1:]


def test_every_command_of_the_readme_is_there_with_its_options() -> None:
    for words in (found := list(commands())):
        command: click.Command | None = build(COMMANDS)
        rest = words
        while isinstance(command, click.Group):
            context = click.Context(command)
            _options, rest, _order = command.make_parser(context).parse_args(rest)
            command, rest = command.get_command(context, rest[0]), rest[1:]
        assert command is not None, words
        command.make_parser(click.Context(command)).parse_args(rest)  # raises on an option that it does not have
    assert len(found) >= 10


def test_every_make_target_and_file_of_the_readme_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) - {"it"} <= targets
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.fixture
def bank() -> Iterator[int]:
    """The tool server of the quickstart, on any port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "demo.server", "banking", "--port", str(port)]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield port
    process.communicate(timeout=20)


@pytest.mark.long
def test_the_five_minutes_work_as_they_stand(tmp_path: Path, bank: int) -> None:
    with Throwaway() as platform:
        typed = Typed(tmp_path, platform, bank)
        blocks = [block for block in BLOCKS if "demo.server" not in block[1]]
        said = [typed.run(language, text) for language, text in blocks]
    chat, mcp = (out for (language, _text), out in zip(blocks, said, strict=True) if language == "python")
    assert chat.strip()
    assert "1810" in mcp, "the balance of the suite's own account"
    assert "amount-too-large" in mcp
    assert "Ask a person to send it." in mcp
    assert "denial" in said[-1], "the log shows what was denied"
    assert "held: " in said[-1]


class Typed:
    """One newcomer's terminal: the README's own words, with the token, the key and the ports put in."""

    def __init__(self, folder: Path, platform: Throwaway, bank: int) -> None:
        script = folder / "partywall"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m partywall.app "$@"\n')
        script.chmod(0o755)
        self._folder, self._bank, self._platform = folder, bank, platform
        self._token = platform.home.bootstrap_token.read_text().strip()  # it is gone once it was used
        self._key = ""
        self._environment = {
            **os.environ,
            "PARTYWALL_HOME": str(platform.home.path),
            "PARTYWALL_URL": platform.url,
            "PATH": f"{folder}:{os.environ['PATH']}",
        }

    def run(self, language: str, text: str) -> str:
        """Run one block and return what it printed."""
        text = text.replace("pwb_…", self._token)
        text = text.replace("pw_…", self._key).replace("http://127.0.0.1:8470", self._platform.url)
        text = text.replace("127.0.0.1:9000", f"127.0.0.1:{self._bank}").replace(
            'export PATH="$PWD', 'PATH="$PATH:$PWD'
        )
        words = [sys.executable, "-c", text] if language == "python" else ["bash", "-euc", text]
        done = subprocess.run(
            words, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        said = done.stdout + done.stderr
        self._key = self._key or (found[-1] if (found := KEY.findall(said)) else "")  # the agent's is the last
        return said
