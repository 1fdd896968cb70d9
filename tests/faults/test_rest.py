"""The issuer and the ledger die under operators' hands: refused at once, nothing half done, back by itself."""

import secrets
import time

import pytest
from tests.scenarios.platform_fixture import own_platform as _own_platform

from partywall.assurance.wire import Wire

own_platform = _own_platform
BACK_S = 20.0


@pytest.fixture
def operate(own_platform):
    wire, key = Wire(own_platform.base_url), own_platform.operator_key()
    return lambda method, path, body=None: wire.send(method, path, credential=key, body=body)


def until_back(ask):
    """Ask until it works; on the way nothing but an honest 503 may come back, or nothing in time."""
    deadline = time.monotonic() + BACK_S
    while True:
        answer = ask()
        if answer.status == 200:
            return answer
        assert answer.status in {503, 504}, answer
        assert "retry-after" in answer.headers or answer.status == 504
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)


def test_a_restarted_issuer_is_found_again(own_platform, operate):
    operate("POST", "/v1/tenants", {"slug": "before"})
    pid = own_platform.kill("issuer")
    slug = f"t-{secrets.token_hex(4)}"
    made = until_back(lambda: operate("POST", "/v1/tenants", {"slug": slug})).json()
    own_platform.wait_restarted("issuer", pid)
    slugs = [tenant["slug"] for tenant in operate("GET", "/v1/tenants").json()["tenants"]]
    assert slugs.count(slug) == 1
    assert "before" in slugs
    assert operate("POST", f"/v1/tenants/{made['id']}/admins", {"slug": "root"}).status == 200


def test_a_restarted_ledger_is_found_again(own_platform, operate):
    operate("POST", "/v1/tenants", {"slug": "before"})
    size = operate("GET", "/v1/audit/leaves?limit=1000").json()["size"]
    pid = own_platform.kill("ledger")
    answer = until_back(lambda: operate("GET", "/v1/audit/leaves?limit=1000"))
    own_platform.wait_restarted("ledger", pid)
    assert answer.json()["size"] > size
    assert b'"operator.tenant"' in answer.body
