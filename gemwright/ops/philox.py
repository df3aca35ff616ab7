"""Random numbers that are looked up, not drawn in turn: each is a function of a key and a counter.

So a number belongs to its place (which seed, which row, which position) and not to the order in which a program comes
to it. Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
"""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
_ROUNDS = 10


def philox(counter: Int64[Tensor, "*N 4"], key: tuple[int, int]) -> Int64[Tensor, "*N 4"]:
    """Four random words of 32 bits for each counter of four words. Words are int64, 0 to 2³² − 1."""
    a, b, c, d = counter.unbind(-1)
    left, right = key
    for _ in range(_ROUNDS):
        # A product wraps around 2⁶⁴; its bits are those of the unsigned one.
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (
            ((second >> 32) & _WORD) ^ b ^ left,
            second & _WORD,
            ((first >> 32) & _WORD) ^ d ^ right,
            first & _WORD,
        )
        left, right = (left + _WEYL[0]) & _WORD, (right + _WEYL[1]) & _WORD
    return torch.stack((a, b, c, d), dim=-1)


def uniforms(
    seed: int, serial: Int64[Tensor, " M"], position: Int64[Tensor, " M"], count: int
) -> Float64[Tensor, "M count"]:
    """`count` numbers in (0, 1), odd multiples of 2⁻³³, for each place (`serial`, `position`), int64 `[M]` each →
    float64 `[M, count]`.

    `seed` is taken modulo 2⁶⁴; serials and positions are 0 or more, positions below 2³².
    """
    blocks = torch.arange((count + 3) // 4, device=serial.device).expand(len(serial), -1)
    place = [position & _WORD, serial & _WORD, serial >> 32]
    counter = torch.stack([blocks, *(word[:, None].expand_as(blocks) for word in place)], dim=-1)
    words = philox(counter, (seed & _WORD, seed >> 32 & _WORD)).flatten(1)[:, :count]
    return (words.double() + 0.5) * 2.0**-32
