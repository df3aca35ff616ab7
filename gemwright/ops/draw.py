"""Draws with replacement, by random numbers that are looked up by place and go down a tree of sums."""

from __future__ import annotations

import ctypes
from itertools import pairwise

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from gemwright.ops.native import calls, library, structs
from gemwright.ops.philox import uniforms


def descend(
    shares: Float[Tensor, "M V"], samples: int, seed: int, serial: Int64[Tensor, " M"], position: Int64[Tensor, " M"]
) -> tuple[Int64[Tensor, "M samples"], Float64[Tensor, "M 1"]]:
    """`samples` ids of each row, drawn by its shares and in ascending order, and the sum of the shares.

    A draw goes down a binary tree of sums in float64. In a level of n sums, the one at i is that of i and i + n in the
    level below; at each fork a number of `philox.uniforms`, by place (`serial`, `position`) and level, says which way.
    The kernel and the plain route give the same bits.
    """
    depth = forks(shares.shape[1])
    if shares.dtype == torch.float32 and shares.device.type == "cpu" and depth and calls.available():
        return _native(shares.contiguous(), samples, seed, serial.contiguous(), position.contiguous(), depth)
    levels = _tree(shares)
    numbers = uniforms(seed, serial, position, samples * depth).unflatten(1, (-1, samples))
    found = torch.zeros(len(shares), samples, dtype=torch.int64, device=shares.device)
    for level, (above, below) in enumerate(pairwise(levels)):
        # Numbers are neither 0 nor 1: a side without probability is never taken.
        right = numbers[:, level] * above.gather(1, found) >= below.gather(1, found)
        found += right * above.shape[1]
    return found.sort(1).values, levels[0]


def forks(count: int) -> int:
    """How many forks lead to one of `count` leaves."""
    return (count - 1).bit_length()


def _tree(shares: Tensor) -> list[Tensor]:
    """Sums of shares `[M, V]`, float64: `[M, 1]`, `[M, 2]`, `[M, 4]`, … down to the shares themselves, filled up with
    zeros."""
    leaves = shares.new_zeros(len(shares), 1 << forks(shares.shape[1]), dtype=torch.float64)
    leaves[:, : shares.shape[1]] = shares
    levels = [leaves]
    while (width := levels[-1].shape[1]) > 1:
        levels.append(levels[-1][:, : width // 2] + levels[-1][:, width // 2 :])
    return levels[::-1]


def _native(
    shares: Tensor, samples: int, seed: int, serial: Tensor, position: Tensor, depth: int
) -> tuple[Tensor, Tensor]:
    kernels = library.best()
    assert kernels is not None, "the caller has asked"
    rows, vocab = shares.shape
    found = torch.empty(rows, samples, dtype=torch.int64)
    total = torch.empty(rows, 1, dtype=torch.float64)
    addresses = (tensor.data_ptr() for tensor in (shares, serial, position, found, total))
    call = structs.Draw(rows, vocab, samples, depth, seed % (1 << 64), *addresses)
    kernels.gw_draw(ctypes.addressof(call), torch.get_num_threads())
    return found, total
