"""What may come in: prompts become ids, and what cannot be run is refused with its numbers."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Collection, Sequence
from typing import Any

from gemwright.engine.pictures import refuse_misplaced
from gemwright.engine.request import PromptImage, Request
from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer


def encode(prompt: str | Sequence[int], tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """A prompt's ids: text gets exactly one `<bos>`, ids are taken as they are.

    Names of special pieces in the text are plain characters. Raises `UserError` for text without a tokenizer.
    """
    if not isinstance(prompt, str):
        return as_ids(prompt)
    if tokenizer is None:
        raise UserError("this model has no tokenizer", hint="give token ids instead of text")
    return tuple(tokenizer.encode(prompt, bos=True))


def check(request: Request, *, vocab: int, context: int | None, tokenizer: Tokenizer | None) -> None:
    """Raises `UserError` for a request that the engine cannot run; warns of a prompt that `<bos>` does not begin."""
    ids = request.ids
    check_ids(ids, vocab, rows_of(request.images, len(ids)))
    if context is not None and len(ids) >= context:
        raise UserError(
            f"the prompt has {len(ids)} tokens, the context holds {context}, at least one of them for the answer",
            hint="shorten the prompt, or load with a larger context",
        )
    for id in request.sampling.logit_bias:
        if id >= vocab:
            raise UserError(f"there is a logit bias for id {id}, ids go from 0 to {vocab - 1}", hint="leave it out")
    if request.sampling.stop and tokenizer is None:
        raise UserError("stop strings need a tokenizer, this model has none", hint="use stop_ids")
    if request.sampling.grammar is not None and tokenizer is None:
        raise UserError("a grammar needs a tokenizer, this model has none", hint="leave the grammar out")
    if tokenizer is not None:
        begin = ids[:2].count(tokenizer.bos) if ids[0] == tokenizer.bos else 0
        if begin != 1:
            found = "does not begin with <bos>" if begin == 0 else "begins with <bos> twice"
            warnings.warn(f"the prompt {found} (id {tokenizer.bos}); the model expects it once", stacklevel=3)


def rows_of(images: Sequence[PromptImage], length: int) -> frozenset[int]:
    """The indices of a prompt of that length that pictures stand at. Raises `ValueError` for misplaced ones."""
    refuse_misplaced(images, length)
    return frozenset(at for image in images for at in range(image.first, image.end))


def check_ids(ids: Sequence[int], vocab: int, pictures: Collection[int] = ()) -> None:
    """Raises `UserError` for no ids, or naming the first one that the model's table has no row for. What stands at the
    indices `pictures` is never looked up."""
    if not ids:
        raise UserError("the prompt is empty", hint="give at least one token")
    for at, id in enumerate(ids):
        whole = isinstance(id, int) and not isinstance(id, bool)
        if not whole or not (0 <= id < vocab or (id >= 0 and at in pictures)):
            raise UserError(
                f"token {at} of the prompt is {id!r}, ids go from 0 to {vocab - 1}",
                hint="use the model's own tokenizer",
            )


def as_ids(ids: Any) -> tuple[int, ...]:
    """Token ids as plain numbers: also from a tensor or an array."""
    return tuple(_plain(id) for id in (ids.tolist() if hasattr(ids, "tolist") else ids))


def _plain(id: Any) -> Any:
    """An integer of another library as Python's own; anything else as it is, for `check_ids` to refuse."""
    try:
        return id if isinstance(id, bool) else operator.index(id)
    except TypeError:
        return id


def never_drawn(tokenizer: Tokenizer | None, vocab: int) -> list[int]:
    """Rows of the table that are no token, and image markers, which a model must read but never write."""
    if tokenizer is None:
        return []
    marks = {tokenizer.start_of_image, tokenizer.end_of_image, tokenizer.image_soft}
    images = sorted(id for id in marks if id is not None and id < min(tokenizer.vocab_size, vocab))
    return images + list(range(tokenizer.vocab_size, vocab))
