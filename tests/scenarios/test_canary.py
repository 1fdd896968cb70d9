"""Nothing that a tenant says, and no credential, lies in clear in any file or stream that the platform wrote."""

from __future__ import annotations

import base64
import mmap
import secrets
from pathlib import Path

import pytest
from tests.scenarios.platform_fixture import Platform
from tests.scenarios.test_embeddings_door import wait_for_embeddings

from partywall.assurance.shelf import Shelf
from partywall.assurance.target import Side


class Said:
    """What was said where; each canary is unlike any other."""

    def __init__(self) -> None:
        self.canaries: dict[str, str] = {}
        self.kept: dict[str, str] = {}

    def new(self, where: str) -> str:
        self.canaries[where] = canary = f"canary-{secrets.token_hex(16)}"
        return canary

    def stored(self, where: str) -> str:
        """A canary that the platform is asked to keep, and has to: in the data database and nowhere else."""
        self.kept[where] = canary = f"canary-{secrets.token_hex(16)}"
        return canary

    def needles(self, *, kept: bool = False) -> dict[str, bytes]:
        found = {}
        for where, text in (self.canaries | (self.kept if kept else {})).items():
            assert len(text) > 30, where
            found[where] = text.encode()
            found[f"{where}, base64"] = base64.b64encode(text.encode())[:-4]
            found[f"{where}, UTF-16"] = text.encode("utf-16-le")
        return found


def grep(root: Path, needles: dict[str, bytes]) -> list[str]:
    """Return `file: what` for every needle in every file below root."""
    hits = []
    for path in root.rglob("*"):
        if not path.is_file() or path.stat().st_size == 0:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            hits += [
                f"{path.relative_to(root)}: {what}" for what, needle in needles.items() if content.find(needle) >= 0
            ]
    return hits


def hang_up(side: Side, token: str, prompt: str) -> None:
    """Read the beginning of a long stream and go away."""
    body = {"model": "probe-model", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    connection = side.wire.open("POST", "/v1/chat/completions", credential=token, body=body)
    response = connection.getresponse()
    assert response.status == 200
    response.read(200)
    connection.close()


@pytest.fixture(scope="module")
def quarrel(own: Platform) -> Said:
    """Two tenants work, err and attack, with a canary in all that they send."""
    said = Said()
    wait_for_embeddings(own)
    a, b = own.two_tenants()
    said.canaries |= {"operator's key": own.operator_key().split("_", 2)[2]}
    said.canaries |= {"a's secret": a.canary, "b's secret": b.canary}
    for name, side in (("a", a), ("b", b)):
        said.canaries[f"{name}'s admin key"] = side.admin.split("_", 2)[2]
        said.canaries[f"{name}'s agent key"] = side.key.split("_", 2)[2]
        token = side.new_token(side.agent)
        said.canaries[f"{name}'s token"] = token.rsplit(".", 1)[1]
        assert side.chat(side.key, said.new(f"{name}'s prompt")).status == 200
        hang_up(side, token, said.new(f"{name}'s streamed prompt"))
        assert side.call_tool(side.key, "echo", {"text": said.new(f"{name}'s argument")}).status == 200
        side.call_tool(side.key, "echo", {"wrong": said.new(f"{name}'s refused argument")})
        side.call_tool(side.key, said.new(f"{name}'s tool name"), {})
        side.call_tool(side.key, "echo", {"text": "x"}, **{"x-custom": said.new(f"{name}'s header")})
        side.remember(side.key, "note", {"text": said.stored(f"{name}'s memory")})
        side.recall(side.key, "note", probe=said.new(f"{name}'s query"))
        side.recall(side.key, said.new(f"{name}'s key in a path"))
        shelf = Shelf(side, own.operator_key(), "canaries", local=True)
        document = {
            "text": f"All of {said.stored(f'{name}s document')} is here.",
            "metadata": {"seen": said.stored(f"{name}'s metadata")},
        }
        assert shelf.put("kept", document).status == 200
        shelf.put("refused", {"text": said.new(f"{name}'s refused document"), "tenant": "x"})
        assert shelf.search(text=said.new(f"{name}'s question")).status == 200
        shelf.search(text="x", filter={"seen": said.new(f"{name}'s filter")})
        shelf.get(said.new(f"{name}'s document in a path")[:100])
        embed = {"model": shelf.model, "input": said.new(f"{name}'s embedded text")}
        assert side.wire.send("POST", "/v1/embeddings", credential=shelf.key, body=embed).status == 200
        side.chat(side.key, "x", model=said.new(f"{name}'s model name"))
        side.chat(f"pw_{'a' * 26}_{said.new(f'{name}s bad credential')}", "x")
        side.wire.send("POST", "/v1/chat/completions", credential=side.key, body=[said.new(f"{name}'s bad body")])
        side.wire.send("GET", f"/{said.new(f'{name}s unknown path')}", credential=side.key)
    return said


@pytest.fixture(scope="module")
def own() -> object:
    with Platform() as running:
        yield running


def test_no_canary_and_no_credential_in_any_file_or_stream(own: Platform, quarrel: Said) -> None:
    own.kill("issuer")
    own.kill("gateway-0")
    own.stop()
    assert grep(own.home.path, quarrel.needles()) == []
    everywhere = grep(own.home.path, quarrel.needles(kept=True))
    assert [hit for hit in everywhere if not hit.startswith("postgres/data/")] == []
    printed = "".join(own.output)
    assert [what for what, needle in quarrel.canaries.items() if needle in printed] == []


def test_the_search_finds_what_is_there(own: Platform, quarrel: Said) -> None:
    """The knock-out: the same search finds a canary that somebody wrote into a log."""
    what, needle = next(iter(quarrel.canaries.items()))
    log = own.home.log("gateway-0")
    with log.open("a") as file:
        file.write(f"x{needle}y")
    assert grep(own.home.path, quarrel.needles()) == [f"log/gateway-0.log: {what}"]


def test_every_line_of_our_own_logs_has_only_listed_fields(own: Platform, quarrel: Said) -> None:
    import json

    from partywall.telemetry.log import FIELDS

    usual = {"time", "level", "process", "event", "dropped"}
    for name in ("supervisor", "issuer", "ledger", "embeddings", "gateway-0"):
        lines = own.home.log(name).read_text().splitlines()
        assert lines, name
        for line in lines:
            if line.startswith("{"):
                assert set(json.loads(line)) <= FIELDS | usual
