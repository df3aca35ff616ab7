"""Our vision tower is transformers': features within 2e-5 of their standard deviation, and every mistake is seen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import awake
import eyes
import pytest
import torch
import torch.nn.functional as F
from eyes import Eyes
from mutations import change, erf_gelu, exchange
from pairs import TOLERANCE, difference
from torch import Tensor

from gemwright.arch.gemma3 import SIGLIP
from gemwright.cache.allocate import allocate
from gemwright.loading import load_model, load_tower
from gemwright.nn.gemma import Tower, pool, splice
from gemwright.ops.span import Image, span

PICTURES = 3


@pytest.fixture(scope="module")
def small() -> Eyes:
    return eyes.build()


@pytest.fixture(scope="module")
def seen(small: Eyes) -> tuple[Tensor, Tensor]:
    """Pictures, and the soft tokens that transformers makes of them."""
    pixels = eyes.pixels(PICTURES, small.spec.tower.image)
    return pixels, small.oracle(pixels)


def test_awake_features_are_those_of_transformers(small: Eyes, seen: tuple[Tensor, Tensor]) -> None:
    pixels, features = seen
    ours = small.ours().encode(pixels)
    assert ours.shape == (PICTURES, small.spec.tokens, small.width)
    assert difference(ours, features) <= TOLERANCE


def true(depth: int) -> Eyes:
    return eyes.build(replace(SIGLIP, tower=replace(SIGLIP.tower, depth=depth)), width=2560, attention="sdpa")


def compare(pair: Eyes) -> float:
    pixels = eyes.pixels(1, pair.spec.tower.image, seed=1)
    with torch.no_grad():
        return difference(pair.ours().encode(pixels), pair.oracle(pixels))


def test_true_geometry_with_one_layer() -> None:
    """896 pixels, 4096 patches, 16 heads of 72, 256 tokens into the 4B's width."""
    assert compare(true(depth=1)) <= TOLERANCE


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_true_geometry_with_all_27_layers() -> None:
    assert compare(true(depth=27)) <= TOLERANCE


# ---------------------------------------------------------------------------------------------------------------------
# Through a folder and into a decoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A whole multimodal folder of transformers, and the model that wrote it."""
    where = tmp_path_factory.mktemp("eyes") / "multimodal"
    return where, awake.save("gemma3-multimodal", where)


def test_a_tower_from_a_folder_sees_what_its_writer_sees(folder: tuple[Path, Any]) -> None:
    where, theirs = folder
    tower = load_tower(where, dtype="float32", device="cpu")
    pixels = eyes.pixels(2, tower.spec.tower.image)
    with torch.no_grad():
        assert difference(tower.encode(pixels), theirs.get_image_features(pixels).pooler_output) <= TOLERANCE


def entering(where: Path, theirs: Any) -> tuple[Callable[[float], Tensor], Tensor]:
    """What enters the first layer for a text with two pictures: ours (by a factor on soft tokens) and the oracle's."""
    tower = load_tower(where, dtype="float32", device="cpu")
    decoder = load_model(where, dtype="float32", device="cpu").model
    tokens, marker = tower.spec.tokens, theirs.config.image_token_id
    picture = torch.full((tokens,), marker)
    ids = torch.cat([awake.text(0, 5), picture, awake.text(1, 4), picture, awake.text(2, 3)])
    pixels = eyes.pixels(2, tower.spec.tower.image)
    caught: list[Tensor] = []
    hook = (
        theirs.get_decoder()
        .layers[0]
        .register_forward_pre_hook(lambda module, arguments: caught.append(arguments[0][0]))
    )
    with torch.no_grad():
        theirs(input_ids=ids[None], pixel_values=pixels, token_type_ids=(ids == marker).long()[None], use_cache=False)
    hook.remove()
    rows = (ids == marker).nonzero().flatten()
    beyond = ids.masked_fill(ids == marker, decoder.spec.vocab + 7)

    @torch.no_grad()
    def ours(factor: float) -> Tensor:
        return splice(decoder.embed, beyond, factor * tower.encode(pixels).flatten(0, 1), rows)

    return ours, caught[0]


def test_soft_tokens_enter_the_decoder_unscaled_whatever_their_ids(folder: tuple[Path, Any]) -> None:
    """Scaled by √D, as embeddings are, they would be far off."""
    ours, theirs = entering(*folder)
    assert difference(ours(1.0), theirs) <= TOLERANCE
    assert difference(ours(awake.WIDTH**0.5), theirs) >= 100 * TOLERANCE


class Conversation:
    """A text with three pictures, the last two side by side, and what transformers makes of it."""

    def __init__(self, where: Path, theirs: Any) -> None:
        tower = load_tower(where, dtype="float32", device="cpu")
        self.model = load_model(where, dtype="float32", device="cpu").model
        count, marker = tower.spec.tokens, theirs.config.image_token_id
        picture, gap = torch.full((count,), marker), awake.text(5, 2)
        parts = [awake.text(0, 5), picture, awake.text(1, 30), picture, gap, picture, awake.text(2, 25)]
        self.ids = torch.cat(parts)
        ends = torch.tensor([len(part) for part in parts]).cumsum(0).tolist()
        self.pictures = [Image(0, ends[index] - count, count) for index in (1, 3, 5)]
        pixels = eyes.pixels(3, tower.spec.tower.image)
        with torch.no_grad():
            self.soft = tower.encode(pixels)
            answer = theirs(
                input_ids=self.ids[None],
                pixel_values=pixels,
                token_type_ids=(self.ids == marker).long()[None],
                use_cache=False,
            )
        self.logits = answer.logits[0].float()

    def ours(self, cuts: Sequence[int] | None = None, pictures: Sequence[Image] | None = None) -> Tensor:
        """Our logits in one pass, or (with cuts) through memory."""
        given = self.pictures if pictures is None else pictures
        if cuts is None:
            where = span([len(self.ids)], images=given)
            with torch.no_grad():
                return self.model(self.ids, where, use=lambda hidden, head: head.logits(hidden), soft=self._soft(given))
        memory = allocate(self.model.spec, sequences=1, tokens=len(self.ids), slack=3, dtype=torch.float32)
        handle, out = memory.open(), []
        for begin, end in zip([0, *cuts], [*cuts, len(self.ids)], strict=True):
            within = [image for image in given if begin <= image.first < end]
            step = memory.prepare([handle], [end - begin], within)
            soft = self._soft(within) if within else None
            logits = self.model(
                self.ids[begin:end], step.span, step, use=lambda hidden, head: head.logits(hidden), soft=soft
            )
            out.append(logits)
            step.commit()
        return torch.cat(out)

    def _soft(self, pictures: Sequence[Image]) -> Tensor:
        numbers = [[image.first for image in self.pictures].index(image.first) for image in pictures]
        return self.soft[numbers].flatten(0, 1)


@pytest.fixture(scope="module")
def conversation(folder: tuple[Path, Any]) -> Conversation:
    return Conversation(*folder)


def test_logits_after_pictures_are_those_of_transformers(conversation: Conversation) -> None:
    assert difference(conversation.ours(), conversation.logits) <= TOLERANCE


def test_logits_after_pictures_however_the_prompt_is_cut(conversation: Conversation) -> None:
    starts = [image.first for image in conversation.pictures]
    ends = [image.first + image.count for image in conversation.pictures]
    free = [
        place
        for place in range(1, len(conversation.ids))
        if all(not a < place < b for a, b in zip(starts, ends, strict=True))
    ]
    for cuts in (free, sorted({*starts, *ends}), free[::7], free[3::11], [ends[-1] + 1]):
        assert difference(conversation.ours(cuts), conversation.logits) <= TOLERANCE


def test_pictures_seen_causally_are_far_off(conversation: Conversation) -> None:
    """Engines that forget the pictures' own mask are fluent, and wrong."""
    rows = span([len(conversation.ids)], images=conversation.pictures)
    with torch.no_grad():
        soft = conversation.soft.flatten(0, 1)
        embed = conversation.model.embed
        causal = span([len(conversation.ids)])
        with mock.patch.object(
            embed, "forward", lambda ids, plain=embed.forward: splice(plain, ids, soft, rows.plan.picture_rows())
        ):
            wrong = conversation.model(conversation.ids, causal, use=lambda hidden, head: head.logits(hidden))
    assert difference(wrong, conversation.logits) >= 100 * TOLERANCE


def test_a_row_before_a_picture_has_no_gradient_to_its_pixels(folder: tuple[Path, Any]) -> None:
    where, theirs = folder
    found = Conversation(where, theirs)
    tower = load_tower(where, dtype="float32", device="cpu").requires_grad_(False)
    pixels = eyes.pixels(3, tower.spec.tower.image).requires_grad_()
    step = span([len(found.ids)], images=found.pictures)
    found.model.requires_grad_(False)
    hidden = found.model(found.ids, step, soft=tower.encode(pixels).flatten(0, 1))
    second = found.pictures[1].first
    (before,) = torch.autograd.grad(hidden[second - 1].square().sum(), pixels, retain_graph=True)
    assert torch.equal(before[1:], torch.zeros_like(before[1:])) and bool(before[0].any())
    (after,) = torch.autograd.grad(hidden[-1].square().sum(), pixels)
    assert all(bool(one.any()) for one in after)


def test_another_first_picture_changes_every_later_row(conversation: Conversation) -> None:
    plain = conversation.ours()
    kept, conversation.soft = conversation.soft, torch.cat([conversation.soft[1:2], conversation.soft[1:]])
    try:
        other = conversation.ours()
    finally:
        conversation.soft = kept
    first = conversation.pictures[0].first
    assert torch.equal(plain[:first], other[:first])
    assert all(not torch.equal(*rows) for rows in zip(plain[first:], other[first:], strict=True))


# ---------------------------------------------------------------------------------------------------------------------
# Mistakes: each must be a hundred times over the tolerance

Encode = Callable[[Tower, Tensor], Tensor]


def leave(tower: Tower, tokens: Tensor) -> Tensor:
    """The last two steps: norm, product."""
    return tower.projector.norm(tokens) @ tower.projector.weight


def inner(tower: Tower, pixels: Tensor) -> Tensor:
    """Patches before the encoder's last LayerNorm."""
    with mock.patch.object(tower.encoder.final_norm, "forward", lambda x: x):
        return tower.encoder(pixels)


def pooled_by(other: Callable[[Tensor, int], Tensor]) -> Encode:
    return lambda tower, pixels: leave(tower, other(tower.encoder(pixels), tower.spec.side))


def bare(x: Tensor) -> Tensor:
    """RMSNorm without a weight."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def squares(patches: Tensor, side: int) -> int:
    return round(patches.shape[1] ** 0.5) // side


def along_the_list(patches: Tensor, side: int) -> Tensor:
    return patches.unflatten(1, (side * side, -1)).mean(2)


def by_strides(patches: Tensor, side: int) -> Tensor:
    square = squares(patches, side)
    return patches.unflatten(1, (square, side, square, side)).mean(dim=(1, 3)).flatten(1, 2)


def by_columns(patches: Tensor, side: int) -> Tensor:
    return pool(patches, side).unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2)


def maximum(patches: Tensor, side: int) -> Tensor:
    square = squares(patches, side)
    return patches.unflatten(1, (side, square, side, square)).amax(dim=(2, 4)).flatten(1, 2)


def tokens_of(tower: Tower, pixels: Tensor) -> Tensor:
    return pool(tower.encoder(pixels), tower.spec.side)


EXITS: dict[str, Encode] = {
    "scaled by √D": lambda tower, pixels: tower.encode(pixels) * eyes.WIDTH**0.5,
    "scaled by √ of the tower's width": lambda tower, pixels: tower.encode(pixels) * tower.spec.tower.width**0.5,
    "pixels from 0 to 1": lambda tower, pixels: tower.encode((pixels + 1) / 2),
    "norm before pooling": lambda tower, pixels: (
        pool(tower.projector.norm(tower.encoder(pixels)), tower.spec.side) @ tower.projector.weight
    ),
    "no norm": lambda tower, pixels: tokens_of(tower, pixels) @ tower.projector.weight,
    "norm after the product": lambda tower, pixels: bare(tokens_of(tower, pixels) @ tower.projector.weight),
    "norm without weight": lambda tower, pixels: bare(tokens_of(tower, pixels)) @ tower.projector.weight,
    "no last LayerNorm": lambda tower, pixels: leave(tower, pool(inner(tower, pixels), tower.spec.side)),
    "last LayerNorm after pooling": lambda tower, pixels: leave(
        tower, tower.encoder.final_norm(pool(inner(tower, pixels), tower.spec.side))
    ),
    "pooled along the list": pooled_by(along_the_list),
    "pooled by strides": pooled_by(by_strides),
    "tokens column by column": pooled_by(by_columns),
    "maximum for mean": pooled_by(maximum),
}

_attend = F.scaled_dot_product_attention


def causal(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    return _attend(query, key, value, scale=scale, is_causal=True)


def scaled_by_width(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    return _attend(query, key, value, scale=(query.shape[-1] * query.shape[1]) ** -0.5)


def across_pictures(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """All pictures of a batch as one long list of patches."""
    one = [x.transpose(0, 1).flatten(1, 2)[None] for x in (query, key, value)]
    return _attend(one[0], one[1], one[2], scale=scale)[0].unflatten(1, (len(query), -1)).transpose(0, 1)


PATCHES: dict[str, tuple[str, Callable[..., Tensor]]] = {
    "causal patches": ("scaled_dot_product_attention", causal),
    "scores scaled by the whole width": ("scaled_dot_product_attention", scaled_by_width),
    "pictures see each other": ("scaled_dot_product_attention", across_pictures),
    "gelu by erf": ("gelu", erf_gelu),
}


def transposed(x: Tensor) -> Tensor:
    side = round(len(x) ** 0.5)
    return x.unflatten(0, (side, side)).transpose(0, 1).flatten(0, 1)


TENSORS: dict[str, Callable[[Any, dict[str, Tensor]], None]] = {
    "colours reversed": change(lambda w: w.flip(1), "patches.weight"),
    "pixels of a patch column by column": change(lambda w: w.mT, "patches.weight"),
    "positions column by column": change(transposed, "positions"),
    "no positions": change(torch.zeros_like, "positions"),
    "+ 1 missing": change(lambda w: w - 1, "projector.norm.weight"),
    "+ 1 where none is": change(lambda w: w + 1, "mixer_norm.weight", "mlp_norm.weight", "final_norm.weight"),
    "queries and keys swapped": exchange(("query.weight", "key.weight"), ("query.bias", "key.bias")),
    "norms swapped": exchange(("mixer_norm.weight", "mlp_norm.weight"), ("mixer_norm.bias", "mlp_norm.bias")),
    # A bias of the keys adds the same to all scores of a query: it cannot be seen.
    **{
        f"no {bias}": change(torch.zeros_like, bias)
        for bias in (
            *("patches.bias", "mixer_norm.bias", "mlp_norm.bias", "final_norm.bias", "up.bias", "down.bias"),
            *("query.bias", "value.bias", "out.bias"),
        )
    },
}


def wrong_by(features: Tensor, seen: tuple[Tensor, Tensor]) -> float:
    """The difference in tolerances."""
    return difference(features, seen[1]) / TOLERANCE


@pytest.mark.parametrize("mistake", EXITS)
def test_a_wrong_exit_is_seen(small: Eyes, seen: tuple[Tensor, Tensor], mistake: str) -> None:
    assert wrong_by(EXITS[mistake](small.ours(), seen[0]), seen) >= 100


@pytest.mark.parametrize("mistake", PATCHES)
def test_a_wrong_block_is_seen(small: Eyes, seen: tuple[Tensor, Tensor], mistake: str) -> None:
    with mock.patch.object(F, *PATCHES[mistake]):
        assert wrong_by(small.ours().encode(seen[0]), seen) >= 100


@pytest.mark.parametrize("mistake", TENSORS)
def test_a_wrong_tensor_is_seen(small: Eyes, seen: tuple[Tensor, Tensor], mistake: str) -> None:
    tensors = dict(small.tensors)
    TENSORS[mistake](None, tensors)
    assert wrong_by(small.ours(tensors).encode(seen[0]), seen) >= 100


# ---------------------------------------------------------------------------------------------------------------------
# bfloat16


def test_in_bfloat16_no_further_from_float32_than_transformers(small: Eyes) -> None:
    """On the very weights that bfloat16 kept. Rounding the result alone makes a good half of our drift."""
    pixels = eyes.pixels(PICTURES, small.spec.tower.image, seed=2)
    kept = {name: value.bfloat16().float() for name, value in small.tensors.items()}
    truth = small.ours(kept).encode(pixels)
    theirs = replace(
        small, encoder=copy.deepcopy(small.encoder).bfloat16(), projector=copy.deepcopy(small.projector).bfloat16()
    )
    ours = small.ours(kept).bfloat16().encode(pixels)
    assert ours.dtype == torch.bfloat16

    def drift(features: Tensor) -> float:
        return ((features.float() - truth).square().mean().sqrt() / truth.std()).item()

    allowed = drift(theirs.oracle(pixels.bfloat16()))
    assert 1e-4 <= drift(ours) <= 0.9 * allowed
