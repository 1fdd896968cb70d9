"""Text that is streamed in pieces leaves exactly as if it had come at once, whatever the cuts."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from partywall.decision.labels import Classification, Label
from partywall.decision.verdict import Redact, Tag, Truncate
from partywall.gateway.obligations import ALWAYS, HELD_LIMIT, PATTERNS, Shaper, shape_json, truncate
from partywall.gateway.stream import HoldBack
from partywall.wire.ids import TenantId

KEY = "pw_" + "a2" * 13 + "_" + "Ab-_" * 10 + "xyz"
JWT = "eyJhbGciOiJFZERTQSJ9." + "eyJzdWIiOiJhZ3QifQ" * 30 + "." + "c2ln" * 22
SECRETS = [
    KEY,
    JWT,
    "ada@example.org",
    "DE89 3704 0044 0532 0130 00",
    "4111 1111 1111 1111",
    "+49 170 1234567",
    "sk-abcdefghijklmnop",
]
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            [*SECRETS, *[s[: len(s) // 2] for s in SECRETS], " ", ".", "\n", "pw", "e", "ey", "A", "1", "+"]
        ),
        st.text(max_size=12),
    ),
    max_size=8,
).map("".join)


def pieces(text, cuts):
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(edges)]


def streamed(shaper, text, cuts):
    held = HoldBack(shaper)
    return "".join([*(held.feed(piece) for piece in pieces(text, cuts)), held.flush()])


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 10_000), max_size=20), st.sets(st.sampled_from(sorted(PATTERNS))))
def test_what_the_whole_hides_never_leaves_in_pieces(text, cuts, detectors):
    """Where words run into each other a cut may hide more than the whole would; never less."""
    shaper = Shaper([Redact(tuple(sorted(detectors)))])
    whole, out = shaper.redact(text), streamed(shaper, text, cuts)
    for secret in SECRETS:
        assert secret in whole or secret not in out


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([*SECRETS, "word", "A1", "pw", "ey"]), max_size=8),
    st.lists(st.integers(0, 10_000), max_size=20),
)
def test_separate_words_leave_as_the_whole_would(words, cuts):
    text = " - ".join(words)
    shaper = Shaper([Redact(tuple(sorted(PATTERNS)))])
    assert streamed(shaper, text, cuts) == shaper.redact(text)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_our_own_credentials_never_leave_even_one_character_at_a_time(text):
    held = HoldBack(Shaper([]))
    seen = ""
    for piece in text + KEY + " " + JWT:
        seen += held.feed(piece)
    seen += held.flush()
    assert KEY not in seen
    assert JWT not in seen


def test_where_a_cut_falls_does_not_move_the_border_of_a_word():
    """Found by the property above: after a cut, digits that a letter precedes look like a word of their own."""
    text = KEY + "4111 11114111 1111 1111 1111"
    shaper = Shaper([Redact(("card",))])
    for cut in range(len(text)):
        assert streamed(shaper, text, [cut]) == shaper.redact(text)


def test_a_word_without_end_is_not_held_back_without_end():
    held = HoldBack(Shaper([]))
    assert held.feed("token eyJhbGciOiJFZERTQSJ9.c2lnc2ln.") == "token "
    out = "".join(held.feed("c2lnc2ln" * 100) for _ in range(40))
    assert len(held._text) <= HELD_LIMIT
    out += held.feed("c2ln and the rest") + held.flush()
    assert out == "[redacted:credential] and the rest"


def test_a_long_piece_is_held_back_like_a_short_one():
    held = HoldBack(Shaper([Redact(("card",))]))
    out = held.feed("word " * 4_000 + "4111 1111 ") + held.feed("1111 1111.") + held.flush()
    assert out.endswith("word [redacted:card].")


def test_ordinary_text_is_not_delayed():
    held = HoldBack(Shaper([]))
    assert held.feed("Hello world. ") == "Hello world. "
    assert held.feed("pw is a word") == "pw is a word"
    assert held.feed(" pw_") == " "


@given(st.text(max_size=50), st.integers(0, 60))
def test_truncation_is_at_a_character_boundary_and_never_longer(text, limit):
    cut = truncate(text, limit)
    assert len(cut.encode()) <= limit
    assert text.startswith(cut)


@given(TEXTS, st.integers(0, 40), st.lists(st.integers(0, 10_000), max_size=6))
def test_a_truncated_stream_never_sends_more(text, limit, cuts):
    held = HoldBack(Shaper([Truncate(limit)]))
    out = "".join([*(held.feed(piece) for piece in pieces(text, cuts)), held.flush()])
    assert len(out.encode()) <= limit


def test_an_unknown_detector_hides_everything():
    assert Shaper([Redact(("nonsense",))]).redact("anything") == "[redacted:nonsense]"


def test_cards_are_checked_by_luhn():
    shaper = Shaper([Redact(("card",))])
    assert shaper.redact("4111 1111 1111 1111") == "[redacted:card]"
    assert shaper.redact("4111 1111 1111 1112") == "4111 1111 1111 1112"


def test_json_strings_are_shaped_and_the_rest_is_not():
    body = b'{"n":1,"text":"mail ada@example.org","list":["x",null,true]}'
    assert (
        shape_json(body, Shaper([Redact(("email",))]))
        == b'{"n":1,"text":"mail [redacted:email]","list":["x",null,true]}'
    )
    assert shape_json(body, Shaper([])) is body
    assert KEY.encode() not in shape_json(b'{"a":"' + KEY.encode() + b'"}', Shaper([]))


def test_tags_only_raise():
    label = Label(tenant=TenantId("ten_x"), classification=Classification.CONFIDENTIAL)
    assert Shaper([Tag(1)]).label(label).classification == Classification.CONFIDENTIAL
    assert Shaper([Tag(3)]).label(label).classification == Classification.RESTRICTED
    assert ALWAYS == ("credential",)
