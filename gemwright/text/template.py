"""A checkpoint's own chat template, rendered without letting a message write a mark.

Chat templates are jinja programs from the internet, so they run in jinja's immutable sandbox. They never see what was
said: each message's content is a private sentinel, the rendered text is cut at the sentinels, the template's own text
is encoded with special pieces read, and each message is encoded apart as plain text. The ids therefore equal those of
the rendered string except where template and message meet in one piece (two runs of line breaks that would have
become one longer run, for example).

Templates may trim contents, and Gemma's do. A sentinel has no white space at its ends, so trimming leaves it whole;
whether a message's own outer white space survives is found by rendering a second time with that white space around
the sentinels. The sentinel holds quotes, a line break and letters of both cases, so that a template that rewrites
contents in any other way (escaping, upper case, ...) breaks it and is refused instead of being half obeyed.
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gemwright.errors import UserError
from gemwright.text.config_files import read_object, read_text, token_name, tokenizer_config
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import ROLES, Layout, Message, Rendered, Role, add_words, render

BUILT_IN = """\
{{ bos_token }}
{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
{%- if message['content'] is string -%}
{%- set text = message['content'] -%}
{%- else -%}
{%- set text = message['content'] | map(attribute='text') | join -%}
{%- endif -%}
{%- if message['role'] == 'system' -%}
{%- if not loop.first -%}{{ raise_exception('a system message can only come first') }}{%- endif -%}
{%- set ns.system = text + '\\n\\n' -%}
{%- else -%}
{%- set turn = loop.index0 - (1 if messages[0]['role'] == 'system' else 0) -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{%- if role != ('user' if turn % 2 == 0 else 'model') -%}
{{ raise_exception('user and model must alternate, the user first') }}
{%- endif -%}
{{ '<start_of_turn>' + role + '\\n' + ns.system + (text | trim) + '<end_of_turn>\\n' }}
{%- set ns.system = '' -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
"""
"""The layout of `turns` as a jinja template, for programs that want one beside a vocabulary."""


class _GenerationTag(Extension):
    """Accepts `{% generation %}...{% endgeneration %}`, which some templates put around the model's words."""

    tags = {"generation"}  # noqa: RUF012 (jinja's own interface)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as templates on the Hugging Face hub expect it."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.datetime.now().strftime(layout)
    return environment


class ChatTemplate:
    """One compiled template. `text` is its source; `tokens` are the `bos_token` and the like that it may print.

    Raises:
        UserError: the text is not a jinja template.
    """

    def __init__(self, text: str, tokens: dict[str, str]) -> None:
        self.text = text
        self._tokens = tokens
        try:
            self._template = _environment().from_string(text)
        except (jinja2.TemplateError, RecursionError) as error:
            raise UserError(
                f"the checkpoint's chat template is not valid jinja: {error}",
                hint="fetch chat_template.jinja or tokenizer_config.json again",
            ) from error

    def render(
        self,
        messages: Sequence[Message],
        tokenizer: Tokenizer,
        add_generation_prompt: bool = True,
        soft: int | None = None,
    ) -> Rendered:
        """Ids, roles and loss mask of a conversation in this template's layout, beginning with exactly one `<bos>`.

        `loss` is true on the model's messages and on a stop piece directly after one. A template that writes no
        `<bos>` gets one. Pictures are put into the messages as `turns.render` does it, with `soft` tokens each: the
        template never hears of them.

        Raises:
            UserError: the template refuses the conversation, fails, drops or repeats a message, rewrites one in
                another way than trimming, or writes `<bos>` twice; what `turns.render` raises for pictures.
        """
        frames, kept = self._frames(messages, add_generation_prompt)
        stops = {tokenizer.eos, tokenizer.end_of_turn}
        layout = Layout()
        after_model = False
        for index, frame in enumerate(frames):
            ids = tokenizer.encode(frame, special=True)
            closing = 1 if after_model and ids and ids[0] in stops else 0
            layout.add(ids[:closing], Role.FRAME, loss=True)
            layout.add(ids[closing:], Role.FRAME)
            if index < len(kept):
                number, content = kept[index]
                role = ROLES.get(messages[number].role, Role.FRAME)
                after_model = role is Role.MODEL
                add_words(layout, content, messages[number].images, role, tokenizer, soft)
        return _with_one_bos(layout.rendered(), tokenizer)

    def _frames(self, messages: Sequence[Message], prompt: bool) -> tuple[list[str], list[tuple[int, str]]]:
        """The template's text around the messages, and (index, content as the template kept it) for each message."""
        nonce = secrets.token_hex(8)
        marks = [f"\ue000A\"<b\n'{nonce}.{index}&\ue001" for index in range(len(messages))]
        order, bare = self._cut(messages, marks, marks, prompt)
        cores = [message.text.strip() for message in messages]
        edges = [_edges(message.text, core) for message, core in zip(messages, cores, strict=True)]
        if not any(lead or tail for lead, tail in edges):
            return bare, [(index, cores[index]) for index in order]
        filled = [lead + mark + tail for mark, (lead, tail) in zip(marks, edges, strict=True)]
        order_again, edged = self._cut(messages, marks, filled, prompt)
        if order_again != order:
            raise UserError("the chat template orders messages by their white space", hint=_USE_BUILT_IN)
        contents = {index: cores[index] for index in order}
        for gap, (plain, wide) in enumerate(zip(bare, edged, strict=True)):
            before = order[gap - 1] if gap > 0 else None
            after = order[gap] if gap < len(order) else None
            tail = edges[before][1] if before is not None else ""
            lead = edges[after][0] if after is not None else ""
            choices = [("", ""), ("", lead), (tail, ""), (tail, lead)]
            match = next(((left, right) for left, right in choices if left + plain + right == wide), None)
            if match is None:
                near = before if after is None else after
                raise UserError(f"the chat template changes the white space around message {near}", _USE_BUILT_IN)
            if before is not None:
                contents[before] += match[0]
            if after is not None:
                contents[after] = match[1] + contents[after]
        return bare, [(index, contents[index]) for index in order]

    def _cut(
        self, messages: Sequence[Message], marks: list[str], filled: list[str], prompt: bool
    ) -> tuple[list[int], list[str]]:
        """Render with `filled` as contents and cut at `marks`: the messages' order, and the texts around them."""
        text = self._run(messages, filled, prompt)
        for index, mark in enumerate(marks):
            if (count := text.count(mark)) != 1:
                what = "drops or rewrites" if count == 0 else f"repeats {count} times"
                raise UserError(f"the chat template {what} message {index} ({messages[index].role})", _USE_BUILT_IN)
        numbers = {mark: index for index, mark in enumerate(marks)}
        parts = re.split("(" + "|".join(map(re.escape, marks)) + ")", text) if marks else [text]
        return [numbers[mark] for mark in parts[1::2]], parts[0::2]

    def _run(self, messages: Sequence[Message], contents: list[str], prompt: bool) -> str:
        """The template's output for these contents."""
        turns = [
            {"role": "assistant" if ROLES.get(message.role) is Role.MODEL else message.role, "content": content}
            for message, content in zip(messages, contents, strict=True)
        ]
        try:
            return self._template.render(
                **self._tokens, messages=turns, add_generation_prompt=prompt, tools=None, documents=None
            )
        except Exception as error:  # a template is a program from elsewhere: whatever it raises is its refusal
            raise UserError(
                f"the checkpoint's chat template refuses this conversation: {error}",
                hint="check the order of roles; some templates take no system message",
            ) from error


_USE_BUILT_IN = "this template cannot be used safely; render with the built-in layout"


def _edges(text: str, core: str) -> tuple[str, str]:
    """The white space around `core` in `text`; that of a blank text counts as leading."""
    start = len(text) - len(text.lstrip())
    return text[:start], text[start + len(core) :]


def _with_one_bos(rendered: Rendered, tokenizer: Tokenizer) -> Rendered:
    """`rendered`, with a `<bos>` put in front if it has none."""
    count = rendered.ids.count(tokenizer.bos)
    if count > 1 or (count == 1 and rendered.ids[0] != tokenizer.bos):
        raise UserError(f"the chat template writes <bos> {count} times, not once at the start", hint=_USE_BUILT_IN)
    if count == 1:
        return rendered
    images = [(row + 1, image) for row, image in rendered.images]
    return Rendered([tokenizer.bos, *rendered.ids], [Role.FRAME, *rendered.roles], [False, *rendered.loss], images)


def template_text(folder: Path) -> str | None:
    """The chat template's source in a checkpoint's folder: chat_template.jinja, tokenizer_config.json (of several
    the one named "default"), or chat_template.json; None where there is none.

    Raises:
        UserError: one of these files is damaged.
    """
    if (path := folder / "chat_template.jinja").is_file():
        return read_text(path)
    found = tokenizer_config(folder).get("chat_template")
    if found is None and (path := folder / "chat_template.json").is_file():
        found = read_object(path).get("chat_template")
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    if found is not None and not isinstance(found, str):
        raise UserError(f"{folder}: its chat_template is a {type(found).__name__}, not text", hint="fetch it again")
    return found


def load_chat_template(folder: str | Path, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The checkpoint's own template where it differs from the built-in layout; None where `turns.render` is enough.

    Raises:
        UserError: the template's file is damaged, or it is not valid jinja.
    """
    text = template_text(Path(folder))
    if text is None:
        return None
    names = {key: token_name(value) for key, value in tokenizer_config(Path(folder)).items() if key.endswith("_token")}
    return choose_template(text, tokenizer, {key: name for key, name in names.items() if name})


def choose_template(text: str, tokenizer: Tokenizer, tokens: dict[str, str]) -> ChatTemplate | None:
    """The template of that source where it differs from the built-in layout; `tokens`: what it may print besides the
    names of `<bos>` and `<eos>`.

    Raises:
        UserError: it is not valid jinja.
    """
    known = {"bos_token": tokenizer.piece(tokenizer.bos), "eos_token": tokenizer.piece(tokenizer.eos)}
    template = ChatTemplate(text, known | tokens)
    return None if tokenizer.supports_turns and _is_built_in(template, tokenizer) else template


def _is_built_in(template: ChatTemplate, tokenizer: Tokenizer) -> bool:
    """Whether the template gives the built-in ids, tried on conversations of each shape.

    A template that refuses system messages counts as equal: folding them is what the built-in layout adds.
    """
    system, user, model = Message("system", " Be brief. "), Message("user", "\n Why? "), Message("model", " So. ")
    for turns, prompt in (([user], True), ([user, model], False), ([user, model, user], True)):
        for messages in (turns, [system, *turns]):
            expected = render(messages, tokenizer, prompt)
            try:
                found = template.render(messages, tokenizer, prompt)
            except UserError:
                if messages[0] is system:
                    continue
                return False
            if found.ids != expected.ids:
                return False
    return True
