"""Keys in files: bound to what they are for, private, never outside their folder, and gone when destroyed (CR-1)."""

import itertools
import shutil

import pytest
from tests.ledger_process import A, B

from partywall.errors import Malformed, NotFound, PartywallError, Unavailable
from partywall.keys import file as module
from partywall.keys.file import FileKeys
from partywall.wire.ids import TenantId, format_id

PLATFORM = TenantId("platform")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kek"


@pytest.fixture
def keys(folder):
    return FileKeys(folder)


def test_a_key_is_made_on_first_use_and_stays(keys, folder):
    version, key = keys.data_key_now(A, "ledger")
    assert (version, len(key)) == (1, 32)
    assert keys.data_key_now(A, "ledger") == FileKeys(folder).data_key_now(A, "ledger", 1) == (1, key)


def test_no_two_tenants_purposes_or_versions_have_the_same_key(keys):
    keys.rotate_now(A, "ledger")
    keys.rotate_now(A, "ledger")
    made = [
        keys.data_key_now(A, "ledger", 1),
        keys.data_key_now(A, "ledger", 2),
        keys.data_key_now(A, "data"),
        keys.data_key_now(B, "ledger"),
        keys.data_key_now(PLATFORM, "ledger"),
    ]
    assert len({key for _version, key in made}) == 5


def test_after_a_rotation_the_new_key_seals_and_the_old_one_still_opens(keys, folder):
    old = keys.data_key_now(A, "ledger")
    assert keys.rotate_now(A, "ledger") == 2
    for reader in (keys, FileKeys(folder)):
        assert reader.data_key_now(A, "ledger")[0] == 2
        assert reader.data_key_now(A, "ledger", 1) == old


async def test_the_port_says_the_same(keys):
    assert await keys.data_key(A, "ledger") == keys.data_key_now(A, "ledger")
    assert await keys.rotate(A, "ledger") == 2
    await keys.destroy(A)
    with pytest.raises(NotFound):
        await keys.data_key(A, "ledger")


@pytest.mark.parametrize("version", [0, -1, 2, 10**30])
def test_a_version_that_was_never_made_is_not_made_by_asking(keys, folder, version):
    keys.data_key_now(A, "ledger")
    before = sorted(folder.rglob("*"))
    with pytest.raises(NotFound):
        keys.data_key_now(A, "ledger", version)
    assert sorted(folder.rglob("*")) == before


# --- CR-1: what is swapped does not open ----------------------------------------------------------------------------


def test_every_swap_of_two_wrapped_keys_fails(keys, folder):
    keys.data_key_now(A, "ledger")
    keys.rotate_now(A, "ledger")
    keys.data_key_now(A, "data")
    keys.data_key_now(B, "ledger")
    wrapped = [folder / A / "ledger.1", folder / A / "ledger.2", folder / A / "data.1", folder / B / "ledger.1"]
    tried = 0
    for here, there in itertools.permutations(wrapped, 2):
        kept = here.read_bytes()
        here.write_bytes(there.read_bytes())
        purpose, version = here.name.split(".")
        with pytest.raises(Unavailable) as caught:
            FileKeys(folder).data_key_now(TenantId(here.parent.name), purpose, int(version))
        assert caught.value.code == "keys-damaged"
        here.write_bytes(kept)
        tried += 1
    assert tried == 12


def test_a_whole_folder_of_another_tenant_opens_nothing(keys, folder):
    keys.data_key_now(A, "ledger")
    keys.data_key_now(B, "ledger")
    shutil.rmtree(folder / B)
    shutil.copytree(folder / A, folder / B)
    with pytest.raises(Unavailable):
        FileKeys(folder).data_key_now(B, "ledger")


@pytest.mark.parametrize("name", ["kek", "ledger.1"])
@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-1], lambda data: bytes([data[0] ^ 1]) + data[1:]]
)
def test_a_damaged_file_is_said_to_be_and_never_replaced(keys, folder, name, damage):
    keys.data_key_now(A, "ledger")
    path = folder / A / name
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(Unavailable) as caught:
        FileKeys(folder).data_key_now(A, "ledger")
    assert caught.value.code == "keys-damaged"
    assert path.read_bytes() == damaged
    assert FileKeys(folder).data_key_now(B, "ledger")[0] == 1  # nobody else's trouble


# --- where they are -------------------------------------------------------------------------------------------------


def test_files_and_folders_are_private(keys, folder):
    keys.data_key_now(A, "ledger")
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert modes == {A: 0o700, "kek": 0o600, "ledger.1": 0o600}


@pytest.mark.parametrize(
    "tenant",
    [
        "",
        ".",
        "..",
        "../x",
        "/etc",
        f"{A}/..",
        f"{A}/../{B}",
        f"{A}\n",
        f"{A}\x00",
        A.upper(),
        "platform/",
        "ten_",
        "operator",
    ],
)
def test_what_is_no_tenant_reaches_no_file(keys, folder, tenant):
    keys.data_key_now(A, "ledger")
    before = sorted(folder.parent.rglob("*"))
    for use in (keys.data_key_now, keys.rotate_now):
        with pytest.raises(Malformed):
            use(TenantId(tenant), "ledger")
    with pytest.raises(Malformed):
        keys.destroy_now(TenantId(tenant))
    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize("purpose", ["", "../kek", "kek/x", "ledger\n", "LEDGER", "led*", "a" * 17])
def test_what_is_no_purpose_reaches_no_file(keys, folder, purpose):
    keys.data_key_now(A, "ledger")
    before = sorted(folder.rglob("*"))
    for use in (keys.data_key_now, keys.rotate_now, lambda *what: keys.data_key_now(*what, 1)):
        with pytest.raises(Malformed):
            use(A, purpose)
    assert sorted(folder.rglob("*")) == before


# --- memory ---------------------------------------------------------------------------------------------------------


def test_what_is_kept_in_memory_is_bounded(keys, monkeypatch):
    monkeypatch.setattr(module, "CACHE_LIMIT", 5)
    tenants = [TenantId(format_id("ten", n.to_bytes(16, "big"))) for n in range(20)]
    made = [keys.data_key_now(tenant, "ledger") for tenant in tenants]
    assert len(keys._cache) <= 5
    assert len(keys._newest) <= 5
    assert [keys.data_key_now(tenant, "ledger") for tenant in tenants] == made


def test_a_destroyed_tenant_is_gone_from_memory_and_disk_and_nobody_else_is(keys, folder):
    keys.data_key_now(A, "ledger")
    kept = keys.data_key_now(B, "ledger")
    keys.destroy_now(A)
    assert not (folder / A / "kek").exists()
    assert not [entry for entry in (*keys._cache, *keys._newest) if entry[0] == A]
    for reader in (keys, FileKeys(folder)):
        for version in (None, 1):
            with pytest.raises(NotFound):
                reader.data_key_now(A, "ledger", version)
        assert reader.data_key_now(B, "ledger") == kept
    keys.destroy_now(A)  # twice is once
    with pytest.raises(PartywallError):
        keys.rotate_now(A, "ledger")
