"""What the gateway asks of the embedding process, and what it answers: one message each, over a local socket.

A message names no tenant, and nothing of it is kept once it is answered. Source: docs/adr/0013-collections.md.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

DIMENSIONS: Final = 384
VECTOR_BYTES: Final = 4 * DIMENSIONS
TOKENS_LIMIT: Final = 512
"""Of one text, its two marks included: the model has positions for no more. What is longer is refused, never cut."""
TEXT_LIMIT_CHARACTERS: Final = 32_768
BATCH_LIMIT: Final = 16
SPLIT_LIMIT_CHARACTERS: Final = 1_048_576
CHUNK_TOKENS: Final = 300
OVERLAP_TOKENS: Final = 50
CHUNK_LIMIT_CHARACTERS: Final = 8_192
"""Of one chunk: a word that the tokenizer does not know is one token, however long it is."""

Text = Annotated[str, Meta(min_length=1, max_length=TEXT_LIMIT_CHARACTERS)]


class Embed(msgspec.Struct, frozen=True, tag=True):
    """Make a vector of each text. Reply: `Embedded`."""

    texts: Annotated[list[Text], Meta(min_length=1, max_length=BATCH_LIMIT)]


class Split(msgspec.Struct, frozen=True, tag=True):
    """Cut a text into chunks of CHUNK_TOKENS with OVERLAP_TOKENS. Reply: `Spans`."""

    text: Annotated[str, Meta(min_length=1, max_length=SPLIT_LIMIT_CHARACTERS)]


class Embedded(msgspec.Struct, frozen=True, tag=True):
    """vectors: little-endian 32-bit floats, DIMENSIONS for each text, each vector of length 1. tokens: of each text."""

    vectors: bytes
    tokens: list[int]


class Spans(msgspec.Struct, frozen=True, tag=True):
    """(start, stop) in characters; together they cover the text."""

    spans: list[tuple[int, int]]


Request = Embed | Split
