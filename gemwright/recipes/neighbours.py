"""How a tower begins that is to see soon: patches know where they lie, and layers look at the patches next to them.

What is drawn shows where patches meet, and a tower drawn at random has to find out first which patches do: the longest
part of its learning (docs/log.md). So half of its channels begin as places and nothing else, and in all layers but the
last each head begins by looking at one of the eight neighbours, so that a layer begins as a convolution of three by
three patches (d'Ascoli et al., "ConViT", 2021). Nothing is fixed: what is of no use is unlearnt.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gemwright.nn.gemma import Tower
from gemwright.nn.siglip import PatchAttention, PatchBlock

AROUND = tuple((down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if (down, across) != (0, 0))
_SHARP = 2.2  # with heads of 16 channels, so large that a patch's head first looks at its neighbour and little else
_FAINT = 0.1  # what is left of the queries and keys that were drawn


@torch.no_grad()
def begin(tower: Tower) -> None:
    """Changes a freshly drawn tower, in place."""
    encoder, spec = tower.encoder, tower.spec.tower
    places = spec.width // 2  # channels
    encoder.positions.zero_()
    encoder.positions[:, :places] = waves(spec.grid, places)
    encoder.patches.weight[:places] = 0.0
    blocks = [block for block in encoder.layers if isinstance(block, PatchBlock)]
    for block in blocks:
        block.mixer.out.weight[:places] = 0.0
        block.mlp.down.weight[:places] = 0.0
    for block in blocks[:-1]:
        _look_around(block.mixer, spec.grid, places)


def waves(grid: int, channels: int) -> Tensor:
    """`[grid · grid, channels]`: sines and cosines of rows, then of columns, of a mean square of 1/2."""
    angles = 2 * math.pi * torch.arange(grid)[:, None] / _lengths(grid, channels)  # [grid, channels / 4]
    one = torch.cat([angles.sin(), angles.cos()], dim=1)
    both = [one[:, None].expand(grid, grid, -1), one[None].expand(grid, grid, -1)]
    return torch.cat(both, dim=2).flatten(0, 1)


def _lengths(grid: int, channels: int) -> Tensor:
    """Wavelengths, from two patches to twice the grid."""
    count = channels // 4
    return 2.0 * grid ** (torch.arange(count) / max(count - 1, 1))


def _look_around(mixer: PatchAttention, grid: int, channels: int) -> None:
    """Keys tell in some of the waves where a patch is; the queries of a head tell it of the patch's neighbour."""
    lengths = _lengths(grid, channels)
    count = len(lengths)
    size = mixer.query.weight.shape[0] // mixer.heads
    waves = min(size // 4, count - 1)  # of rows, and as many of columns
    step = max(1, (count - 1) // (waves + 1))
    mixer.query.weight *= _FAINT
    mixer.key.weight *= _FAINT
    for head in range(mixer.heads):
        for axis, away in enumerate(AROUND[head % len(AROUND)]):
            for wave in range(waves):
                length = 1 + wave * step
                turn = 2 * math.pi * away / lengths[length]
                sine, cosine = 2 * axis * count + length, (2 * axis + 1) * count + length
                row = head * size + 2 * (axis * waves + wave)
                # sin(a + turn) = sin a cos turn + cos a sin turn, cos(a + turn) = cos a cos turn - sin a sin turn
                mixer.key.weight[row, sine] += _SHARP
                mixer.key.weight[row + 1, cosine] += _SHARP
                mixer.query.weight[row, sine] += _SHARP * turn.cos()
                mixer.query.weight[row, cosine] += _SHARP * turn.sin()
                mixer.query.weight[row + 1, cosine] += _SHARP * turn.cos()
                mixer.query.weight[row + 1, sine] -= _SHARP * turn.sin()
