"""What of OpenAI's chat completions crosses the wall: each field passes, is stripped, or is refused.

Pass: what shapes one completion. Strip: what only OpenAI's own platform means. Everything else is refused, above all
what would choose an upstream, a key, a cache or a slot. Source: conventions.md, attacks.md KV-1.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from partywall.errors import Malformed

STRIPPED: Final = frozenset(
    {
        "metadata",
        "store",
        "user",
        "safety_identifier",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "cache_salt",
        "modalities",
        "verbosity",
    }
)
"""Fields that clients send by habit; they mean nothing here and travel no further."""

Text = Annotated[str, Meta(max_length=1_000_000)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
"""What an upstream says it used: it goes into a record, so it fits what a record can hold."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class TextPart(_Strict, frozen=True):
    """A part of a message; only text crosses in this version."""

    type: Literal["text"]
    text: Text


class FunctionCall(_Strict, frozen=True):
    """What an assistant asked for earlier."""

    name: Name
    arguments: Text


class ToolCall(_Strict, frozen=True):
    """One earlier tool call."""

    id: Annotated[str, Meta(max_length=128)]
    type: Literal["function"]
    function: FunctionCall


class Message(_Strict, frozen=True):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[TextPart], Meta(max_length=256)] | None = None
    name: Name | None = None
    tool_calls: Annotated[list[ToolCall], Meta(max_length=128)] | None = None
    tool_call_id: Annotated[str, Meta(max_length=128)] | None = None
    refusal: None = None


class Function(_Strict, frozen=True):
    """A function that the model may ask for."""

    name: Name
    description: Text = ""
    parameters: dict[str, Any] = {}
    strict: bool | None = None


class Tool(_Strict, frozen=True):
    """A tool on offer."""

    type: Literal["function"]
    function: Function


class StreamOptions(_Strict, frozen=True):
    """Whether usage is sent at the end of a stream."""

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatRequest(_Strict, frozen=True):
    """A chat completion as it crosses. Unknown fields are refused; `n` is 1."""

    model: Name
    messages: Annotated[list[Message], Meta(min_length=1, max_length=2048)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Text | Annotated[list[Text], Meta(max_length=16)] | None = None
    n: Literal[1] = 1
    tools: Annotated[list[Tool], Meta(max_length=256)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    logprobs: Literal[False] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None


def parse_chat(value: Any) -> ChatRequest:
    """Return the request that a parsed JSON value means. Raises: Malformed, naming the field."""
    if not isinstance(value, dict):
        raise Malformed("the body is not an object", code="bad-request")
    kept = {name: inner for name, inner in value.items() if name not in STRIPPED} if STRIPPED & value.keys() else value
    try:
        return msgspec.convert(kept, ChatRequest)
    except msgspec.ValidationError as error:
        raise Malformed(_field_of(str(error)), code="bad-request") from error


def _field_of(text: str) -> str:
    """Return msgspec's message, which names fields and types and never holds a value; unknown fields are bounded."""
    return text[:200]


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    total_tokens: Count = 0

    def as_dict(self) -> dict[str, int]:
        """For the record."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }


class _ReplyFunction(msgspec.Struct, frozen=True):
    name: str = ""
    arguments: str = ""


class _ReplyToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str = ""
    type: str = ""
    function: _ReplyFunction = _ReplyFunction()
    index: int | None = None


class _ReplyMessage(msgspec.Struct, frozen=True):
    role: str = "assistant"
    content: str | None = None
    tool_calls: list[_ReplyToolCall] | msgspec.UnsetType = msgspec.UNSET


class _Choice(msgspec.Struct, frozen=True):
    index: int
    message: _ReplyMessage
    finish_reason: str | None = None


class ChatReply(msgspec.Struct, frozen=True):
    """A completion, rebuilt from these fields alone: cache, timing and fingerprint fields of an upstream end here."""

    choices: list[_Choice]
    usage: _Usage = _Usage()
    id: str = ""
    created: int = 0
    model: str = ""
    object: str = "chat.completion"


class _DeltaMessage(msgspec.Struct, frozen=True):
    role: str | None = None
    content: str | None = None
    tool_calls: list[_ReplyToolCall] = []


class _DeltaChoice(msgspec.Struct, frozen=True):
    delta: _DeltaMessage = _DeltaMessage()
    index: int = 0
    finish_reason: str | None = None


class ChatChunk(msgspec.Struct, frozen=True):
    """One streamed piece, as an upstream sends it; only these fields are read."""

    choices: list[_DeltaChoice] = []
    usage: _Usage | None = None


class Usage(_Usage, frozen=True):
    """Token counts of one completion."""
