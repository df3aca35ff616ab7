"""The bodies of requests in OpenAI's shape, checked. Plain data: nothing is done with them here.

A field of the wrong type is refused, and so is one that nobody knows, unless leaving it out changes nothing in the
answer (`_Body`'s own). Fields that OpenAI lacks (`top_k`, `min_p`, `repetition_penalty`, `ignore_eos`, `priority`) have
the names that other servers gave them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gemwright.server.errors import ApiError

_TEXTS = 16  # stop strings of a request
_STOP = 256  # characters of one
_WORD = 2**63
_FORM = re.compile(r"str|int|float|bool|none|ImageUrl|constrained-\w+|.*\[.*", re.DOTALL)

Stop = Annotated[str, Field(min_length=1, max_length=_STOP)]
Id = Annotated[int, Field(ge=0)]
# One wrong item is enough: a large body must not become a larger list of errors.
Ids = Annotated[list[Id], Field(fail_fast=True)]
Texts = Annotated[list[str], Field(fail_fast=True)]
Prompts = str | Texts | Ids | Annotated[list[Ids], Field(fail_fast=True)]
Whole = Annotated[int, Field(ge=1)]
Priority = Annotated[int, Field(ge=-100, le=0)]  # a client may stand back for others, none may push ahead of them
Objects = Annotated[list[dict[str, Any]], Field(fail_fast=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Body(_Strict):
    """What every body may have. All but `model` is taken and not used: it does not change an answer."""

    model: str | None = None
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None


class StreamOptions(_Strict):
    """How a stream is sent. `include_obfuscation` is taken and not used: nothing is padded."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class _Drawing(_Body):
    """How to draw, for all routes that draw."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: Annotated[int, Field(ge=-_WORD, lt=_WORD)] | None = None
    stop: Stop | Annotated[list[Stop], Field(fail_fast=True, max_length=_TEXTS)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(default=None, max_length=1024)
    ignore_eos: bool | None = None
    n: Whole | None = None
    priority: Priority | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class ImageUrl(_Strict):
    """Where a picture is: a data URL. `detail` as OpenAI names it."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class Part(_Strict):
    """A part of a message: text, or a picture. Which fields it must have depends on `type`."""

    type: Literal["text", "image_url", "refusal", "input_text", "output_text", "input_image"]
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    detail: Literal["auto", "low", "high"] | None = None
    annotations: Any = None
    logprobs: Any = None


class MessageIn(_Strict):
    """A message of a conversation, also as this server's own answers have it."""

    role: Literal["system", "developer", "user", "assistant", "model", "tool", "function"]
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = None
    name: str | None = None
    tool_calls: Objects | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    function_call: Any = None
    annotations: Any = None
    audio: None = None
    type: Literal["message"] | None = None  # of an item of the responses route, which may have these too
    id: str | None = None
    status: str | None = None
    phase: Any = None


class ChatBody(_Drawing):
    """POST /v1/chat/completions."""

    messages: Annotated[list[MessageIn], Field(fail_fast=True, min_length=1)]
    max_tokens: Whole | None = None
    max_completion_tokens: Whole | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Objects | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[Literal["text"]] | None = None


class CompletionBody(_Drawing):
    """POST /v1/completions."""

    prompt: Prompts
    max_tokens: Whole | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: Whole | None = None
    suffix: str | None = None


class ResponsesBody(_Body):
    """POST /v1/responses. The server keeps no responses: each request brings its whole conversation."""

    input: str | Annotated[list[MessageIn], Field(fail_fast=True, min_length=1)]
    instructions: str | None = None
    max_output_tokens: Whole | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    priority: Priority | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    text: dict[str, Any] | None = None
    tools: Objects | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    include: Texts | None = None
    truncation: Literal["disabled"] | None = None
    previous_response_id: None = None
    background: Literal[False] | None = None


class EmbeddingsBody(_Body):
    """POST /v1/embeddings."""

    input: Prompts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Whole | None = None


AnyBody = TypeVar("AnyBody", bound=BaseModel)


def parse(kind: type[AnyBody], data: bytes) -> AnyBody:
    """The body in `data`. Raises `ApiError` 400 that names the first field at fault."""
    try:
        return kind.model_validate_json(data or b"null")
    except ValidationError as error:
        # Of the forms that a field may have, the one that came nearest says most: not a mere wrong type, far inside.
        found = error.errors(include_url=False, include_input=False, include_context=False)
        first = min(found, key=lambda one: (one["type"].endswith("_type"), -len(one["loc"])))
        if first["type"] == "json_invalid":
            raise ApiError(400, f"the body is no JSON: {first['msg']}", code="invalid_json") from None
        path = _path(first["loc"])
        code = "unknown_parameter" if first["type"] == "extra_forbidden" else "invalid_value"
        said = "this server does not know this field" if code == "unknown_parameter" else first["msg"]
        message = f"{path}: {said}" if path else f"the body is not an object of this route: {said}"
        raise ApiError(400, message, param=path or None, code=code) from None


def _path(places: tuple[int | str, ...]) -> str:
    """`messages.0.content`: where a value stands, without the names that pydantic gives to the forms of a union."""
    return ".".join(str(at) for at in places if not _FORM.fullmatch(str(at)))
