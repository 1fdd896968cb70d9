"""`make knockouts`: each control is removed once, alone, and its probe must see the leak.

One throwaway deployment in a fresh home serves as the ground; each knock-out is a gateway process of its own beside it.
Exit status 0: every knock-out was caught, and the same probes hold on the product. 1: one was not.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from knockouts.gateways import CAUGHT_BY
from knockouts.mark import mark
from partywall.assurance.command import chosen, run
from partywall.assurance.probe import Finding
from partywall.assurance.target import SetupFailed, Target
from partywall.supervisor.throwaway import Throwaway

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT_S = 30.0


@contextmanager
def knocked_out(ground: Throwaway, name: str) -> Iterator[str]:
    """Run one knocked-out gateway beside the deployment; yield its address."""
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
            yield url
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310  # our own http address
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("a knocked-out gateway did not start")


def probe(url: str, operator: str, ids: tuple[str, ...]) -> list[Finding]:
    """Attack one address with these probes, exactly."""
    try:
        target = Target(url, operator)
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
    options = parser.parse_args()
    console = Console(stderr=options.json, highlight=False)
    pairs = [(made.name, id_) for made, id_ in CAUGHT_BY if not options.names or made.name in options.names]
    rows = []
    with Throwaway("--no-model") as ground:
        mark(ground.home)
        operator = ground.operator_key()
        product = {found.id: found for found in probe(ground.url, operator, tuple({id_ for _, id_ in pairs}))}
        for name, id_ in pairs:
            with knocked_out(ground, name) as url:
                found = probe(url, operator, (id_,))[0]
            held, caught = product[id_].result == "held", found.result == "leak"
            rows.append({"knock_out": name, "probe": id_, "product": product[id_].result, "knocked_out": found.result})
            colour = "green" if held and caught else "bold red"
            console.print(f"[{colour}]{'caught' if caught else found.result:8}[/] {name:22} {id_:8} {found.evidence}")
            if not held:
                console.print(
                    f"         [bold red]the product itself: {product[id_].result}[/] {product[id_].evidence}"
                )
    if options.json:
        sys.stdout.write(json.dumps(rows) + os.linesep)
    good = sum(row["product"] == "held" and row["knocked_out"] == "leak" for row in rows)
    console.print(f"{good} of {len(rows)} knock-outs caught")
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
