"""What the gateway must not hold, in its environment, its descriptors, its memory, or within its reach.

It parses hostile bytes: whoever takes it over gets what is found here, and nothing else.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.scenarios.platform_fixture import Platform

from partywall.settings import Home
from partywall.supervisor.child import confined
from partywall.supervisor.identity import choose
from partywall.supervisor.plan import environment, view

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another process's memory")


def needles(paths: Iterable[Path]) -> dict[str, bytes]:
    """Name -> the secret bytes as they would lie in memory."""
    found: dict[str, bytes] = {}
    for path in paths:
        content = path.read_bytes().strip() if path.suffix == ".dsn" else path.read_bytes()
        if content.startswith(b"-----BEGIN"):
            key = load_pem_private_key(content, None)
            assert isinstance(key, Ed25519PrivateKey)
            content = key.private_bytes_raw()
        password = re.search(rb"://[^:]+:([^@]+)@|password=(\S+)", content)
        found[str(path)] = (password[1] or password[2]) if password else content
    assert all(len(needle) >= 16 for needle in found.values()), "too short to mean anything"
    return found


def files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def private_keys(home: Home) -> dict[str, bytes]:
    """The issuer's token and permit keys, the ledger's checkpoint and key-encryption keys, the owners' passwords."""
    keys = [path for path in files(home.issuer) if path.suffix == ".key"]
    keys += [home.ledger / "checkpoint-key", *files(home.kek)]
    return needles([*keys, *files(home.secrets("issuer"))])


def in_memory(pid: int, wanted: dict[str, bytes]) -> set[str]:
    """Return which of the wanted lie anywhere in a process's private memory."""
    found: set[str] = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            region, rights, *_ = line.split()
            if "r" not in rights or "w" not in rights:
                continue
            start, end = (int(part, 16) for part in region.split("-"))
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:
                continue
            found |= {name for name, needle in wanted.items() if needle in data}
    return found


def pid(platform: Platform, name: str) -> int:
    found = platform.process(name).pid
    assert found is not None
    return found


@pytest.fixture(scope="module")
def used(platform: Platform) -> Platform:
    """A platform that has done some of everything."""
    a, b = platform.two_tenants()
    for side in (a, b):
        assert side.chat(side.key, "hello").status == 200
        assert side.call_tool(side.key, "echo", {"text": "hello"}).status == 200
        assert side.chat(side.new_token(side.agent), "hello").status == 200
    return platform


def test_memory_holds_no_signing_key_no_owner_password_no_ledger_key(used: Platform) -> None:
    wanted = private_keys(used.home)
    names = {Path(name).name for name in wanted}
    assert {"permit.key", "checkpoint-key", "kek", "control.dsn", "data.dsn"} <= names
    assert any(name.startswith("token-") for name in names)
    assert in_memory(pid(used, "gateway-0"), wanted) == set()


def test_the_search_finds_what_is_there(used: Platform) -> None:
    """The knock-out of the test above: the same search finds each secret in the process that holds it."""
    home = used.home
    own = needles(files(home.secrets("gateway")))
    assert in_memory(pid(used, "gateway-0"), own) == set(own)
    issuer = {name: needle for name, needle in private_keys(home).items() if name.startswith(str(home.issuer))}
    assert in_memory(pid(used, "issuer"), issuer)
    checkpoint_key = needles([home.ledger / "checkpoint-key"])
    assert in_memory(pid(used, "ledger"), checkpoint_key) == set(checkpoint_key)


def test_the_environment_is_seven_fixed_variables(used: Platform) -> None:
    for name in ("gateway-0", "issuer", "ledger", "postgres-control", "postgres-data"):
        raw = Path(f"/proc/{pid(used, name)}/environ").read_bytes().rstrip(b"\0")
        assert dict(entry.decode().split("=", 1) for entry in raw.split(b"\0")) == environment(used.home)


def test_its_descriptors_are_its_log_its_listener_and_sockets(used: Platform) -> None:
    links = [str(path.readlink()) for path in Path(f"/proc/{pid(used, 'gateway-0')}/fd").iterdir()]
    opened = {link for link in links if link.startswith("/") and not link.startswith("/dev/")}
    assert opened == {str(used.home.log("gateway-0"))}
    assert {link.split(":")[0] for link in links if not link.startswith("/")} <= {"socket", "pipe", "anon_inode"}


def test_it_maps_no_file_of_the_home(used: Platform) -> None:
    assert str(used.home.path) not in Path(f"/proc/{pid(used, 'gateway-0')}/maps").read_text()


def as_process(home: Home, process: str, script: str) -> list[str]:
    """Run a script as this process would run it: its user, its view."""
    words = [*confined(choose().of(process), view(home)), sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(home), timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_can_open_nothing_of_the_others(used: Platform) -> None:
    home = used.home
    paths = [*files(home.issuer), *files(home.ledger), *files(home.secrets("issuer")), *files(home.log("x").parent)]
    paths += [home.postgres_data("data") / "PG_VERSION", home.postgres_data("control") / "PG_VERSION"]
    paths += [Path(f"/proc/{pid(used, name)}/{entry}") for name in ("issuer", "ledger", "postgres-data", "gateway-0")
              for entry in ("mem", "environ", "maps")]  # fmt: skip
    script = (
        f"for path in {[str(path) for path in paths]!r}:\n"
        "    try:\n        open(path, 'rb').read(1)\n        print(path)\n    except OSError:\n        pass\n"
    )
    assert as_process(home, "gateway", script) == []
    own = [str(path) for path in files(home.secrets("gateway"))]
    assert as_process(home, "gateway", script.replace(repr([str(path) for path in paths]), repr(own))) == own


def test_only_who_has_to_can_reach_a_socket(used: Platform) -> None:
    home = used.home
    sockets = {
        "issuer": home.issuer_socket, "ledger": home.ledger_socket,
        "control": home.postgres_socket_dir("control") / ".s.PGSQL.5432",
        "data": home.postgres_socket_dir("data") / ".s.PGSQL.5432",
    }  # fmt: skip
    script = (
        "import socket\n"
        f"for name, path in {[(name, str(path)) for name, path in sockets.items()]!r}:\n"
        "    sock = socket.socket(socket.AF_UNIX)\n"
        "    try:\n        sock.connect(path)\n        print(name)\n    except OSError:\n        pass\n"
    )
    reached = {process: set(as_process(home, process, script)) for process in ("gateway", "ledger", "model", "issuer")}
    assert reached["gateway"] == set(sockets)
    assert reached["ledger"] <= {"ledger"}
    assert reached["model"] == set()
    assert {"control", "data"} <= reached["issuer"]


def test_the_ledger_speaks_to_the_gateway_alone(used: Platform) -> None:
    """The issuer may enter the sockets' folders, for the databases; its uid is turned away all the same."""
    script = (
        "import socket\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        f"sock.connect({str(used.home.ledger_socket)!r})\n"
        "sock.settimeout(1.0)\n"
        "try:\n    print('closed' if sock.recv(1) == b'' else 'spoke')\n"
        "except TimeoutError:\n    print('waits for a request')\n"
        "except ConnectionResetError:\n    print('closed')\n"
    )
    assert as_process(used.home, "issuer", script) == ["closed"]
    assert as_process(used.home, "gateway", script) == ["waits for a request"]


def test_what_lies_beside_the_home_is_out_of_sight(used: Platform) -> None:
    beside = used.home.path.parent / "beside"
    beside.write_text("the starter's own")
    script = f"import os\nfor name in sorted(os.listdir({str(beside.parent)!r})): print(name)"
    assert as_process(used.home, "gateway", script) == ["home"]
