import hashlib
import hmac
import secrets

import pytest

from partywall.errors import Bug, Unavailable
from partywall.store.tenant_token import TokenKey, TokenMint, mint, pads

TENANT = "ten_" + "a" * 26
SHARD = "0" * 32


def test_a_token_has_the_layout_that_the_database_reads():
    token = mint("ttk_1", b"k" * 32, TENANT, SHARD, 77, 1_700_000_000)
    assert token[64:74] == "1700000000"
    assert token[74:104] == TENANT
    assert token[104:] == "ttk_1"
    message = SHARD.encode() + (77).to_bytes(4, "big") + token[64:].encode()
    assert token[:64] == hmac.digest(b"k" * 32, message, "sha256").hex()


@pytest.mark.parametrize(
    ("tenant", "key_id"),
    [
        ("ten_x", "k"),
        (TENANT + "'", "k"),
        (TENANT + "\n", "k"),
        (TENANT, "k'--"),
        (TENANT, ""),
        ("", "k"),
        (TENANT, "é"),
    ],
)
def test_nothing_that_needs_quoting_is_ever_minted(tenant: str, key_id: str):
    with pytest.raises(Bug):
        mint(key_id, b"k" * 32, tenant, SHARD, 1, 1)


@pytest.mark.parametrize("size", [1, 32, 64, 65, 200])
def test_the_pads_make_hmac(size: int):
    key = secrets.token_bytes(size)
    inner, outer = pads(key)
    made = hashlib.sha256(outer + hashlib.sha256(inner + b"message").digest()).digest()
    assert made == hmac.digest(key, b"message", "sha256")


def test_a_token_is_used_again_while_ten_seconds_are_left():
    made = TokenMint(SHARD, 1, 30.0)
    key = TokenKey("k", b"k" * 32, 10_000.0)
    first = made.token(TENANT, key, 1000.0)
    assert made.token(TENANT, key, 1017.9) == first
    later = made.token(TENANT, key, 1018.0)
    assert later != first
    assert int(first[64:74]) <= 1000 + 30


def test_a_token_ends_with_its_key_and_a_new_key_makes_new_tokens():
    made = TokenMint(SHARD, 1, 30.0)
    old, new = TokenKey("old", b"o" * 32, 1005.0), TokenKey("new", b"n" * 32, 2000.0)
    made.token(TENANT, old, 1000.0)
    with pytest.raises(Unavailable):
        made.token(TENANT, old, 1005.0)
    assert made.token(TENANT, new, 1001.0).endswith("new")


def test_the_life_is_bounded_whatever_the_settings_say():
    token = TokenMint(SHARD, 1, 3600.0).token(TENANT, TokenKey("k", b"k" * 32, 1e9), 1000.0)
    assert int(token[64:74]) - 1000 < 30


def test_tokens_of_many_tenants_are_forgotten_in_time():
    made = TokenMint(SHARD, 1, 30.0)
    key = TokenKey("k", b"k" * 32, 10_000.0)
    for number in range(3 * TokenMint.LIMIT):
        made.token(
            f"ten_{number:026d}".replace("0", "a").replace("1", "b").replace("8", "h").replace("9", "i"), key, 1.0
        )
    assert len(made._cached) <= TokenMint.LIMIT


def test_a_key_is_not_shown():
    assert "secret" not in repr(TokenKey("k", b"secret", 1.0))
