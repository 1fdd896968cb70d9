"""What a confined process is, and what it can reach. As root it is another user in a view of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from partywall.supervisor import confine
from partywall.supervisor.child import View, confined
from partywall.supervisor.identity import Identity, choose
from partywall.supervisor.lock import began

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="another uid can be had only by root")


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that only its owner may pass, as /root is."""
    with tempfile.TemporaryDirectory(prefix="pw") as name:
        Path(name).chmod(0o700)
        yield Path(name)


@pytest.fixture(scope="module")
def somebody() -> Identity:
    return choose().of("gateway")


def reach(*extra: str) -> tuple[str, ...]:
    return (*{sys.prefix, sys.base_prefix, str(Path(sys.base_prefix).resolve())}, *extra)


def run(identity: Identity, view: View, script: str, *, network: bool = True) -> subprocess.CompletedProcess[str]:
    words = [*confined(identity, view, network=network), sys.executable, "-I", "-c", script]
    return subprocess.run(words, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})


def test_no_new_privileges_no_core_no_umask_no_descriptor(somebody: Identity) -> None:
    done = run(
        somebody,
        View((), reach()),
        "import os,resource,json;status=open('/proc/self/status').read();"
        "print(json.dumps([os.listdir('/proc/self/fd').__len__(),resource.getrlimit(resource.RLIMIT_CORE),"
        "os.umask(0),'NoNewPrivs:\\t1' in status,os.getcwd(),sorted(os.environ)]))",
    )
    assert done.stderr == ""
    descriptors, core, umask, no_new_privileges, folder, environment = json.loads(done.stdout)
    assert descriptors == 4  # the standard three, and the listing itself
    assert core == [0, 0]
    assert umask == 0o077
    assert no_new_privileges
    assert folder == "/"
    assert set(environment) <= {"PATH", "LC_CTYPE"}


@root_only
def test_it_is_another_user_without_any_capability(somebody: Identity) -> None:
    done = run(
        somebody,
        View((), reach()),
        "import os;print(os.getresuid(),os.getresgid(),os.getgroups());"
        "print([l for l in open('/proc/self/status') if l.startswith(('CapEff','CapPrm','CapInh','CapAmb'))])",
    )
    first, second = done.stdout.splitlines()
    assert first == f"{(somebody.uid,) * 3} {(somebody.gid,) * 3} {sorted(somebody.groups)}"
    assert second.count("0000000000000000") == 4


@root_only
def test_below_a_closed_folder_it_reaches_what_is_bound_and_sees_nothing_else(closed: Path, somebody: Identity) -> None:
    home, neighbour = closed / "deep" / "home", closed / "private"
    home.mkdir(parents=True)
    neighbour.mkdir()
    (neighbour / "secret").write_text("x")
    (home / "mine").write_text("found")
    for path in (home, home / "mine"):
        os.chown(path, somebody.uid, somebody.gid)
    script = (
        f"import os;print(open('{home}/mine').read());open('{home}/made','w').write('y');"
        f"print(sorted(os.listdir('{closed}')), sorted(os.listdir('{closed}/deep')))"
    )
    done = run(somebody, View((str(home),), reach()), script)
    assert done.stdout.splitlines() == ["found", "['deep'] ['home']"], done.stderr
    assert (home / "made").stat().st_uid == somebody.uid
    assert closed.stat().st_mode & 0o777 == 0o700, "nobody's permissions change"
    assert (neighbour / "secret").read_text() == "x", "and the rest of the machine sees no difference"


@root_only
def test_code_is_read_only_and_the_home_is_not_executable(closed: Path, somebody: Identity) -> None:
    code, home = closed / "code", closed / "home"
    for path in (code, home):
        path.mkdir()
        os.chown(path, somebody.uid, somebody.gid)
    script = (
        f"import os;open('{home}/run','w').write('#!/bin/sh\\n');os.chmod('{home}/run',0o700);"
        f"os.execv('{home}/run',['run'])"
    )
    assert "PermissionError" in run(somebody, View((str(home),), reach(str(code))), script).stderr
    assert "Read-only" in run(somebody, View((str(home),), reach(str(code))), f"open('{code}/x','w')").stderr


def test_a_failure_is_one_line_of_json_and_status_126(somebody: Identity) -> None:
    words = [*confined(somebody, View((), reach())), "/nonexistent/program"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={})
    assert done.returncode == confine.FAILED_STATUS
    assert json.loads(done.stderr)["event"] == "confine.failed"


def test_a_child_whose_parent_is_gone_already_does_not_start(somebody: Identity) -> None:
    words = confined(somebody, View((), reach()))
    words[words.index("--parent") + 1] = "1"
    done = subprocess.run([*words, "/bin/echo", "started"], capture_output=True, text=True, check=False, env={})
    assert done.returncode == confine.FAILED_STATUS
    assert "started" not in done.stdout


def test_a_child_dies_with_its_parent_even_when_that_is_killed(somebody: Identity) -> None:
    script = (
        "import subprocess,sys,os\n"
        f"words = {confined(somebody, View((), reach()))!r}\n"
        "words[words.index('--parent') + 1] = str(os.getpid())\n"
        "child = subprocess.Popen([*words, '/bin/sleep', '60'])\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_until(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: began(child) is None)
    parent.stdin.close()
    parent.stdout.close()


def wait_until(condition: object, timeout_s: float = 5.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@root_only
def test_a_program_without_network_reaches_nobody_not_even_this_machine(somebody: Identity) -> None:
    script = "import socket;s=socket.create_connection(('127.0.0.1',{port}),2)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert run(somebody, View((), reach()), script.format(port=port)).returncode == 0
        done = run(somebody, View((), reach()), script.format(port=port), network=False)
    assert done.returncode != 0
    assert "unreachable" in done.stderr
