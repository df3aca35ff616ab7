"""A model that another one learns from, run beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from gemwright.data.batch import Batch
from gemwright.errors import UserError
from gemwright.loading import companions, load_model
from gemwright.nn.decoder import Decoder
from gemwright.nn.head import Head
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.draw import Samples, draw, join, places
from gemwright.weights import hub

T = TypeVar("T")
_BLOCK_BYTES = 32 << 20  # of float32 logits made at a time


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A model in evaluation, plain or packed, of any family. `vocab`: how many ids, from 0, its predictions are about;
    the rows of its table beyond them belong to no piece of text."""

    name: str
    model: Decoder
    vocab: int

    def run(self, batch: Batch, use: Callable[[Tensor, Head], T]) -> T:
        """`use(hidden, head)` of the teacher on a batch, without gradients, in the teacher's own dtype (an autocast
        around it has no say): what a store holds and what a live run sees are the same. Raises `UserError` for a batch
        with pictures."""
        if batch.pictures:
            raise UserError(
                f"{self.name} teaches texts: the batch shows pictures", hint="leave out what shows pictures"
            )
        with torch.no_grad(), torch.autocast(batch.ids.device.type, enabled=False):
            return self.model(batch.ids, batch.span, use=use)

    def samples(self, batch: Batch, count: int, seed: int, temperature: float = 1.0) -> Samples:
        """`count` draws at each token of the batch whose weight is not 0; see `draw`. Raises `UserError` where the
        teacher's scores are not finite."""
        counted = batch.weight != 0
        serial, position = (each[counted] for each in places(batch))
        step = max(1, _BLOCK_BYTES // (4 * self.vocab))

        def use(hidden: Tensor, head: Head) -> Samples:
            parts = zip(hidden[counted].split(step), serial.split(step), position.split(step), strict=True)
            return join(
                [draw(self.logits(head, rows), count, seed, *where, temperature=temperature) for rows, *where in parts]
            )

        try:
            return self.run(batch, use)
        except ValueError as error:
            raise UserError(
                f"{self.name} cannot teach: {error}", hint="take another dtype, or another model"
            ) from error

    def logits(self, head: Head, hidden: Tensor) -> Tensor:
        """Float32 `[m, vocab]` of some of its hidden states `[m, D]`."""
        return head.logits(hidden)[:, : self.vocab]


def text_vocabulary(tokenizer: Tokenizer) -> int:
    """How many ids text is made of. The piece that stands for a picture's patches comes last and is never predicted."""
    last = tokenizer.vocab_size - 1
    return last if tokenizer.image_soft == last else last + 1


def check_tokenizer(name: str, own: Tokenizer | None, tokenizer: Tokenizer) -> None:
    """Raises `UserError` where the tokenizer of the teacher `name` is not the student's."""
    if own is None:
        raise UserError(
            f"{name} comes without a tokenizer: nobody knows which pieces its predictions are about",
            hint="give the teacher's folder with its tokenizer files",
        )
    if own.fingerprint() != tokenizer.fingerprint():
        raise UserError(
            f"{name} has another tokenizer than the student ({own.vocab_size:,} pieces and {tokenizer.vocab_size:,}):"
            " it cuts a text at other places, and its predictions are about other pieces",
            hint="take a teacher with the student's vocabulary; its family may be another",
        )


def load_teacher(
    name: str | Path,
    tokenizer: Tokenizer,
    *,
    row: int,
    quant: str | None = None,
    device: torch.device | str = "cpu",
) -> Teacher:
    """The model of that folder, file or name, as inference runs it: packed where there are kernels for it, or by the
    scheme `quant`.

    `row`: the longest row that it will be shown. Raises `UserError` for a model with another tokenizer than
    `tokenizer`, or a shorter context, and as `load_model` does.
    """
    path = hub.resolve(name)
    check_tokenizer(str(name), companions(path).tokenizer, tokenizer)
    model = load_model(path, device=device, quant=quant, packed=True).model
    context = model.spec.context
    if context is not None and row > context:
        raise UserError(
            f"{name} reads at most {context} tokens at once, and rows are {row} long",
            hint="take shorter rows, or another teacher",
        )
    return Teacher(name=str(name), model=model, vocab=min(text_vocabulary(tokenizer), model.spec.vocab))
