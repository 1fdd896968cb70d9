import base64
import os
from pathlib import Path

import pytest

from partywall.errors import Unavailable
from partywall.settings import Home
from partywall.store import cluster, configuration
from partywall.store.dsn import format_dsn, password_of, read_dsn, with_role
from partywall.store.scram import verifier


def test_a_dsn_keeps_any_password_and_folder(tmp_path: Path):
    path = tmp_path / "data.dsn"
    path.write_text(format_dsn("pw_app", "a/b@c:d%e", "data", Path("/run/with space/x")) + "\n")
    assert password_of(path) == "a/b@c:d%e"
    assert "with%20space" in read_dsn(path)
    assert password_of(tmp_path / "none") is None


def test_another_role_at_the_same_place():
    given = "postgresql://owner:se%40cret@db.example:5433/data?sslmode=require"
    assert with_role(given, "pw_app", "x y") == "postgresql://pw_app:x%20y@db.example:5433/data?sslmode=require"
    assert with_role("postgres:///data?host=/run", "r", "p") == "postgres://r:p@/data?host=/run"
    for wrong in ("mysql://a@b/c", "host=/run dbname=data", "", "postgresql://[::1"):
        with pytest.raises(Unavailable):
            with_role(wrong, "r", "p")


def test_a_missing_dsn_file_is_an_outage_that_names_no_folder(tmp_path: Path):
    with pytest.raises(Unavailable) as error:
        read_dsn(tmp_path / "data.dsn")
    assert str(tmp_path) not in error.value.public


def test_a_verifier_is_what_postgres_itself_would_store():
    # The example of RFC 7677, section 3: password "pencil", 4096 rounds.
    assert verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
        "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert verifier("pencil", b"s" * 16) == verifier("pencil", b"s" * 16) != verifier("pencil", b"t" * 16)


def test_a_long_home_gets_a_short_socket_path(tmp_path: Path):
    short, long = Home(Path("/srv/pw")), Home(tmp_path / ("x" * 90))
    assert cluster.socket_dir(short, "data") == short.postgres_socket_dir("data")
    found = cluster.socket_dir(long, "control")
    assert len(os.fsencode(found / cluster.SOCKET_NAME)) < 107
    long.run.mkdir(parents=True)
    cluster.link_short_name(long)
    cluster.link_short_name(long)
    try:
        assert found.parent.resolve() == long.run.resolve()
        found.parent.unlink()
        found.parent.symlink_to("/somewhere/else")
        with pytest.raises(Unavailable, match="belongs to somebody else"):
            cluster.link_short_name(long)
    finally:
        found.parent.unlink()


def test_the_configuration_quotes_its_paths():
    text = configuration.files("data", "pg", Path('/srv/o\'b "x", y'))["postgresql.conf"]
    assert '/srv/o\'\'b ""x"", y' in text
    assert "listen_addresses = ''" in text
