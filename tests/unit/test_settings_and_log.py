"""Configuration refuses what it does not know; the sink writes nothing that is not listed."""

import io
import json
import logging

import pytest

from partywall.errors import Malformed
from partywall.settings import GatewaySettings, Home, Settings, load
from partywall.telemetry.log import Log, configure


def test_the_defaults_need_no_file(tmp_path):
    assert load(Home(tmp_path)).gateway.host == "127.0.0.1"


def test_a_value_is_read_and_an_unknown_key_is_refused(tmp_path):
    home = Home(tmp_path)
    home.config.write_text("region = 'eu'\n[gateway]\nworkers = 3\n")
    assert (load(home).region, load(home).gateway.workers) == ("eu", 3)
    home.config.write_text("[gateway]\nallow_everything = true\n")
    with pytest.raises(Malformed, match="allow_everything"):
        load(home)
    home.config.write_text("= nonsense")
    with pytest.raises(Malformed):
        load(home)


def test_only_listed_fields_and_plain_values_are_written():
    stream = io.StringIO()
    Log("t", stream).info("x.happened", tenant="ten_a", prompt="SECRET", code=["SECRET"], status=200, reason="r" * 1000)
    line = json.loads(stream.getvalue())
    assert line["tenant"] == "ten_a"
    assert line["status"] == 200
    assert line["dropped"] == 2
    assert len(line["reason"]) == 256
    assert "SECRET" not in stream.getvalue()


def test_an_error_is_its_class_and_place_never_its_text():
    stream = io.StringIO()
    try:
        raise ValueError("SECRET in a message")
    except ValueError as error:
        Log("t", stream).error("x.failed", error)
    assert "SECRET" not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_what_a_library_logs_loses_its_message():
    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    try:
        configure("t", stream)
        logging.getLogger("some.library").warning("request failed: %s", "SECRET")
    finally:
        logging.getLogger().handlers[:] = before
    assert "SECRET" not in stream.getvalue()
    assert "some.library" in stream.getvalue()


@pytest.mark.parametrize(
    ("settings", "origin"),
    [
        ({}, "http://127.0.0.1:8470"),
        ({"host": "0.0.0.0", "port": 80}, "http://127.0.0.1:80"),
        ({"host": "::1"}, "http://[::1]:8470"),
        ({"public_url": "https://Wall.Example"}, "https://wall.example"),
        ({"public_url": "https://wall.example:443"}, "https://wall.example"),
        ({"public_url": "http://wall.example:80"}, "http://wall.example"),
        ({"public_url": "https://wall.example:8443"}, "https://wall.example:8443"),
    ],
)
def test_a_deployment_is_known_by_what_its_owner_says_or_by_where_it_listens(settings, origin):
    assert Settings(gateway=GatewaySettings(**settings)).public_url == origin


@pytest.mark.parametrize(
    "url", ["wall.example", "https://wall.example/", "https://wall.example/x", "ftp://x", "https://a b"]
)
def test_a_public_url_is_an_origin(tmp_path, url):
    home = Home(tmp_path)
    home.config.write_text(f'[gateway]\npublic_url = "{url}"\n')
    with pytest.raises(Malformed):
        load(home)
