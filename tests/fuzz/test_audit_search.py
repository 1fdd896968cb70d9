"""A search's query and an extract's lines, of any bytes: a value, a CallerFault, or a report that finds fault."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partywall.errors import CallerFault
from partywall.gateway.routes.audit_query import PARAMETERS, TYPES, parameters_of, parse_search
from partywall.ledger.archive import PRIMITIVES
from partywall.ledger.extract import verify_export
from partywall.ledger.index_page import HEAD_BYTES, parse_head
from partywall.wire.audit import Search

TEXT = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["0", "1e9", "-1", "9" * 16, "2026-01-31T08:00:00Z", "9999-12-31T23:59:59-23:59", "NaN", "deny"]),
    st.integers().map(str),
    st.datetimes().map(lambda when: when.isoformat()),
    st.sampled_from(["agt", "usr", "act", "xyz"]).map(lambda prefix: f"{prefix}_{'a' * 26}"),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(PARAMETERS), TEXT, max_size=4))
def test_a_query_is_a_search_or_malformed(query):
    try:
        search = parse_search(query)
    except CallerFault:
        return
    assert isinstance(search, Search)
    recorded = parameters_of("search", search)
    assert "reason" not in query or recorded["reason"] == "(text)"
    json.dumps(recorded)


def test_every_parameter_has_a_type_in_the_document():
    assert set(TYPES) == set(PARAMETERS)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
HEADS = st.fixed_dictionaries(
    {"extract": st.just(1)},
    optional=dict.fromkeys(("log", "origin", "vkey", "keys", "checkpoint", "search"), VALUES),
)
LINES = st.one_of(
    st.binary(max_size=40),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("seq", "leaf", "proof"), VALUES)).map(
        lambda value: json.dumps(value).encode()
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(HEADS.map(lambda value: json.dumps(value).encode()), st.lists(LINES, max_size=4))
def test_lines_are_reported_on_or_malformed(head, lines):
    try:
        report = verify_export([head, *lines], PRIMITIVES)
    except CallerFault:
        return
    assert not report.holds
    assert report.proven == 0


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_any_bytes_are_an_archive_an_extract_or_malformed(lines):
    with pytest.raises(CallerFault):
        verify_export(lines, PRIMITIVES)


@given(st.binary(max_size=HEAD_BYTES + 2))
def test_a_head_is_of_its_size_or_none(data):
    if len(data) != HEAD_BYTES:
        with pytest.raises(ValueError, match="not a head"):
            parse_head(data)
