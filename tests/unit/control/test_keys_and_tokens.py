"""Files of private keys, the key set, and scopes."""

import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import KeySet

from partywall.control.credentials import checked_scopes
from partywall.control.keyring import Keyring, write_secret
from partywall.errors import Malformed, Unavailable
from partywall.wire.jwks import jwks


def test_a_secret_file_is_whole_and_closed(tmp_path):
    path = tmp_path / "secret"
    write_secret(path, b"one")
    write_secret(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
    with pytest.raises(OSError, match="directory"):
        write_secret(tmp_path / "absent" / "secret", b"x")


def test_the_permit_key_stays_and_nothing_signs_before_it_is_published(tmp_path):
    folder = tmp_path / "issuer"
    first = Keyring(folder, access_token_s=900.0, rotation_s=86_400.0)
    again = Keyring(folder, access_token_s=900.0, rotation_s=86_400.0)
    assert first.permit_key.private_bytes_raw() == again.permit_key.private_bytes_raw()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(Unavailable):
        first.signing_key(0.0)


def test_the_key_set_is_what_verifiers_read():
    keys = {f"sig_{n}": Ed25519PrivateKey.generate().public_key().public_bytes_raw() for n in "ba"}
    document = jwks(keys)
    assert [key["kid"] for key in document["keys"]] == ["sig_a", "sig_b"]
    assert all("d" not in key and key["alg"] == "EdDSA" for key in document["keys"])
    for key in KeySet.import_key_set(document).keys:
        assert key.raw_value.public_bytes_raw() == keys[key.kid]
    assert jwks({}) == {"keys": []}
    with pytest.raises(ValueError, match="32 bytes"):
        jwks({"k": b"short"})


def test_scopes_are_actions_each_once():
    assert checked_scopes(None) is None
    assert checked_scopes([]) == []
    assert checked_scopes(["tool.call", "model.request", "tool.call"]) == ["model.request", "tool.call"]
    with pytest.raises(Malformed):
        checked_scopes(["tool.call", "root"])
