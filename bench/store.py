"""What the database's own check of the tenant token costs: whole transactions as the pool runs them, on the event loop
of the gateway, beside the same statement under a policy on a plain setting and without row security.

All three are interleaved in one run, their order turns with each round, and one connection serves them all: which core
a backend happens to run on weighs more than what is measured here.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from bench.report import Target, report, wants_json
from partywall.settings import Home, Settings
from partywall.store import cluster, memory
from partywall.store.dsn import read_dsn
from partywall.store.migrations import migrate
from partywall.store.pool import TenantPool
from partywall.store.provision import provision
from partywall.store.tenant_token import TokenKey, register_key
from partywall.supervisor import identity
from partywall.telemetry.log import Log
from partywall.wire.ids import TenantId, format_id

TENANTS: Final = 20
ENTRIES: Final = 50
ROUNDS: Final = 4_000
WARM_ROUNDS: Final = 300
BLOCKS: Final = 10
RATIO_TARGET: Final = 1.15
VARIANTS: Final = ("token", "plain", "none")
_POLICIES: Final = {
    "token": "tenant = (select id from pw.tenant)",
    "plain": "tenant = (select current_setting('app.tenant', true))",
}


class SwitchedPool(TenantPool):
    """The product's pool and, when `plain` is set, the control: the tenant is a setting that nobody verifies."""

    plain = False

    def _opening(self, member: Any, tenant: str) -> str:
        if self.plain:
            return f"begin; set local app.tenant = '{tenant}'"
        return super()._opening(member, tenant)


@contextmanager
def data_database() -> Iterator[tuple[str, str]]:
    """Run a fresh data database as the product does; give the DSNs of the owner and of the gateway's role."""
    folder = Path(tempfile.mkdtemp(prefix="pw-"))
    folder.chmod(0o711)
    home = Home(folder / "home")
    owner = identity.choose().of("postgres-data")
    ids = (owner.uid, owner.gid) if os.geteuid() == 0 else None

    def own(path: Path, process: str) -> None:
        if ids is not None and process.startswith("postgres-"):
            os.chown(path, *ids)

    asyncio.run(provision(home, Settings(), Log("bench", StringIO()), own=own, uid_of=lambda _process: ids))
    user: dict[str, Any] = {} if ids is None else {"user": ids[0], "group": ids[1], "extra_groups": []}
    server = subprocess.Popen(
        cluster.server_argv(home, "data"), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **user
    )
    try:
        while not cluster.is_ready(home, "data"):
            if server.poll() is not None:
                raise SystemExit("the data database did not start")
            time.sleep(0.02)
        yield read_dsn(home.secrets("issuer") / "data.dsn"), read_dsn(home.secrets("gateway") / "data.dsn")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder)


async def fill(owner: Any, tenants: list[TenantId], subject: str) -> None:
    """Make the same table three times: pw.memory's shape and rows, another policy each."""
    value = b'{"note":"' + b"x" * 100 + b'"}'
    for variant in VARIANTS:
        table = f"bench_{variant}"
        await owner.execute(f"create table pw.{table} (like pw.memory including all)")
        await owner.execute(f"grant select on pw.{table} to pw_app")
        await owner.copy_records_to_table(
            table,
            schema_name="pw",
            columns=["tenant", "subject", "key", "value", "classification", "trust"],
            records=[(tenant, subject, f"k{n:04}", value, 1, 0) for tenant in tenants for n in range(ENTRIES)],
        )
        if variant in _POLICIES:
            await owner.execute(f"alter table pw.{table} enable row level security")
            await owner.execute(f"alter table pw.{table} force row level security")
            await owner.execute(f"create policy tenant on pw.{table} using ({_POLICIES[variant]})")
        await owner.execute(f"analyze pw.{table}")


async def measure(
    call: Callable[[str, TenantId], Awaitable[Any]], tenants: list[TenantId], rounds: int
) -> dict[str, list[float]]:
    """Return each variant's times in microseconds."""
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for number in range(rounds + WARM_ROUNDS):
        turn = number % len(VARIANTS)
        for variant in (*VARIANTS[turn:], *VARIANTS[:turn]):
            began = time.perf_counter_ns()
            found = await call(variant, tenants[number % len(tenants)])
            took = (time.perf_counter_ns() - began) / 1000
            if not found:
                raise SystemExit(f"{variant}: nothing was found, so nothing was measured")
            if number >= WARM_ROUNDS:
                times[variant].append(took)
    return times


async def run(owner_dsn: str, app_dsn: str) -> tuple[list[Target], dict[str, Any]]:
    """Measure reading one entry, and listing 50."""
    tenants = [TenantId(format_id("ten", os.urandom(16))) for _ in range(TENANTS)]
    subject = format_id("agt", os.urandom(16))
    owner = await asyncpg.connect(owner_dsn)
    await migrate(owner, "data")
    key = TokenKey(format_id("ttk", os.urandom(16)), secrets.token_bytes(32), time.time() + 600)
    await register_key(owner, key.id, key.key, key.expires_at_s)
    pool = SwitchedPool(app_dsn, lambda: key)
    await pool.start()
    await fill(owner, tenants, subject)
    taken = {name: await measure(call, tenants, ROUNDS) for name, call in _calls(pool, subject).items()}
    await pool.close()
    await owner.close()
    return _summary(taken)


def _calls(pool: SwitchedPool, subject: str) -> dict[str, Callable[[str, TenantId], Awaitable[Any]]]:
    get = {variant: _statement(memory.GET, variant, "$4") for variant in VARIANTS}
    entries = {variant: _statement(memory.LIST, variant, "$3") for variant in VARIANTS}

    async def get_one(variant: str, tenant: TenantId) -> Any:
        named = (tenant,) if variant == "none" else ()
        pool.plain = variant != "token"
        async with pool.tenant(tenant) as connection:
            return await connection.fetchrow(get[variant], subject, "k0007", 1, *named)

    async def list_all(variant: str, tenant: TenantId) -> Any:
        named = (tenant,) if variant == "none" else ()
        pool.plain = variant != "token"
        async with pool.tenant(tenant) as connection:
            return len(await connection.fetch(entries[variant], subject, 1, *named)) == ENTRIES

    return {"get": get_one, "list": list_all}


def _statement(statement: str, variant: str, parameter: str) -> str:
    """Return the product's statement on a variant's table; without row security it names the tenant itself."""
    text = statement.replace("pw.memory", f"pw.bench_{variant}")
    return text if variant != "none" else text.replace("where subject", f"where tenant = {parameter} and subject")


def _summary(taken: dict[str, dict[str, list[float]]]) -> tuple[list[Target], dict[str, Any]]:
    targets: list[Target] = []
    figures: dict[str, Any] = {}
    for name, times in taken.items():
        p50 = {variant: statistics.median(times[variant]) for variant in VARIANTS}
        ratio = round(_ratio(times["token"], times["plain"]), 3)
        targets.append(Target(f"verified token, memory {name}", ratio, "<=", RATIO_TARGET, "x plain setting, p50"))
        for variant, value in p50.items():
            figures[f"{name}_{variant}_p50_us"] = round(value, 1)
            figures[f"{name}_{variant}_p99_us"] = round(statistics.quantiles(times[variant], n=100)[98], 1)
        figures[f"{name}_added_p50_us"] = round(p50["token"] - p50["plain"], 1)
        figures[f"{name}_token_to_no_row_security"] = round(p50["token"] / p50["none"], 3)
    return targets, figures


def _ratio(token: list[float], plain: list[float]) -> float:
    """Return the median over blocks of the ratio of medians: a burst of other work on the machine counts once."""
    block = len(plain) // BLOCKS
    starts = range(0, block * BLOCKS, block)
    return statistics.median(
        statistics.median(token[start : start + block]) / statistics.median(plain[start : start + block])
        for start in starts
    )


def main() -> int:
    """Run and report."""
    with data_database() as dsns:
        targets, figures = uvloop.run(run(*dsns))
    return report("store", targets, figures, wants_json())


if __name__ == "__main__":
    sys.exit(main())
