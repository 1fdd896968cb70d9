"""What of OpenAI's embeddings crosses the wall: text in, vectors out. Lists of token numbers are refused: they are of
another tokenizer. Source: conventions.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from partywall.errors import Malformed
from partywall.wire.openai import Count, Name

STRIPPED: Final = frozenset({"user"})
INPUTS_LIMIT: Final = 1_024
INPUT_LIMIT_CHARACTERS: Final = 32_768

Input = Annotated[str, Meta(min_length=1, max_length=INPUT_LIMIT_CHARACTERS)]


class EmbeddingsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Texts to embed. dimensions: only the model's own are accepted."""

    model: Name
    input: Input | Annotated[list[Input], Meta(min_length=1, max_length=INPUTS_LIMIT)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None

    @property
    def texts(self) -> list[str]:
        """The input as a list."""
        return [self.input] if isinstance(self.input, str) else self.input


class Embedding(msgspec.Struct, frozen=True):
    """One vector: numbers, or base64 of little-endian 32-bit floats."""

    index: Count
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingsUsage(msgspec.Struct, frozen=True):
    """Token counts."""

    prompt_tokens: Count = 0
    total_tokens: Count = 0


class EmbeddingsReply(msgspec.Struct, frozen=True):
    """The vectors in the order of the texts; rebuilt from these fields alone."""

    data: list[Embedding]
    model: str = ""
    usage: EmbeddingsUsage = EmbeddingsUsage()
    object: str = "list"


def parse_embeddings(value: Any) -> EmbeddingsRequest:
    """Return the request that a parsed JSON value means. Raises: Malformed, naming the field."""
    if not isinstance(value, dict):
        raise Malformed("the body is not an object", code="bad-request")
    _refuse_tokens(value.get("input"))
    try:
        return msgspec.convert({k: v for k, v in value.items() if k not in STRIPPED}, EmbeddingsRequest)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)[:200], code="bad-request") from error


def _refuse_tokens(given: Any) -> None:
    first = given[0] if isinstance(given, list) and given else None
    if isinstance(first, int | list):
        raise Malformed(
            "`input` is a string or a list of strings: token numbers mean nothing to another model"
            " (LangChain: check_embedding_ctx_length=False)",
            code="tokens-not-supported",
        )
