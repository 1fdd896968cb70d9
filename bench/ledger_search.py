"""Search in a tenant's own log of a million leaves: the first page, of selective and unselective questions.

The real ledger process answers over its socket under signed permits, as a gateway worker asks. Every search opens the
index anew (nothing is kept in memory), so the only difference between a first and a repeated one is the system's page
cache: `cold` is measured after the log's files were dropped from it. `--quick`: a tenth of the leaves.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.ledger import ROOT
from bench.report import Target, report, wants_json
from partywall.decision.action import Action, ActionClass, ActionType, Resource
from partywall.decision.manifest import canonical_json
from partywall.decision.permit import PermitClaims
from partywall.decision.principal import Kind, Principal
from partywall.decision.record import Phase, Record, Result
from partywall.errors import Unavailable
from partywall.keys.file import FileKeys
from partywall.ledger.client import LedgerClient
from partywall.ledger.logs import Logs
from partywall.settings import Home
from partywall.signing import PermitSigner, certify
from partywall.wire.audit import Filters, Order, Search
from partywall.wire.ids import ActId, PermitId, TenantId, format_id
from partywall.wire.permit import WorkerCertificate

LEAVES: Final = 1_000_000
LIMIT_MS: Final = 100.0
LOG: Final = TenantId(format_id("ten", b"bench-ledger-srch"[:16]))
ACTIONS: Final = (
    [ActionType.TOOL_CALL] * 10 + [ActionType.MODEL_REQUEST] * 6 + [ActionType.MEMORY] * 3 + [ActionType.AUDIT_READ]
)
RARE: Final = "above-clearance"


def records(count: int) -> Iterator[Record]:
    """Yield a tenant's traffic: intents with outcomes, one in twenty denied, forty agents, six hundred resources."""
    chance = random.Random(7)
    agents = [format_id("agt", chance.randbytes(16)) for _ in range(40)]
    users = [format_id("usr", chance.randbytes(16)) for _ in range(200)]
    for at in itertools.count():
        if at * 2 >= count:
            return
        action = chance.choice(ACTIONS)
        fields: dict[str, Any] = {
            "log": LOG,
            "act": ActId(format_id("act", chance.randbytes(16))),
            "time_s": float(at),
            "action": action,
            "action_class": ActionClass.EFFECT,
            "resource": f"pw:local:{LOG}:{action.value.partition('.')[0]}/x{chance.randrange(600)}",
            "principal_kind": "agent",
            "principal_id": chance.choice(agents),
            "trace_id": chance.randbytes(16).hex(),
            "region": "local",
            "user": chance.choice(users) if chance.random() < 0.3 else None,
            "credential": "key_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "parameters": {"server": "bank", "tool": "send_money", "arguments": 3},
            "policy_revision": f"{at // 50_000}-0123456789ab",
        }
        if chance.random() < 0.05:
            reason = RARE if chance.random() < 0.001 else "not-granted"
            yield Record(phase=Phase.DENIAL, verdict="deny", reason=reason, **fields)
            yield Record(phase=Phase.DENIAL, verdict="deny", reason="out-of-scope", **fields)
        else:
            yield Record(phase=Phase.INTENT, **fields)
            result = Result.FAILED if chance.random() < 0.02 else Result.COMPLETE
            yield Record(phase=Phase.OUTCOME, result=result, **fields)


def fill(home: Home, count: int) -> Record:
    """Write the log as the ledger process would; return a record of its middle."""
    logs = Logs(home.ledger, FileKeys(home.kek), reserve_bytes=64)
    middle: Record | None = None
    made = records(count)
    written = 0
    while batch := list(itertools.islice(made, 2_000)):
        logs.append(batch, durable=False)
        written += len(batch)
        if middle is None and written >= count // 2:
            middle = batch[0]
    logs.close()
    assert middle is not None
    return middle


def questions(middle: Record) -> dict[str, tuple[Filters, Order]]:
    """Return what is asked, from the most to the least selective."""
    return {
        "one act": (Filters(act=middle.act), "newest"),
        "one trace": (Filters(trace_id=middle.trace_id), "newest"),
        "nothing like it": (Filters(trace_id="f" * 32), "newest"),
        "a rare reason": (Filters(reason=RARE), "newest"),
        "one agent's denials": (Filters(principal=middle.principal_id, verdict="deny"), "newest"),
        "one resource, oldest first": (Filters(resource=middle.resource), "oldest"),
        "what failed for one user": (Filters(user=middle.user or "usr_" + "a" * 26, result="failed"), "newest"),
        "all that was allowed": (Filters(verdict="allow"), "newest"),
        "everything": (Filters(), "newest"),
        "two halves that never meet": (Filters(phase="intent", result="complete"), "newest"),
    }


class Reader:
    """A gateway worker with a certified key, in front of the ledger process of a home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        issuer = Ed25519PrivateKey.generate()
        home.public_keys.mkdir(parents=True, exist_ok=True)
        (home.public_keys / "issuer.pub").write_bytes(issuer.public_key().public_bytes_raw())
        self._signer = PermitSigner()
        now_s = time.time()
        certificate = WorkerCertificate(
            worker="gateway-0", public_key=self._signer.public_key, issued_at_s=now_s, expires_at_s=now_s + 900
        )
        self._signer.renew(certify(issuer, certificate), now_s + 900)
        self.client = LedgerClient(home.ledger_socket, timeout_s=60.0)
        self._boot = ""

    async def ready(self) -> None:
        """Wait until the process answers."""
        deadline_s = time.monotonic() + 60
        while True:
            try:
                self._boot = (await self.client.status()).boot
                return
            except Unavailable:
                assert time.monotonic() < deadline_s, "the ledger did not start"
                await asyncio.sleep(0.05)

    async def search(self, search: Search) -> dict[str, Any]:
        """Return one page."""
        payload = canonical_json({"log": LOG, "mode": "search", "search": search})
        now_s = time.time()
        who = Principal(
            kind=Kind.TENANT_ADMIN,
            id="usr_a",
            tenant=LOG,
            region="local",
            credential="key_a",
            expires_at_s=now_s + 900,
        )
        claims = PermitClaims(
            id=PermitId(format_id("prm", secrets.token_bytes(16))),
            act=ActId("act_a"),
            tenant=LOG,
            principal=who,
            action=Action(ActionType.AUDIT_READ, Resource("local", LOG, "audit", "*")),
            payload_sha256=hashlib.sha256(payload).digest(),
            policy_revision="1",
            trace_id="0" * 32,
            issued_at_s=now_s,
            expires_at_s=now_s + 60,
        )
        signed = self._signer.sign(claims, f"ledger/{self._boot}", now_s)
        page: dict[str, Any] = msgspec.json.decode((await self.client.read(signed, payload)).body)
        return page

    async def indexed(self) -> float:
        """Search until the index reaches the head; return the seconds it took."""
        begun_s = time.perf_counter()
        question = Search(filters=Filters(trace_id="e" * 32), limit=1)
        while not (await self.search(question))["at_head"]:
            pass  # each search indexes a few pages itself
        return time.perf_counter() - begun_s


def drop_cache(home: Home) -> None:
    """Have the system forget the ledger's files, so that the next search reads them from the disk."""
    for path in home.ledger.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


async def timed(reader: Reader, search: Search) -> tuple[float, dict[str, Any]]:
    """Return (milliseconds, page) of one search."""
    begun_s = time.perf_counter()
    page = await reader.search(search)
    return (time.perf_counter() - begun_s) * 1e3, page


async def ask_all(reader: Reader, middle: Record, rounds: int) -> dict[str, Any]:
    """Return by question the median of warm searches, and one cold one, in milliseconds."""
    asked = {name: Search(filters=f, order=order, limit=100) for name, (f, order) in questions(middle).items()}
    cold: dict[str, float] = {}
    warm: dict[str, list[float]] = {name: [] for name in asked}
    found: dict[str, int] = {}
    for name, search in asked.items():
        drop_cache(reader.home)
        cold[name], page = await timed(reader, search)
        assert page["at_head"], name
        found[name] = len(page["leaves"])
    for _round in range(rounds):
        for name, search in asked.items():
            warm[name].append((await timed(reader, search))[0])
    return {"cold": cold, "warm": warm, "found": found}


def measure(folder: Path, *, leaves: int = LEAVES, rounds: int = 15) -> tuple[list[Target], dict[str, Any]]:
    """Return the targets and figures of this benchmark. folder: an empty one, for a throwaway ledger."""
    home = Home(folder / "home")
    home.path.mkdir()
    middle = fill(home, leaves)
    reader = Reader(home)
    process = subprocess.Popen([sys.executable, "-m", "bench.ledger", "--serve", str(home.path)], cwd=ROOT)

    async def run() -> tuple[float, dict[str, Any]]:
        await reader.ready()
        indexed_s = await reader.indexed()
        times = await ask_all(reader, middle, rounds)
        await reader.client.close()
        return indexed_s, times

    try:
        indexed_s, times = asyncio.run(run())
    finally:
        process.terminate()
        process.wait()
    every = [one for warm in times["warm"].values() for one in warm]
    medians = {name: statistics.median(warm) for name, warm in times["warm"].items()}
    targets = [
        Target(
            f"search of {leaves:,} leaves, p50 of all questions",
            round(statistics.median(every), 2),
            "<=",
            LIMIT_MS,
            "ms",
        )
    ]
    size = sum(path.stat().st_size for path in (home.ledger / "index").iterdir())
    figures: dict[str, Any] = {
        "search_leaves": leaves,
        "index_bytes_per_leaf": round(size / leaves, 1),
        "index_built_s": round(indexed_s, 1),
        "search_cold_p50_ms": round(statistics.median(times["cold"].values()), 1),
        "search_slowest_question_p50_ms": round(max(medians.values()), 1),
        "search_worst_ms": round(max(every), 1),
    }
    for name, warm_ms in medians.items():
        figures[f"{name} (found {times['found'][name]}), warm/cold ms"] = f"{warm_ms:.1f} / {times['cold'][name]:.1f}"
    return targets, figures


def main() -> int:
    quick = "--quick" in sys.argv
    with tempfile.TemporaryDirectory(prefix="pw-bench-") as folder:
        targets, figures = measure(Path(folder), leaves=LEAVES // 10 if quick else LEAVES)
    return report("ledger_search", targets, figures, wants_json())


if __name__ == "__main__":
    sys.exit(main())
