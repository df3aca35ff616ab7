"""From a checked body to what is asked of the engine: conversations or prompts, and how to draw. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from gemwright.engine.request import Sampling
from gemwright.errors import UserError
from gemwright.image.data_url import is_data_url, read_data_url
from gemwright.server.errors import ApiError, unsupported
from gemwright.server.schema import ChatBody, CompletionBody, EmbeddingsBody, ImageUrl, MessageIn, Part, ResponsesBody
from gemwright.text.calls import Call
from gemwright.text.pieces import START_OF_IMAGE
from gemwright.text.tools import Choice, Result, Tool, calls_text, instructions, read_choice, read_tools, results_text

Route = Literal["chat", "completion", "response"]

_ROLES = {"developer": "system", "assistant": "model"}
_REMOTE = ("http://", "https://")
_NONE = Choice("none")
_RESULT = ("tool", "function")
_PICTURES = ("image_url", "input_image")

Fetched = Mapping[str, bytes]  # files by their addresses
NOTHING: Fetched = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A picture's file. `pan_scan`: shown whole and, where it is wide or tall, in crops (the client's `detail: high`).
    `param`: where it stood in the body."""

    data: bytes
    pan_scan: bool
    param: str


@dataclass(frozen=True, kw_only=True)
class Said:
    """One message: `role` "system", "user" or "model". `images` are its pictures, in order; the text says
    `<start_of_image>` where each stands."""

    role: str
    text: str
    images: tuple[Photo, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What the answer's form may or must be: tools that it may call, several in one answer if `parallel`, and
    `response_format` as the client wrote it. Empty and `None` where nothing is asked."""

    tools: tuple[Tool, ...] = ()
    choice: Choice = _NONE
    parallel: bool = True
    response_format: dict[str, Any] | None = None

    @property
    def names(self) -> frozenset[str]:
        """The tools that an answer may call."""
        return frozenset() if self.choice.mode == "none" else frozenset(tool.name for tool in self.tools)


Prompt = str | tuple[int, ...] | tuple[Said, ...]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request for text. It has `len(prompts) * n` answers, in this order: all of the first prompt, then the next.
    `priority`: of all of them, 0 or less."""

    route: Route
    model: str | None
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    n: int
    priority: int = 0
    stream: bool
    include_usage: bool
    structure: Structure

    @property
    def shows(self) -> bool:
        """Whether any of its prompts has a picture."""
        return any(isinstance(said, Said) and said.images for prompt in self.prompts for said in prompt)

    def samplings(self) -> list[Sampling]:
        """One for each answer of a prompt: a seed given draws `n` different texts, the first as if alone."""
        seed = self.sampling.seed
        return [replace(self.sampling, seed=None if seed is None else seed + index) for index in range(self.n)]


def of_chat(body: ChatBody, fetched: Fetched = NOTHING) -> Ask:
    """What a chat asks for; `fetched`: the pictures at its `addresses`. Raises `ApiError` or `UserError` for what
    cannot be done."""
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    wanted = body.response_format
    plain = wanted is None or wanted.get("type") == "text"
    with _naming("tools"):
        tools = read_tools(body.tools or ())
    with _naming("tool_choice"):
        choice = read_choice(body.tool_choice, tools)
    parallel = body.parallel_tool_calls is not False
    form = None if plain else wanted
    structure = Structure(tools=tools, choice=choice, parallel=parallel, response_format=form)
    said = _conversation(body.messages, "messages", fetched)
    if told := instructions(tools, choice, parallel):
        place = 1 if said[0].role == "system" else 0  # after the system text, before the first question
        said = _merged([*said[:place], Said(role="system", text=told), *said[place:]], "messages")
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    return Ask(
        route="chat",
        prompts=(said,),
        sampling=_sampling(body, limit, logprobs),
        structure=structure,
        **_manner(body),
    )


def of_completion(body: CompletionBody) -> Ask:
    """What a completion asks for. Raises as `of_chat` does."""
    if body.echo:
        raise unsupported("echo", "echo")
    if body.suffix:
        raise unsupported("suffix", "suffix")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise unsupported("best_of other than n", "best_of")
    return Ask(
        route="completion",
        prompts=texts_or_ids(body.prompt, "prompt"),
        sampling=_sampling(body, body.max_tokens, body.logprobs),
        structure=Structure(),
        **_manner(body),
    )


def of_response(body: ResponsesBody, fetched: Fetched = NOTHING) -> Ask:
    """What the responses route asks for. Raises as `of_chat` does."""
    if isinstance(body.input, str):
        said = (Said(role="user", text=body.input),)
    else:
        said = _conversation(body.input, "input", fetched)
    if body.instructions:
        said = _merged([Said(role="system", text=body.instructions), *said], "input")
    wanted = (body.text or {}).get("format")
    if wanted is not None and not isinstance(wanted, dict):
        raise ApiError(400, "text.format must be an object", param="text.format")
    plain = wanted is None or wanted.get("type") == "text"
    if body.tools and body.tool_choice != "none":
        raise unsupported("tools on this route (chat completions has them)", "tools")
    included = body.include or []
    if other := [name for name in included if name != "message.output_text.logprobs"]:
        raise unsupported(f"include {other[0]}", "include")
    top = body.top_logprobs
    logprobs = (top or 0) if included or top is not None else None
    sampling = Sampling(
        max_tokens=body.max_output_tokens, temperature=body.temperature, top_p=body.top_p, logprobs=logprobs
    )
    return Ask(
        route="response",
        model=body.model,
        prompts=(said,),
        sampling=sampling,
        n=1,
        priority=body.priority or 0,
        stream=bool(body.stream),
        include_usage=True,
        structure=Structure(response_format=None if plain else wanted),
    )


def texts_or_ids(given: str | Sequence[Any], param: str) -> tuple[str | tuple[int, ...], ...]:
    """The prompts of a field that takes one text, several, one list of ids, or several."""
    if isinstance(given, str):
        return (given,)
    if not given:
        raise ApiError(400, f"{param} is empty", param=param)
    if isinstance(given[0], int):
        return (tuple(given),)
    return tuple(one if isinstance(one, str) else tuple(one) for one in given)


def embedded(body: EmbeddingsBody, width: int) -> tuple[str | tuple[int, ...], ...]:
    """What is to be embedded by a model of that width. Raises `ApiError` for another width, and for nothing."""
    if body.dimensions not in (None, width):
        raise ApiError(400, f"dimensions is {body.dimensions}, this model's are {width}", param="dimensions")
    inputs = texts_or_ids(body.input, "input")
    if not all(inputs):
        raise ApiError(400, "an input is empty", param="input")
    return inputs


def _manner(body: ChatBody | CompletionBody) -> dict[str, Any]:
    """How the answer is delivered."""
    options = body.stream_options
    if options is not None and not body.stream:
        raise ApiError(400, "stream_options needs stream to be true", param="stream_options")
    return {
        "model": body.model,
        "n": body.n or 1,
        "priority": body.priority or 0,
        "stream": bool(body.stream),
        "include_usage": bool(options and options.include_usage),
    }


def _sampling(body: ChatBody | CompletionBody, max_tokens: int | None, logprobs: int | None) -> Sampling:
    for name in ("frequency_penalty", "presence_penalty"):
        if getattr(body, name):
            raise unsupported(f"{name} other than 0 (repetition_penalty is)", name)
    bias: dict[int, float] = {}
    for id, value in (body.logit_bias or {}).items():
        if not (id.isascii() and id.isdigit() and len(id) < 10):
            raise ApiError(400, f"logit_bias has the key {id[:40]!r}, it must be a token id", param="logit_bias")
        bias[int(id)] = value
    return Sampling(
        max_tokens=max_tokens,
        temperature=body.temperature,
        top_k=body.top_k,
        top_p=body.top_p,
        min_p=body.min_p,
        repetition_penalty=body.repetition_penalty,
        seed=body.seed,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        logit_bias=bias,
        ignore_eos=bool(body.ignore_eos),
        logprobs=logprobs,
    )


@contextmanager
def _naming(param: str) -> Iterator[None]:
    """Mistakes found inside are those of this field."""
    try:
        yield
    except UserError as error:
        raise ApiError(400, str(error), param=param) from error


def _conversation(messages: Sequence[MessageIn], param: str, fetched: Fetched) -> tuple[Said, ...]:
    """The messages as the engine's layout knows them: calls stand in the model's turn, their results in the user's."""
    said: list[Said] = []
    asked: dict[str, str] = {}  # names of the tools that were called, by the call's id
    results: list[Result] = []
    for index, message in enumerate(messages):
        where = f"{param}.{index}"
        text, images = _content(message.content, f"{where}.content", fetched)
        role = _ROLES.get(message.role, message.role)
        if images and role != "user":
            raise ApiError(400, "only a user's message can have pictures", param=f"{where}.content")
        if role in _RESULT:
            name = asked.get(message.tool_call_id or "", message.name or "")
            if not name:
                raise ApiError(400, "this answers no call of the conversation", param=f"{where}.tool_call_id")
            results.append(Result(name=name, content=text))
            if index + 1 < len(messages) and messages[index + 1].role in _RESULT:
                continue  # the results of several calls stand together
            role, text, results = "user", results_text(results), []
        elif message.tool_calls:
            with _naming(f"{where}.tool_calls"):
                calls = calls_text([_call(call, asked) for call in message.tool_calls])
            text = "\n".join(filter(None, [text, calls]))
        said.append(Said(role=role, text=text or message.refusal or "", images=images))
    return _merged(said, param)


def _call(given: dict[str, Any], asked: dict[str, str]) -> Call:
    """A call that the client says was made; `asked` learns its id."""
    function = given.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise UserError("a call has no function", hint="give its name, and its arguments as text")
    asked[str(given.get("id", ""))] = name
    return Call(name, arguments)


def _merged(said: Sequence[Said], param: str) -> tuple[Said, ...]:
    """Neighbours of one role as one message, a blank line between them: the model knows alternating turns only, and
    clients send several system messages, or a question in two parts."""
    out: list[Said] = []
    for message in said:
        if out and out[-1].role == message.role:
            texts = [text for text in (out[-1].text, message.text) if text]
            joined = out[-1].images + message.images
            out[-1] = Said(role=message.role, text="\n\n".join(texts), images=joined)
        else:
            out.append(message)
    if out and out[-1].role == "model":
        raise ApiError(400, "the last message is the assistant's: there is nothing to answer", param=param)
    return tuple(out)


def _content(content: str | list[Part] | None, param: str, fetched: Fetched) -> tuple[str, tuple[Photo, ...]]:
    """Text and pictures of a message; its parts are joined as they are. A text that names the mark of a picture itself
    gives more marks than pictures, which is refused when the message is laid out."""
    if content is None or isinstance(content, str):
        return content or "", ()
    texts: list[str] = []
    images: list[Photo] = []
    for index, part in enumerate(content):
        where = f"{param}.{index}"
        if part.type in _PICTURES:
            url, detail = _pictured(part)
            data = picture_bytes(url, f"{where}.image_url", fetched)
            images.append(Photo(data=data, pan_scan=detail == "high", param=where))
            texts.append(START_OF_IMAGE)
            continue
        text = part.refusal if part.type == "refusal" else part.text
        if text is None:
            raise ApiError(400, f"a part of type {part.type} needs its text", param=where)
        texts.append(text)
    return "".join(texts), tuple(images)


def _pictured(part: Part) -> tuple[str | None, str | None]:
    """The address of a part's picture, and its detail."""
    given = part.image_url
    return (given.url, given.detail) if isinstance(given, ImageUrl) else (given, part.detail)


def addresses(messages: Sequence[MessageIn]) -> list[str]:
    """The http and https addresses of the pictures in these messages."""
    parts = [part for message in messages if isinstance(message.content, list) for part in message.content]
    urls = [_pictured(part)[0] or "" for part in parts if part.type in _PICTURES]
    return [url for url in urls if url.lower().startswith(_REMOTE)]


def picture_bytes(url: str | None, param: str, fetched: Fetched = NOTHING) -> bytes:
    """The file in a data URL, or one that was fetched."""
    if url and url in fetched:
        return fetched[url]
    if not url or not is_data_url(url):
        raise ApiError(
            400,
            "pictures come as data URLs (data:image/png;base64,...); this server does not fetch this address",
            param=param,
            code="invalid_image_url",
        )
    try:
        return read_data_url(url)
    except UserError as error:
        raise ApiError(400, str(error), param=param, code="invalid_image") from None
