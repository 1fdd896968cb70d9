"""The look at the bytes alone never passes what the look at every member refuses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partywall.errors import Malformed
from partywall.wire.strict_json import check_bounds, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(), max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def outcome(work):
    try:
        return work()
    except Malformed as error:
        return error.code


@given(VALUES, st.integers(1, 8), st.integers(1, 40), st.booleans())
def test_the_short_way_and_the_long_way_agree(value, depth_limit, node_limit, ascii_only):
    raw = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    short = outcome(lambda: parse_json(raw, depth_limit=depth_limit, node_limit=node_limit))

    def long():
        check_bounds(value, depth_limit=depth_limit, node_limit=node_limit)
        return value

    assert short == outcome(long)


@pytest.mark.parametrize("raw", [b'"\\ud800"', b'{"a\\ud800": 1}', b"[" * 64 + b"]" * 64, b"[" * 65 + b"]" * 65])
def test_the_borders(raw):
    expected = outcome(lambda: check_bounds(json.loads(raw)))
    assert outcome(lambda: parse_json(raw)) == (json.loads(raw) if expected is None else expected)
