"""Which tokens stand in a step, and who sees whom.

Tokens travel flat: a step has N tokens of D documents, one after the other, nothing padded. A `Span` describes them
twice. `plan` is for the host: schedulers, chunk planners and uncompiled CPU routes read it. `tensors` is for the
device: all that `nn` and compiled code may read. `visible` is the one rule of attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

_FEW = 64  # tokens


class Image(NamedTuple):
    """A picture among a step's new tokens, whole: its `document`'s number in the step, the position of its `first`
    token in that document, and how many there are."""

    document: int
    first: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The host's face: new tokens of each document, how many came before them in earlier steps, and the pictures that
    are among the new ones."""

    lengths: tuple[int, ...]
    past: tuple[int, ...]
    images: tuple[Image, ...]

    @property
    def tokens(self) -> int:
        """N, the tokens of the step."""
        return sum(self.lengths)

    @property
    def starts(self) -> tuple[int, ...]:
        """The row at which each document begins, and N at the end: D + 1 numbers."""
        return (0, *accumulate(self.lengths))

    @property
    def longest(self) -> int:
        """The longest document's new tokens."""
        return max(self.lengths, default=0)

    def picture_rows(self) -> Tensor:
        """The rows of the step where pictures' tokens stand, in order: int64 `[M]`."""
        begins = [
            (self.starts[document] + first - self.past[document], count) for document, first, count in self.images
        ]
        return torch.cat(
            [torch.arange(row, row + count) for row, count in begins] or [torch.zeros(0, dtype=torch.int64)]
        )

    def ahead(self, document: int) -> Tensor | None:
        """How many later positions each new token of a document sees: int64 `[C]`, 0 but within a picture, whose tokens
        all see its last one. None where the document has no picture."""
        mine = [image for image in self.images if image.document == document]
        if not mine:
            return None
        ahead = torch.zeros(self.lengths[document], dtype=torch.int64)
        for _, first, count in mine:
            row = first - self.past[document]
            ahead[row : row + count] = torch.arange(count - 1, -1, -1)
        return ahead

    def all_ahead(self) -> Tensor | None:
        """`ahead` of all documents, one after the other: int64 `[N]`. None where there is no picture."""
        if not self.images:
            return None
        each = [(self.ahead(document), length) for document, length in enumerate(self.lengths)]
        return torch.cat([torch.zeros(length, dtype=torch.int64) if one is None else one for one, length in each])


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The device's face of tokens, each int32 `[N]`: position in its document, document's number in the step, and
    image (0 for text; the tokens of one picture share a number that is unique in their document: the position of the
    first, plus 1)."""

    position: Tensor
    document: Tensor
    image: Tensor


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """The device's face: the tokens, and `starts [D + 1]` int32, the row at which each document begins."""

    tokens: Tokens
    starts: Tensor

    @property
    def position(self) -> Tensor:
        """int32 `[N]`, 0 at the first token of a document."""
        return self.tokens.position

    @property
    def document(self) -> Tensor:
        """int32 `[N]`."""
        return self.tokens.document

    @property
    def image(self) -> Tensor:
        """int32 `[N]`, 0 for text."""
        return self.tokens.image


@dataclass(frozen=True, kw_only=True)
class Span:
    """The tokens of one step, described for the host and for the device."""

    plan: Plan
    tensors: Tensors


def span(
    lengths: Sequence[int],
    *,
    past: Sequence[int] | None = None,
    images: Sequence[Image] = (),
    device: torch.device | str = "cpu",
) -> Span:
    """A step of `len(lengths)` documents.

    `lengths`: new tokens of each document, all positive. `past`: tokens of each that earlier steps brought (default:
    none). `images`: pictures among the new tokens; a step has all of a picture or nothing. Raises `ValueError` for
    lengths that cannot be, and for a picture that is cut or meets another.
    """
    past = [0] * len(lengths) if past is None else list(past)
    if not lengths or min(lengths) <= 0:
        raise ValueError(f"a step needs documents of at least one token each, not lengths {list(lengths)}")
    if len(past) != len(lengths) or min(past) < 0:
        raise ValueError(f"{len(lengths)} documents need as many past lengths, none negative, not {past}")
    plan = Plan(lengths=tuple(lengths), past=tuple(past), images=tuple(sorted(images)))
    _check_images(plan)
    positions, documents = _few(plan) if plan.tokens <= _FEW else _many(plan)
    tokens = Tokens(
        position=positions.to(device),
        document=documents.to(device),
        image=_image_numbers(plan).to(device),
    )
    starts = torch.tensor(plan.starts, dtype=torch.int32, device=device)
    return Span(plan=plan, tensors=Tensors(tokens=tokens, starts=starts))


def _check_images(plan: Plan) -> None:
    ends = dict.fromkeys(range(len(plan.lengths)), 0)
    for document, first, count in plan.images:
        if document not in ends:
            raise ValueError(f"a picture is of document {document}, the step has {len(plan.lengths)}")
        low, high = plan.past[document], plan.past[document] + plan.lengths[document]
        if count <= 0 or first < max(low, ends[document]) or first + count > high:
            raise ValueError(f"{count} tokens of a picture from {first} on do not lie apart within {low} to {high}")
        ends[document] = first + count


def _image_numbers(plan: Plan) -> Tensor:
    numbers = torch.zeros(plan.tokens, dtype=torch.int32)
    for document, first, count in plan.images:
        row = plan.starts[document] + first - plan.past[document]
        numbers[row : row + count] = first + 1
    return numbers


def _few(plan: Plan) -> tuple[Tensor, Tensor]:
    """Positions and documents of a decoding step: for so few, Python counts faster than torch starts."""
    pairs = list(zip(plan.lengths, plan.past, strict=True))
    positions = [before + index for count, before in pairs for index in range(count)]
    documents = [document for document, (count, _) in enumerate(pairs) for _ in range(count)]
    return torch.tensor(positions, dtype=torch.int32), torch.tensor(documents, dtype=torch.int32)


def _many(plan: Plan) -> tuple[Tensor, Tensor]:
    count = torch.tensor(plan.lengths)
    first = torch.tensor(plan.past, dtype=torch.int32) - torch.tensor(plan.starts[:-1], dtype=torch.int32)
    positions = torch.arange(plan.tokens, dtype=torch.int32) + torch.repeat_interleave(first, count)
    return positions, torch.repeat_interleave(torch.arange(len(plan.lengths), dtype=torch.int32), count)


def visible(query: Tokens, key: Tokens, window: int | None) -> Tensor:
    """May this query see this key? bool, in the shape to which the two sides broadcast.

    Same document; and the key is not later, or both belong to one picture; and, in a local layer, the key is less
    than `window` positions behind. The window has no upper side: a picture is never cut by it.
    """
    distance = query.position - key.position
    same_picture = (query.image == key.image) & (query.image > 0)
    seen = (query.document == key.document) & ((distance >= 0) | same_picture)
    return seen if window is None else seen & (distance < window)
