"""Conversations straight to ids, in the layout that every instruction-tuned model of the family was trained on.

    <bos><start_of_turn>user\\n{text}<end_of_turn>\\n<start_of_turn>model\\n{text}<end_of_turn>\\n...

(Gemma 3 report, section on post-training; Gemma 2 report, table of control tokens.) The marks are placed as ids, and
every message is encoded on its own as plain text, so no message can write a mark. The header "user\\n" is encoded
apart from the message as well: its ids are the same whatever follows. That changes nothing for trimmed messages (a
run of line breaks is a piece that never merges with letters); only system text, which is not trimmed, can differ
from the ids of the rendered string, when it begins with a line break that would have joined the header's.

Gemma has no system role. System text is placed, untrimmed and with a blank line after it, in front of the first user
message. Gemma 3's own template does so; for the older models, whose template refuses a system message, it is this
package's extension.

A picture is a blank line, `<start_of_image>`, its soft tokens, `<end_of_image>` and a blank line, each encoded apart,
as Google's own code does it (transformers encodes the whole string, where a blank line may join line breaks beside
it). Of a picture with crops, a sentence says which is the whole (the words are transformers').
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from gemwright.errors import UserError
from gemwright.text import pieces
from gemwright.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Message:
    """One message: `role` is "system", "user" or "model" ("assistant" means "model"), `text` what was said.

    `images`: pictures that the user shows with it, of whatever kind the caller has. They stand where the text says
    `<start_of_image>`, once for each of them, or before a text that never says it. (In a message without pictures
    these are plain characters.) What has an attribute `views` is shown as these: the whole picture, then its crops.
    """

    role: str
    text: str
    images: tuple[Any, ...] = ()


class Role(IntEnum):
    """Who wrote an id of a rendered conversation. FRAME is the layout itself: marks, role names, line breaks."""

    FRAME = 0
    SYSTEM = 1
    USER = 2
    MODEL = 3


@dataclass(frozen=True)
class Rendered:
    """A conversation as ids. The three lists are equally long.

    `roles[i]` says who wrote `ids[i]`; `loss[i]` whether a model is trained to produce it: true exactly on the
    model's words and on the `<end_of_turn>` that closes them. `images`: for each picture (each of its views, where it
    has such) the index of its first soft token, and the picture.
    """

    ids: list[int]
    roles: list[Role]
    loss: list[bool]
    images: list[tuple[int, Any]] = field(default_factory=list)


class Layout:
    """Rendered ids in the making."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.roles: list[Role] = []
        self.loss: list[bool] = []
        self.images: list[tuple[int, Any]] = []

    def add(self, ids: Sequence[int], role: Role, loss: bool = False) -> None:
        """Append ids that one role wrote."""
        self.ids.extend(ids)
        self.roles.extend([role] * len(ids))
        self.loss.extend([loss] * len(ids))

    def rendered(self) -> Rendered:
        """What was added so far."""
        return Rendered(self.ids, self.roles, self.loss, self.images)


ROLES = {"system": Role.SYSTEM, "user": Role.USER, "model": Role.MODEL, "assistant": Role.MODEL}
NAMES = {Role.USER: "user", Role.MODEL: "model"}


def check_messages(messages: Sequence[Message]) -> list[Role]:
    """The messages' roles: an optional system message, then user and model in turn, beginning with the user.

    Raises:
        UserError: the order is another; the message names the first offender by its index from 0.
    """
    roles: list[Role] = []
    if not messages:
        raise UserError("the conversation has no message", hint="begin with a user message")
    for index, message in enumerate(messages):
        role = ROLES.get(message.role)
        if role is None:
            raise UserError(f"message {index} has the role {message.role!r}", hint=f"use one of {', '.join(ROLES)}")
        if role is Role.SYSTEM and index > 0:
            raise UserError(f"message {index} is a system message", hint="a system message can only come first")
        said = [earlier for earlier in roles if earlier is not Role.SYSTEM]
        expected = Role.MODEL if said and said[-1] is Role.USER else Role.USER
        if role is not Role.SYSTEM and role is not expected:
            raise UserError(
                f"message {index} is the {NAMES[role]}'s where the {NAMES[expected]}'s turn is due",
                hint="user and model must alternate, the user first; join neighbouring messages of one role",
            )
        _check_pictures(message.images, role)
        roles.append(role)
    if roles == [Role.SYSTEM]:
        raise UserError("the conversation has a system message only", hint="add a user message for it to precede")
    return roles


def render(
    messages: Sequence[Message], tokenizer: Tokenizer, add_generation_prompt: bool = True, soft: int | None = None
) -> Rendered:
    """Ids, roles and loss mask of a conversation, beginning with exactly one `<bos>`.

    User and model text is trimmed of surrounding white space, system text is not. With `add_generation_prompt` the
    ids end in `<start_of_turn>model\\n`, ready for the model to answer; without it in the last turn's line break.
    `soft`: the soft tokens that a picture becomes (256 in Gemma 3), where there are pictures.

    Raises:
        UserError: the roles do not alternate, an answer is asked for after the model's own message, the vocabulary
            lacks turn marks or, for pictures, image marks, another than the user shows pictures, or a text says
            `<start_of_image>` another number of times than there are pictures.
        ValueError: pictures without `soft`.
    """
    roles = check_messages(messages)
    start, end = turn_marks(tokenizer)
    if add_generation_prompt and roles[-1] is Role.MODEL:
        raise UserError(
            f"message {len(messages) - 1} is already the model's: there is nothing to answer",
            hint="end with a user message, or render without a generation prompt",
        )
    layout = Layout()
    layout.add([tokenizer.bos], Role.FRAME)
    folded: list[int] = []
    for message, role in zip(messages, roles, strict=True):
        if role is Role.SYSTEM:
            folded = tokenizer.encode(message.text + "\n\n")
            continue
        layout.add([start, *tokenizer.encode(NAMES[role] + "\n")], Role.FRAME)
        layout.add(folded, Role.SYSTEM)
        folded = []
        ours = role is Role.MODEL
        add_words(layout, message.text.strip(), message.images, role, tokenizer, soft)
        layout.add([end], Role.FRAME, loss=ours)
        layout.add(tokenizer.encode("\n"), Role.FRAME)
    if add_generation_prompt:
        layout.add(_generation_prompt(tokenizer, start), Role.FRAME)
    return layout.rendered()


def render_next(message: Message, tokenizer: Tokenizer, closed: bool, soft: int | None = None) -> Rendered:
    """What to append to a conversation whose last ids are the model's reply, to put the next user message to it.

    `closed` says whether the reply's `<end_of_turn>` is among the ids already; if it is not (the reply was cut short,
    or its stop id was not kept), it comes first here. The line break that follows it always does. The ids so far plus
    these are what `render` gives for the whole conversation, provided the reply's ids are those of its trimmed text.
    `soft`: see `render`; pictures' places are counted from the first id here.

    Raises:
        UserError: the message is not the user's, or what `render` raises for pictures and vocabularies.
        ValueError: pictures without `soft`.
    """
    if ROLES.get(message.role) is not Role.USER:
        raise UserError(f"a model's reply is followed by the user, not by {message.role!r}", hint="send a user message")
    start, end = turn_marks(tokenizer)
    line_break, layout = tokenizer.encode("\n"), Layout()
    if not closed:
        layout.add([end], Role.FRAME, loss=True)
    layout.add([*line_break, start, *tokenizer.encode("user\n")], Role.FRAME)
    add_words(layout, message.text.strip(), message.images, Role.USER, tokenizer, soft)
    layout.add([end, *line_break, *_generation_prompt(tokenizer, start)], Role.FRAME)
    return layout.rendered()


def render_text(text: str, images: Sequence[Any], tokenizer: Tokenizer, soft: int) -> Rendered:
    """One `<bos>` and a text that is no conversation, as it is, with pictures in it or before it (see `Message`).
    Raises as `render` does for pictures."""
    layout = Layout()
    layout.add([tokenizer.bos], Role.FRAME)
    add_words(layout, text, images, Role.USER, tokenizer, soft)
    return layout.rendered()


def add_words(
    layout: Layout, text: str, images: Sequence[Any], role: Role, tokenizer: Tokenizer, soft: int | None
) -> None:
    """Append one message's text, as plain characters, with its pictures in it or before it; raises as `render`."""
    _check_pictures(images, role)
    # Without pictures the name of the mark is text like any other.
    parts = text.split(pieces.START_OF_IMAGE) if images else [text]
    if images and len(parts) == 1:
        parts = [""] * len(images) + parts
    if len(parts) != len(images) + 1:
        shown = "1 picture is" if len(images) == 1 else f"{len(images)} pictures are"
        raise UserError(
            f"the text says {pieces.START_OF_IMAGE} {len(parts) - 1} times, {shown} shown",
            hint="say it once for each picture, or leave it out: pictures then come before the text",
        )
    for index, part in enumerate(parts):
        layout.add(tokenizer.encode(part), role, loss=role is Role.MODEL)
        if index < len(images):
            _add_picture(layout, images[index], tokenizer, soft)


def _check_pictures(images: Sequence[Any], role: Role) -> None:
    if images and role is not Role.USER:
        raise UserError(
            f"a message of the {role.name.lower()} has {len(images)} pictures",
            hint="only the user shows pictures: put them into a user message",
        )


def _add_picture(layout: Layout, image: Any, tokenizer: Tokenizer, soft: int | None) -> None:
    """The views of a picture, whole and crops, with the words between them."""
    if soft is None:
        raise ValueError("pictures need the number of soft tokens that the model makes of one")
    whole, *crops = getattr(image, "views", (image,))
    if crops:
        layout.add(tokenizer.encode("Here is the original image "), Role.FRAME)
    _add_view(layout, whole, tokenizer, soft)
    for index, crop in enumerate(crops):
        words = " " if index else " and here are some crops to help you see better "
        layout.add(tokenizer.encode(words), Role.FRAME)
        _add_view(layout, crop, tokenizer, soft)


def _add_view(layout: Layout, view: Any, tokenizer: Tokenizer, soft: int) -> None:
    if tokenizer.start_of_image is None or tokenizer.end_of_image is None:
        raise UserError(
            f"{tokenizer.source}: the vocabulary has no {pieces.START_OF_IMAGE} and {pieces.END_OF_IMAGE}",
            hint="this model cannot be shown pictures: leave them out",
        )
    blank_line = tokenizer.encode("\n\n")
    layout.add([*blank_line, tokenizer.start_of_image], Role.FRAME)
    layout.images.append((len(layout.ids), view))
    layout.add([soft_id(tokenizer)] * soft, Role.USER)
    layout.add([tokenizer.end_of_image, *blank_line], Role.FRAME)


def soft_id(tokenizer: Tokenizer) -> int:
    """The id that stands for a soft token: `<image_soft_token>`, or the first id beyond a vocabulary that does not
    name it, which is where the published one has it. No row of the embedding table is ever read for it."""
    return tokenizer.vocab_size if tokenizer.image_soft is None else tokenizer.image_soft


def _generation_prompt(tokenizer: Tokenizer, start: int) -> list[int]:
    return [start, *tokenizer.encode("model\n")]


def turn_marks(tokenizer: Tokenizer) -> tuple[int, int]:
    """The ids of `<start_of_turn>` and `<end_of_turn>`.

    Raises:
        UserError: the vocabulary lacks one of them.
    """
    if tokenizer.start_of_turn is None or tokenizer.end_of_turn is None:
        raise UserError(
            f"{tokenizer.source}: the vocabulary has no {pieces.START_OF_TURN} and {pieces.END_OF_TURN}",
            hint="this model cannot hold a conversation: use `gemwright generate` with plain text",
        )
    return tokenizer.start_of_turn, tokenizer.end_of_turn


def stop_ids(tokenizer: Tokenizer, generation_config_eos: int | Sequence[int] | None = None) -> tuple[int, ...]:
    """The ids that end a reply: `<eos>`, `<end_of_turn>` where there is one, and the checkpoint's own, each once.

    `generation_config_eos` is `eos_token_id` of generation_config.json.

    Raises:
        UserError: `generation_config_eos` is not a number or a list of numbers from 0 up.
    """
    given: Sequence[int] = ()
    if generation_config_eos is not None:
        given = [generation_config_eos] if isinstance(generation_config_eos, int) else generation_config_eos
    if isinstance(given, str) or not all(type(token) is int and token >= 0 for token in given):
        raise UserError(
            f"eos_token_id is {generation_config_eos!r}, not an id or a list of ids",
            hint="correct it in generation_config.json",
        )
    own = (tokenizer.eos, tokenizer.id_of(pieces.EOS), tokenizer.end_of_turn)
    return tuple(dict.fromkeys(token for token in (*own, *given) if token is not None))
