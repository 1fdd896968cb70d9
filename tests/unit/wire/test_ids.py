"""Ids have one shape, and only that shape is accepted."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partywall.errors import Malformed
from partywall.wire.ids import PREFIXES, format_id, is_id, parse_id


@given(st.binary(min_size=16, max_size=16), st.sampled_from(sorted(PREFIXES.values())))
def test_every_id_parses_back(random_bytes, prefix):
    text = format_id(prefix, random_bytes)
    assert parse_id(text, prefix) == text
    assert len(text) == 30


@given(st.text(max_size=40))
def test_anything_else_is_malformed(text):
    if is_id(text, "ten"):
        return
    with pytest.raises(Malformed):
        parse_id(text, "ten")


def test_a_prefix_is_not_interchangeable():
    with pytest.raises(Malformed):
        parse_id(format_id("agt", os.urandom(16)), "ten")


def test_trailing_newline_and_unicode_digits_are_refused():
    good = format_id("ten", bytes(16))
    for bad in (good + "\n", good.upper(), good[:-1] + "٢", " " + good):
        with pytest.raises(Malformed):
            parse_id(bad, "ten")


def test_short_randomness_is_refused():
    with pytest.raises(ValueError, match="16 random bytes"):
        format_id("ten", b"short")
