from typing import Any

import pytest

from partywall.errors import Unavailable
from partywall.store import guard
from partywall.store.pool import translate


class Server:
    """Answers `server_version_num`."""

    def __init__(self, number: int) -> None:
        self._number = number

    async def fetchval(self, _statement: str) -> str:
        return str(self._number)


@pytest.mark.parametrize("number", [180000, 180006, 190000, 170006, 160010, 150014, 150018, 140019, 130022])
async def test_fixed_versions_serve(number: int):
    await guard.check_version(Server(number))


@pytest.mark.parametrize("number", [170005, 160009, 150013, 140018, 130021, 120022, 110000, 90600])
async def test_versions_with_known_holes_do_not(number: int):
    with pytest.raises(Unavailable, match="known holes"):
        await guard.check_version(Server(number))


@pytest.mark.parametrize(
    ("policy", "holds"),
    [
        ("(tenant = ( SELECT tenant.id\n   FROM pw.tenant))", True),
        ("(tenant = ( SELECT tenant_1.id\n   FROM pw.tenant tenant_1))", True),
        (f"('ten_{'a' * 26}'::text = ( SELECT tenant.id\n   FROM pw.tenant))", True),
        ("(true OR (tenant = ( SELECT tenant.id\n   FROM pw.tenant)))", False),
        ("(tenant = current_setting('app.tenant'::text, true))", False),
        ("true", False),
        ("none", False),
        ("(tenant = ( SELECT tenant.id\n   FROM other.tenant))", False),
    ],
)
def test_a_policy_is_recognised_whole(policy: str, holds: bool):
    assert guard._guards([policy]) is holds
    assert guard._guards([policy, "true"]) is False
    assert guard._guards([]) is False


def test_what_the_database_says_stays_there():
    import asyncpg

    errors: list[Any] = [
        asyncpg.UniqueViolationError('duplicate key "SECRET"'),
        asyncpg.InvalidTextRepresentationError("SECRET"),
        asyncpg.InsufficientPrivilegeError("SECRET"),
        asyncpg.QueryCanceledError("SECRET"),
        asyncpg.DeadlockDetectedError("SECRET"),
        asyncpg.InterfaceError("SECRET"),
        ConnectionResetError("SECRET"),
        TimeoutError("SECRET"),
    ]
    for error in errors:
        told = translate(error)
        assert "SECRET" not in told.public + told.private
