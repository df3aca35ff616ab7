"""A fresh tower whose layers begin by looking at what lies beside a patch."""

from __future__ import annotations

import torch

from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise_tower
from gemwright.nn.siglip import PatchBlock
from gemwright.recipes import neighbours

GRID = 12
EYES = Vision(tower=Encoder(image=96, patch=8, width=128, hidden=256, heads=8, depth=3, norm_epsilon=1e-6), tokens=36)


def _begun() -> Tower:
    tower = Tower(EYES, 16)
    initialise_tower(tower, torch.Generator().manual_seed(1))
    neighbours.begin(tower)
    return tower


def _looks(tower: Tower, layer: int) -> torch.Tensor:
    """`[heads, patches, patches]`: how a layer's heads share their attention over a picture of noise."""
    generator = torch.Generator().manual_seed(2)
    encoder = tower.encoder
    with torch.no_grad():
        pixels = torch.rand(1, 3, 96, 96, generator=generator) * 2 - 1
        x = (encoder.patches(pixels) + encoder.positions).flatten(0, 1)
        blocks = [block for block in encoder.layers if isinstance(block, PatchBlock)]
        for block in blocks[:layer]:
            x = block(x, 1)
        block = blocks[layer]
        held = block.mixer_norm(x)
        query, key = (one(held).unflatten(-1, (8, -1)).transpose(0, 1) for one in (block.mixer.query, block.mixer.key))
        return (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5).softmax(-1)


def test_each_head_of_the_first_layers_looks_at_another_neighbour() -> None:
    for layer in (0, 1):
        looks = _looks(_begun(), layer)
        for head, (down, across) in enumerate(neighbours.AROUND):
            patches = [(row, column) for row in range(1, GRID - 1) for column in range(1, GRID - 1)]
            here = torch.tensor([row * GRID + column for row, column in patches])
            there = torch.tensor([(row + down) * GRID + column + across for row, column in patches])
            assert looks[head, here, there].mean() > 0.5


def test_the_last_layer_looks_everywhere() -> None:
    assert _looks(_begun(), 2).amax(-1).mean() < 0.2


def test_places_are_not_mixed_with_what_is_seen() -> None:
    encoder = _begun().encoder
    with torch.no_grad():
        seen = encoder.patches(torch.rand(1, 3, 96, 96))[0]
    assert not seen[:, :64].any() and seen[:, 64:].abs().min() > 0
    assert not encoder.positions[:, 64:].any()


def test_waves_tell_near_patches_from_far_ones() -> None:
    found = neighbours.waves(12, 128).reshape(12, 12, 128)
    assert abs(float(found.square().mean()) - 0.5) < 1e-4
    middle = found[5, 5]
    near, far = (float(torch.nn.functional.cosine_similarity(middle, found[at], dim=0)) for at in ((5, 6), (0, 11)))
    assert far < near < 1
