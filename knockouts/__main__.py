"""`make knockouts`: each control is removed once, alone, and its probe must see the leak.

One throwaway deployment in a fresh home serves as the ground. What stands beside it without a control: a gateway
process (`gateways.py`), a deployment with another database or issuer (`databases.py`, `issuers.py`), or the verifier
here (`verifiers.py`).
Exit status 0: every knock-out was caught, and the same probes hold on the product. 1: one was not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from knockouts import databases, gateways, issuers, verifiers
from knockouts.mark import mark
from partywall.assurance.command import chosen, run
from partywall.assurance.probe import Finding
from partywall.assurance.target import SetupFailed, Target
from partywall.settings import Home
from partywall.supervisor.throwaway import Throwaway

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT_S = 30.0
TERMINATED = 128 + signal.SIGTERM


class Place(msgspec.Struct, frozen=True):
    """What the probes attack: an address, its operator's key, and its home."""

    url: str
    operator: str
    home: Home


class Knockout(msgspec.Struct, frozen=True):
    """One control removed. open: makes the place without it beside the ground; probe: the one that must see it."""

    name: str
    probe: str
    open: Callable[[Throwaway, str], AbstractContextManager[Place]]


@contextmanager
def gateway(ground: Throwaway, name: str) -> Iterator[Place]:
    """Run one knocked-out gateway beside the deployment."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.set_inheritable(True)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    environment = {**os.environ, "PARTYWALL_HOME": str(ground.home.path), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "knockouts.serve", name, str(listener.fileno())]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603  # our own words, and no shell
            words, env=environment, cwd=ROOT, pass_fds=(listener.fileno(),), stderr=said
        )
        listener.close()
        try:
            _wait_ready(url, process)
            yield Place(url, ground.operator_key(), ground.home)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def database(_ground: Throwaway, name: str) -> Iterator[Place]:
    """Run a deployment of its own whose data database lacks the control."""
    with databases.knocked_out(name) as own:
        yield Place(own.url, own.operator_key(), own.home)


@contextmanager
def issuer(_ground: Throwaway, name: str) -> Iterator[Place]:
    """Run a deployment of its own whose issuer lacks the control."""
    with issuers.knocked_out(name) as own:
        yield Place(own.url, own.operator_key(), own.home)


@contextmanager
def verifier(ground: Throwaway, name: str) -> Iterator[Place]:
    """Attack the product, and believe a verifier that lacks the control."""
    with verifiers.knocked_out(name):
        yield Place(ground.url, ground.operator_key(), ground.home)


KNOCKOUTS: Final = (
    *(Knockout(made.name, id_, gateway) for made, id_ in gateways.CAUGHT_BY),
    *(Knockout(name, id_, verifier) for name, id_ in verifiers.CAUGHT_BY),
    *(Knockout(name, id_, database) for name, id_ in databases.CAUGHT_BY),
    *(Knockout(name, id_, issuer) for name, id_ in issuers.CAUGHT_BY),
)


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310  # our own http address
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("a knocked-out gateway did not start")


def probe(place: Place, ids: tuple[str, ...]) -> list[Finding]:
    """Attack one place with these probes, exactly."""
    try:
        target = Target(place.url, place.operator, home=place.home)
    except (SetupFailed, OSError) as error:
        raise SystemExit(f"the probes could not set up their tenants: {error}") from error
    try:
        return run(target, [one for one in chosen(ids) if one.id in ids])
    finally:
        target.close()


def main() -> int:
    """Run them all, or those named."""
    parser = argparse.ArgumentParser(prog="make knockouts", description=__doc__)
    parser.add_argument("names", nargs="*", help="knock-outs to run; all without any")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--elsewhere", action="store_true", help="the product itself is probed elsewhere")
    parser.add_argument("--within", type=float, metavar="S", help="start none after this many seconds")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # so that what was started is stopped
    console = Console(stderr=options.json, highlight=False)
    picked = [one for one in KNOCKOUTS if not options.names or one.name in options.names]
    rows = []
    until_s = time.monotonic() + (math.inf if options.within is None else options.within)
    ground = Throwaway("--no-model")
    ground.home.path.mkdir(parents=True, exist_ok=True)
    ground.home.config.write_text(issuers.CONFIG)
    with ground:
        mark(ground.home)
        whole = Place(ground.url, ground.operator_key(), ground.home)
        ids = () if options.elsewhere else tuple({one.probe for one in picked})
        product = {found.id: found for found in probe(whole, ids)} if ids else {}
        for one in picked:
            if time.monotonic() > until_s:
                console.print(f"not begun {one.name}: too late")
                continue
            at_s = time.time()
            with one.open(ground, one.name) as place:
                found = probe(place, (one.probe,))[0]
            itself = product.get(one.probe)
            held, caught = itself is None or itself.result == "held", found.result == "leak"
            rows.append(
                {
                    "knock_out": one.name,
                    "probe": one.probe,
                    "product": "elsewhere" if itself is None else itself.result,
                    "knocked_out": found.result,
                    "evidence": found.evidence,
                    "at_s": at_s,
                    "duration_s": round(time.time() - at_s, 2),
                }
            )
            colour, word = ("green", "caught") if held and caught else ("bold red", found.result)
            console.print(f"[{colour}]{word:8}[/] {one.name:26} {one.probe:8} ", end="")
            console.print(found.evidence, markup=False)
            if itself is not None and not held:
                console.print(f"         [bold red]the product itself: {itself.result}[/]")
                console.print(f"         {itself.evidence}", markup=False)
    if options.json:
        sys.stdout.write(json.dumps(rows) + os.linesep)
    good = sum(row["product"] in {"held", "elsewhere"} and row["knocked_out"] == "leak" for row in rows)
    console.print(f"{good} of {len(rows)} knock-outs caught")
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
