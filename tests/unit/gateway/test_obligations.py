"""What obligations do to a JSON reply: content is redacted and cut short, the words of its protocol are not."""

import json

import msgspec
import pytest

from partywall.decision.verdict import Redact, Tag, Truncate
from partywall.gateway.obligations import FRAME_LIMIT, PATTERNS, Shaper, shape_json

KEY = "pw_" + "a2" * 13 + "_" + "Ab-_" * 10 + "xyz"
CHAT = {
    "choices": [{"finish_reason": "stop", "index": 0, "message": {"content": "twelve bytes", "role": "assistant"}}],
    "id": "chatcmpl-" + "a" * 26,
    "model": "m",
    "object": "chat.completion",
}


def shaped(value, *obligations):
    return json.loads(shape_json(msgspec.json.encode(value), Shaper(obligations)))


def test_a_completion_that_is_cut_short_is_still_a_completion():
    cut = shaped(CHAT, Truncate(6))
    assert cut["choices"][0]["message"]["content"] == "twelve"
    cut["choices"][0]["message"]["content"] = "twelve bytes"
    assert cut == CHAT


def test_the_budget_is_of_the_whole_reply():
    assert shaped({"a": "four", "b": "more", "c": ["x"]}, Truncate(6)) == {"a": "four", "b": "mo", "c": [""]}
    assert shaped(["ab", "cdéf", "g"], Truncate(5)) == ["ab", "cd", ""]
    assert shaped({"a": "x"}, Truncate(9), Truncate(0)) == {"a": ""}


def test_a_protocol_word_is_short():
    assert shaped({"id": "x" * (FRAME_LIMIT + 1)}, Truncate(1)) == {"id": "x"}


def test_names_and_protocol_words_are_redacted_too():
    for value in ({KEY: 1}, {"id": KEY}, [{"deep": {KEY: [KEY]}}]):
        assert KEY not in json.dumps(shaped(value))
    assert shaped({"ada@example.org": {"name": "ada@example.org"}}, Redact(("email",))) == {
        "[redacted:email]": {"name": "[redacted:email]"}
    }


@pytest.mark.parametrize(
    ("detector", "text", "told"),
    [
        ("email", "to ada.b+c@mail.example.org, now", "to [redacted:email], now"),
        ("email", "a@b is none", "a@b is none"),
        ("iban", "DE89370400440532013000 and GB29 NWBK 6016 1331 9268 19.", "[redacted:iban] and [redacted:iban]."),
        ("card", "4111-1111-1111-1111", "[redacted:card]"),
        ("card", "order 4111111111111112", "order 4111111111111112"),
        ("phone", "+46 70 123 45 67", "[redacted:phone]"),
        ("phone", "1 + 2345678", "1 + 2345678"),
        ("secret", "AKIAIOSFODNN7EXAMPLE", "[redacted:secret]"),
        ("secret", "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[redacted:secret]"),
        ("credential", f"use {KEY}!", "use [redacted:credential]!"),
        ("credential", "pw_short", "pw_short"),
    ],
)
def test_each_detector(detector, text, told):
    assert Shaper([Redact((detector,))]).redact(text) == told


def test_overlapping_matches_are_hidden_as_one():
    text = f"{KEY}@example.org"
    assert Shaper([Redact(tuple(PATTERNS))]).redact(text) == "[redacted:credential]"


def test_numbers_and_nothing_are_left_alone():
    value = {"a": [1, 2.5, None, True, {}], "b": []}
    assert shaped(value, Redact(("email",)), Truncate(0), Tag(2)) == value
