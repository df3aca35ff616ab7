"""The block formats that are only read: Q5_0, Q5_1 and the two-level "K" formats.

A K block holds 256 values in sub-blocks whose own scales are small integers: value = scale · sub-scale · code, less
minimum · sub-minimum where the format has one (layouts: `block_q*` in ggml-common.h). Every function turns blocks
(uint8 `[n, bytes]`) into values (float32 `[n, values]`), multiplied in ggml's order, so that the results are its to
the bit.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nibbles(data: Tensor) -> Tensor:
    """uint8 `[n, m]` → `[n, 2m]`: all low halves, then all high halves."""
    return torch.cat([data & 15, data >> 4], dim=1)


def q5_0(blocks: Tensor) -> Tensor:
    """A float16 scale, 32 fifth bits, 32 nibbles: scale · (code - 16)."""
    scale = _halves(blocks[:, :2])
    codes = nibbles(blocks[:, 6:]) | (_bits(blocks[:, 2:6]) << 4)
    return scale * (codes.float() - 16)


def q5_1(blocks: Tensor) -> Tensor:
    """A float16 scale and a float16 minimum, 32 fifth bits, 32 nibbles: scale · code + minimum."""
    scale, minimum = _halves(blocks[:, :2]), _halves(blocks[:, 2:4])
    codes = nibbles(blocks[:, 8:]) | (_bits(blocks[:, 4:8]) << 4)
    return scale * codes.float() + minimum


def q4_k(blocks: Tensor) -> Tensor:
    """Eight sub-blocks of 32 with scale and minimum of six bits each, then 256 nibbles."""
    scale, minimum = _sub_scales(blocks)
    return _scaled(scale, _paired(blocks[:, 16:]), minimum)


def q5_k(blocks: Tensor) -> Tensor:
    """As Q4_K, with a fifth bit: bit `s` of byte `i` of the 32 belongs to value `i` of sub-block `s`."""
    scale, minimum = _sub_scales(blocks)
    place = torch.arange(8, dtype=torch.uint8, device=blocks.device)
    fifth = (blocks[:, None, 16:48] >> place[:, None]) & 1  # [n, 8, 32]
    return _scaled(scale, _paired(blocks[:, 48:]) | (fifth << 4), minimum)


def q6_k(blocks: Tensor) -> Tensor:
    """Sixteen sub-blocks of 16 with signed byte scales: 256 nibbles, 256 pairs of high bits, scales, a float16."""
    low = blocks[:, :128].reshape(-1, 2, 64)
    low = torch.cat([low & 15, low >> 4], dim=2).view(-1, 2, 4, 32)
    place = torch.arange(0, 8, 2, dtype=torch.uint8, device=blocks.device)
    high = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> place[:, None]) & 3  # [n, 2, 4, 32]
    codes = (low | (high << 4)).view(-1, 16, 16).float() - 32
    scale = _halves(blocks[:, 208:210]) * blocks[:, 192:208].contiguous().view(torch.int8).float()  # [n, 16]
    return (scale[:, :, None] * codes).view(-1, 256)


def _halves(data: Tensor) -> Tensor:
    """uint8 `[n, 2]` → the float16 in it as float32 `[n, 1]`."""
    return data.contiguous().view(torch.float16).float()


def _bits(data: Tensor) -> Tensor:
    """uint8 `[n, m]` → its bits `[n, 8m]`, the lowest first."""
    place = torch.arange(8, dtype=torch.uint8, device=data.device)
    return ((data[:, :, None] >> place) & 1).flatten(1)


def _sub_scales(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and minimums of the eight sub-blocks of Q4_K and Q5_K, float32 `[n, 8]` each.

    Twelve bytes hold sixteen numbers of six bits: the first four of each kind in the low six bits of bytes 0 to 7,
    the last four in the nibbles of bytes 8 to 11 and the high two bits of bytes 0 to 7.
    """
    first, second, third = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = torch.cat([first & 63, (third & 15) | ((first >> 6) << 4)], dim=1)
    minimums = torch.cat([second & 63, (third >> 4) | ((second >> 6) << 4)], dim=1)
    return _halves(blocks[:, :2]) * scales.float(), _halves(blocks[:, 2:4]) * minimums.float()


def _paired(data: Tensor) -> Tensor:
    """uint8 `[n, 128]` → codes `[n, 8, 32]`: 32 bytes hold two sub-blocks, the first in their low halves."""
    four = data.reshape(-1, 4, 1, 32)
    return torch.cat([four & 15, four >> 4], dim=2).view(-1, 8, 32)


def _scaled(scale: Tensor, codes: Tensor, minimum: Tensor) -> Tensor:
    return (scale[:, :, None] * codes.float() - minimum[:, :, None]).flatten(1)
