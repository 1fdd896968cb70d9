"""Entity tags and idempotency keys as headers carry them: read exactly, or refused with a word of what to do."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partywall.errors import CallerFault, Malformed
from partywall.gateway.routes.request import conditions_of
from partywall.wire.conditions import ANY, Conditions, etag_of, parse_key, parse_tags

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"'), max_size=40)


def test_a_tag_is_of_exactly_these_bytes():
    assert etag_of(b"{}") == etag_of(b"{}") != etag_of(b"{} ")
    assert parse_tags(etag_of(b"{}"), weak=False) == [etag_of(b"{}")]


@given(st.lists(visible, min_size=1, max_size=16))
def test_tags_are_read_as_they_were_given(values):
    tags = [f'"{value}"' for value in values]
    assert parse_tags(" , ".join(tags), weak=False) == tags
    assert parse_tags(",".join(f"W/{tag}" for tag in tags), weak=True) == tags
    assert parse_tags(",".join(f"W/{tag}" for tag in tags), weak=False) == []


@given(st.text(max_size=200))
def test_any_header_is_read_or_refused(header):
    for parse in (
        lambda: parse_tags(header, weak=True),
        lambda: parse_key(header),
        lambda: conditions_of("PUT", header, header, conditional=True, idempotent=True),
    ):
        with contextlib.suppress(CallerFault):
            parse()


@given(visible.filter(bool))
def test_a_key_is_the_same_quoted_or_not(key):
    assert parse_key(key) == parse_key(f'"{key}"') == parse_key(f" {key} ") == key


def test_any_state_and_none():
    assert parse_tags(" * ", weak=False) == [ANY]
    assert conditions_of("PUT", None, None, conditional=True, idempotent=True) is None
    weak = conditions_of("PUT", 'W/"x"', None, conditional=True, idempotent=True)
    assert weak == Conditions(if_match=['""'])  # nothing has this tag, so nothing is changed


def test_what_a_route_does_not_look_at_is_refused_and_what_changes_nothing_is_not():
    for given_ in (('"x"', None), (None, "k")):
        with pytest.raises(Malformed) as caught:
            conditions_of("POST", *given_, conditional=False, idempotent=False)
        assert caught.value.code == "unsupported-condition"
    assert conditions_of("GET", None, "k", conditional=False, idempotent=False) is None
    assert conditions_of("DELETE", None, "k", conditional=True, idempotent=False) is None
