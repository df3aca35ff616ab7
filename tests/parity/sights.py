"""The mistakes that implementations make with pictures, each as a change to what our model is given or to how it runs.

`mutations.py` has the mistakes of text, `test_vision.py` those within the tower, `pixel_mistakes.py` those before it.
Here are those behind it: where soft tokens go, who sees whom, where everything stands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import awake
import numpy as np
import torch
from mutations import swapped
from PIL import Image as Drawing
from torch import Tensor

from gemwright.cache.allocate import allocate
from gemwright.image.picture import Picture, picture
from gemwright.image.resize import pixels
from gemwright.loading import load_model, load_tower
from gemwright.nn import gemma
from gemwright.nn.head import Head
from gemwright.ops import attend
from gemwright.ops.span import Image, Span, Tokens, span, visible

SIDE, SOFT = 112, 16  # more soft tokens than the window has: it goes through the middle of each picture
Rule = Callable[[Tokens, Tokens, "int | None"], Tensor]


def _logits(hidden: Tensor, head: Head) -> Tensor:
    return head.logits(hidden)


def noise(seed: int, width: int = 150, height: int = 130) -> Picture:
    """Coarse shapes and noise, each colour for itself."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    shapes = np.asarray(Drawing.fromarray(coarse).resize((width, height), Drawing.Resampling.BICUBIC)).astype(np.int16)
    grain = generator.integers(-60, 61, (height, width, 3), dtype=np.int16)
    return picture(np.clip(shapes + grain, 0, 255).astype(np.uint8), f"noise {seed}")


class Conversation:
    """A text with three pictures, the last two side by side; what transformers makes of it, pixels and all, and what
    ours does."""

    def __init__(self, folder: Path) -> None:
        self.theirs: Any = awake.save_seeing(folder, side=SIDE, tokens=SOFT)
        self.folder = folder
        self.tower = load_tower(folder, dtype="float32", device="cpu")
        self.model = load_model(folder, dtype="float32", device="cpu").model
        self.marker = int(self.theirs.config.image_token_id)
        shown = torch.full((SOFT,), self.marker)
        parts = [awake.text(0, 20), shown, awake.text(1, 30), shown, awake.text(5, 2), shown, awake.text(2, 25)]
        self.ids = torch.cat(parts)
        ends = torch.tensor([len(part) for part in parts]).cumsum(0).tolist()
        self.pictures = [Image(0, ends[index] - SOFT, SOFT) for index in (1, 3, 5)]
        self.shown = [noise(seed) for seed in range(3)]
        self.soft = self.encode(pixels)
        self.logits = self.oracle(self.ids)

    def oracle(self, ids: Tensor) -> Tensor:
        """transformers' logits `[N, V]` of ids that begin with the conversation."""
        values = torch.from_numpy(np.stack([reference(one) for one in self.shown]))
        with torch.no_grad():
            found = self.theirs(
                input_ids=ids[None],
                pixel_values=values,
                token_type_ids=(ids == self.marker).long()[None],
                use_cache=False,
            )
        return found.logits[0].float()

    def encode(self, prepare: Callable[[Picture, int], np.ndarray]) -> Tensor:
        """Our soft tokens `[M, D]` of the pictures, made into pixels by `prepare`."""
        values = torch.from_numpy(np.stack([np.ascontiguousarray(prepare(one, SIDE)) for one in self.shown]))
        with torch.no_grad():
            return self.tower.encode(values).flatten(0, 1)

    def ours(self, *, soft: Tensor | None = None, where: Callable[[Span], Span] = lambda step: step) -> Tensor:
        """Our logits in one pass without memory, with these soft tokens, the step described as `where` says."""
        step = where(span([len(self.ids)], images=self.pictures))
        with torch.no_grad():
            return self.model(self.ids, step, use=_logits, soft=self.soft if soft is None else soft)

    def chunked(self, cuts: list[int], pictures: list[Image]) -> Tensor:
        """Our logits through memory, in chunks that begin at `cuts`."""
        memory = allocate(self.model.spec, sequences=1, tokens=len(self.ids), slack=3, dtype=torch.float32)
        handle, out, done = memory.open(), [], 0
        for begin, end in zip([0, *cuts], [*cuts, len(self.ids)], strict=True):
            within = [image for image in pictures if begin <= image.first < end]
            step = memory.prepare([handle], [end - begin], within)
            count = sum(image.count for image in within)
            soft = self.soft[done : done + count] if count else None
            out.append(self.model(self.ids[begin:end], step.span, step, use=_logits, soft=soft))
            step.commit()
            done += count
        return torch.cat(out)


def reference(given: Picture) -> np.ndarray:
    """Pixels `[3, side, side]` of transformers' processor on Pillow, with the published settings."""
    return references(given, pan_scan=False)[0]


def references(given: Picture, pan_scan: bool) -> np.ndarray:
    """The same for the whole picture and its crops, `[B, 3, side, side]`."""
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    processor = Gemma3ImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        rescale_factor=1 / 255, do_pan_and_scan=pan_scan, pan_and_scan_min_crop_size=256,
        pan_and_scan_max_num_crops=4, pan_and_scan_min_ratio_to_activate=1.2,
    )  # fmt: skip
    return np.stack(processor(Drawing.fromarray(given.pixels))["pixel_values"]).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Who sees whom: other rules in the place of `visible`


def by_rule(rule: Rule) -> contextlib.AbstractContextManager[None]:
    """While it holds, every layer without memory attends by that rule, in the eager way."""

    def other(
        query: Tensor, key: Tensor, value: Tensor, step: Span, *, window: int | None, scale: float, cap: float | None
    ) -> Tensor:
        tokens = step.tensors.tokens
        asking = Tokens(
            position=tokens.position[:, None], document=tokens.document[:, None], image=tokens.image[:, None]
        )
        return attend.attend_eager(query, key, value, rule(asking, tokens, window), scale=scale, cap=cap)

    return swapped(attend.attend_documents, other)


def _within(seen: Tensor, query: Tokens, key: Tokens, window: int | None) -> Tensor:
    return seen if window is None else seen & (query.position - key.position < window)


def _causal(query: Tokens, key: Tokens) -> Tensor:
    return query.position >= key.position


def _same(query: Tokens, key: Tokens) -> Tensor:
    return (query.image == key.image) & (query.image > 0)


def causal(query: Tokens, key: Tokens, window: int | None) -> Tensor:
    return _within(_causal(query, key), query, key, window)


def all_pictures_one(query: Tokens, key: Tokens, window: int | None) -> Tensor:
    both = (query.image > 0) & (key.image > 0)
    return _within(_causal(query, key) | both, query, key, window)


def prefix(query: Tokens, key: Tokens, window: int | None) -> Tensor:
    """All up to the last picture's end see each other, as in models that read a prompt at once."""
    last = key.position[key.image > 0].max()
    return _within(_causal(query, key) | ((query.position <= last) & (key.position <= last)), query, key, window)


def forgotten(local: bool) -> Rule:
    """Causal in the layers of one kind."""

    def rule(query: Tokens, key: Tokens, window: int | None) -> Tensor:
        return causal(query, key, window) if (window is not None) == local else visible(query, key, window)

    return rule


def beyond_the_window(query: Tokens, key: Tokens, window: int | None) -> Tensor:
    return causal(query, key, window) | _same(query, key)


def window_on_both_sides(query: Tokens, key: Tokens, window: int | None) -> Tensor:
    seen = visible(query, key, window)
    return seen if window is None else seen & (key.position - query.position < window)


def nothing_but_itself(query: Tokens, key: Tokens, window: int | None) -> Tensor:
    return visible(query, key, window) & ((query.image == 0) | _same(query, key))


def text_sees_no_picture(query: Tokens, key: Tokens, window: int | None) -> Tensor:
    return visible(query, key, window) & ((key.image == 0) | _same(query, key))


RULES: dict[str, Rule] = {
    "pictures are causal": causal,
    "all pictures are one": all_pictures_one,
    "the whole prompt is one": prefix,
    "pictures are causal in local layers": forgotten(local=True),
    "pictures are causal in global layers": forgotten(local=False),
    "pictures leak past the window": beyond_the_window,
    "the window ends pictures ahead too": window_on_both_sides,
    "a picture sees only itself": nothing_but_itself,
    "text sees no picture": text_sees_no_picture,
}


# ---------------------------------------------------------------------------------------------------------------------
# How the step is described: positions, and which tokens are a picture's


def tokens_of(step: Span, **changes: Tensor) -> Span:
    """The step with other numbers for its tokens."""
    return replace(step, tensors=replace(step.tensors, tokens=replace(step.tensors.tokens, **changes)))


def markers_are_picture(step: Span) -> Span:
    """The tokens before and after a picture count as its own."""
    image = step.tensors.image.clone()
    for _, first, count in step.plan.images:
        image[[first - 1, first + count]] = first + 1
    return tokens_of(step, image=image)


def markers_are_picture_before(step: Span) -> Span:
    image = step.tensors.image.clone()
    for _, first, _ in step.plan.images:
        image[first - 1] = first + 1
    return tokens_of(step, image=image)


def first_token_is_text(step: Span) -> Span:
    image = step.tensors.image.clone()
    for _, first, _ in step.plan.images:
        image[first] = 0
    return tokens_of(step, image=image)


def one_position(step: Span) -> Span:
    """All of a picture stands in one place, and what follows comes right after it."""
    position = step.tensors.position
    inner = torch.zeros(len(position), dtype=position.dtype)
    for _, first, count in step.plan.images:
        inner[first + 1 : first + count] = 1
    return tokens_of(step, position=position - inner.cumsum(0).to(position.dtype))


def own_positions(step: Span) -> Span:
    """The positions of each picture start from 0."""
    position = step.tensors.position.clone()
    for _, first, count in step.plan.images:
        position[first : first + count] -= first
    return tokens_of(step, position=position)


STEPS: dict[str, Callable[[Span], Span]] = {
    "markers belong to the picture": markers_are_picture,
    "the marker before belongs to the picture": markers_are_picture_before,
    "the first soft token is text": first_token_is_text,
}
PLACES: dict[str, Callable[[Span], Span]] = {
    "a picture has one position": one_position,
    "positions start anew in a picture": own_positions,
}


# ---------------------------------------------------------------------------------------------------------------------
# What enters the first layer


def entering(change: Callable[..., Tensor]) -> contextlib.AbstractContextManager[None]:
    """`change(embed, ids, soft, rows)` instead of `splice`."""
    return swapped(gemma.splice, change)


def added(embed: Callable[[Tensor], Tensor], ids: Tensor, soft: Tensor, rows: Tensor) -> Tensor:
    return embed(ids).index_add(0, rows, soft)


def left_out(embed: Callable[[Tensor], Tensor], ids: Tensor, soft: Tensor, rows: Tensor) -> Tensor:
    return embed(ids)


def before_scaling(embed: Callable[[Tensor], Tensor], ids: Tensor, soft: Tensor, rows: Tensor) -> Tensor:
    return _splice(embed, ids, soft * awake.WIDTH**0.5, rows)


def one_late(embed: Callable[[Tensor], Tensor], ids: Tensor, soft: Tensor, rows: Tensor) -> Tensor:
    return _splice(embed, ids, soft, rows + 1)


_splice = gemma.splice
ENTRANCES: dict[str, Callable[..., Tensor]] = {
    "soft tokens are added to the marker's embedding": added,
    "the marker is embedded": left_out,
    "soft tokens are scaled as embeddings are": before_scaling,
    "soft tokens begin one too late": one_late,
}


def _each(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Change the soft tokens `[T, D]` of each picture."""
    return lambda soft: torch.cat([change(part) for part in soft.split(SOFT)])


def by_columns(soft: Tensor) -> Tensor:
    side = round(SOFT**0.5)
    return soft.unflatten(0, (side, side)).transpose(0, 1).flatten(0, 1)


SOFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "pictures in another order": lambda soft: soft.roll(SOFT, 0),
    "soft tokens back to front": _each(lambda part: part.flip(0)),
    "soft tokens column by column": _each(by_columns),
    "the first picture for all": lambda soft: soft[:SOFT].repeat(3, 1),
    "soft tokens normed once more": lambda soft: soft * torch.rsqrt(soft.square().mean(-1, keepdim=True) + 1e-6),
}


# ---------------------------------------------------------------------------------------------------------------------
# Where a chunk ends


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A picture cut by a chunk: what engines do that fill chunks to the last token."""

    at: int  # soft tokens of the second picture before the cut

    def logits(self, talk: Conversation) -> Tensor:
        """Through memory: the second picture's two parts are pictures of their own to who sees whom."""
        first, second, third = talk.pictures
        parts = [Image(0, second.first, self.at), Image(0, second.first + self.at, SOFT - self.at)]
        return talk.chunked([second.first + self.at], [first, *parts, third])


CUTS = {f"a chunk ends after {at} soft tokens": Cut(at=at) for at in (1, 8, 15)}
