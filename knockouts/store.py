"""Data databases with one control replaced each: SQL for a fresh one, never for one that holds anything.

Each entry of `KNOCKOUTS` names the attack of `tests/store_attacks.py` that must get through. The database carries the
stamp as its comment, where every session can read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import asyncpg
import msgspec

from knockouts.mark import MARK, refuse_real_data
from partywall.settings import Home
from partywall.store.pool import TenantPool

_VIEW: Final = """
create or replace view pw.tenant with (security_barrier) as
    select case when {time} then substr(current_setting('pw.token', true), 75, 30) end as id
    from pw.token_key k
    where k.kid = substr(current_setting('pw.token', true), 105) and k.not_after > now()
        and encode(sha256(k.outer_pad || sha256({start} || {pid}
                || convert_to(substr(current_setting('pw.token', true), 65), 'UTF8'))), 'hex')
            = substr(current_setting('pw.token', true), 1, 64);
"""
_TIME: Final = (
    "abs(substr(current_setting('pw.token', true), 65, 10)::bigint - 15 - date_part('epoch', clock_timestamp())) <= 15"
)
_START: Final = "k.inner_start"
_PID: Final = "int4send(pg_backend_pid())"


class Knockout(msgspec.Struct, frozen=True, kw_only=True):
    """sql: run as the data owner; as_superuser: run as the superuser. caught_by: the attack that must get through."""

    caught_by: str
    sql: str = ""
    as_superuser: str = ""


KNOCKOUTS: Final[dict[str, Knockout]] = {
    "plain-setting": Knockout(
        caught_by="set_config",
        sql="drop policy tenant on pw.memory;"
        "create policy tenant on pw.memory using (tenant = (select id from pw.tenant)"
        " or tenant in (current_setting('app.tenant', true), current_setting('pw.tenant', true)))",
    ),
    "unsigned-token": Knockout(
        caught_by="forged_token",
        sql="create or replace view pw.tenant with (security_barrier) as"
        " select substr(current_setting('pw.token', true), 75, 30) as id",
    ),
    "unbound-to-the-backend": Knockout(
        caught_by="replayed_token", sql=_VIEW.format(time=_TIME, start=_START, pid="''::bytea")
    ),
    "without-expiry": Knockout(caught_by="expired_token", sql=_VIEW.format(time="true", start=_START, pid=_PID)),
    "unbound-to-the-shard": Knockout(
        caught_by="other_shard", sql=_VIEW.format(time=_TIME, start="substr(k.inner_start, 1, 64)", pid=_PID)
    ),
    "readable-keys": Knockout(caught_by="stolen_key", sql="grant select on pw.token_key to pw_app"),
    "leaf-without-policy": Knockout(
        caught_by="leaf_by_name",
        sql="do $$ declare leaf text; begin for leaf in select oid::regclass::text from pg_class"
        " where relnamespace = 'leaf'::regnamespace and relkind = 'r'"
        " loop execute format('alter table %s disable row level security', leaf); end loop; end $$",
    ),
    "owner-without-force": Knockout(
        caught_by="no_token",
        sql="alter table pw.memory no force row level security",
        as_superuser="alter table pw.memory owner to pw_app",
    ),
    "bypass": Knockout(caught_by="no_token", as_superuser="alter role pw_app bypassrls"),
    "writes-unchecked": Knockout(
        caught_by="write_for_another",
        sql="drop policy tenant on pw.memory;"
        "create policy tenant on pw.memory to pw_app using (tenant = (select id from pw.tenant)) with check (true)",
    ),
    "truncate": Knockout(caught_by="truncate", sql="grant truncate on pw.memory to pw_app"),
    "superuser-function": Knockout(
        caught_by="no_token",
        as_superuser="create function pw.all_memory() returns setof pw.memory language sql security definer"
        " as 'select * from pw.memory'; grant execute on function pw.all_memory() to pw_app;"
        "create view pw.everything as select * from pw.memory; grant select on pw.everything to pw_app",
    ),
    "visible-statements": Knockout(
        caught_by="statements_of_others",
        as_superuser="alter system set track_activities = on; alter system set track_activity_query_size = 1024;"
        "grant select on pg_stat_activity to pw_app; grant execute on function pg_stat_get_activity(integer) to pw_app;"
        "select pg_reload_conf()",
    ),
    "loud-logs": Knockout(
        caught_by="log_of_failures",
        as_superuser="alter system set log_min_messages = warning; alter system set log_min_error_statement = error;"
        "select pg_reload_conf()",
    ),
}


async def apply(home: Home, owner: asyncpg.Connection, name: str, as_superuser: Callable[[str], str]) -> None:
    """Remove one control from the data database of a home that was made for knock-outs.

    owner: a connection of the data owner. as_superuser: runs SQL as the instance's superuser.
    Raises: SystemExit for any other home.
    """
    refuse_real_data(home)
    knockout = KNOCKOUTS[name]
    as_superuser(f"comment on database data is '{MARK}: {name}'")
    if knockout.sql:
        await owner.execute(knockout.sql)
    if knockout.as_superuser:
        as_superuser(knockout.as_superuser)


class StickyPool(TenantPool):
    """A pool that sets the tenant for the session and not for the transaction, and trusts what it set before."""

    def _opening(self, member: Any, tenant: str) -> str:
        if getattr(self, "_tenant_is_set", False):
            return "begin"
        self._tenant_is_set = True
        return super()._opening(member, tenant).replace("set local", "set")

    async def _finish(self, member: Any, words: str) -> None:
        await super()._finish(member, words.split(";", maxsplit=1)[0])
