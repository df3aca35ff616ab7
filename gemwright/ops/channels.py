"""Integers with one scale per output channel, symmetric around 0: int4 and int8 as in Gemma's quantised checkpoints."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor

INT4, INT8 = 7, 127  # the code of a channel's largest magnitude


def quantize_channels(weight: Float[Tensor, "O I"], levels: int) -> tuple[Int8[Tensor, "O I"], Float32[Tensor, " O"]]:
    """Codes `round(w · levels / max|w|)` in ±levels, and the multiplier `max|w| / levels` of each row.

    A row of zeros has codes 0 and the multiplier 0. Raises `ValueError` for levels outside 1 to 127.
    """
    if not 1 <= levels <= 127:
        raise ValueError(f"{levels} levels do not fit a byte")
    full = weight.float()
    most = full.abs().amax(dim=1)
    scale = torch.where(most > 0, levels / most, 0.0)
    codes = (full * scale[:, None]).nan_to_num_(0.0).round_().clamp_(-levels, levels)
    return codes.to(torch.int8), most / levels


def dequantize_channels(codes: Int8[Tensor, "O I"], multiplier: Float32[Tensor, " O"]) -> Float32[Tensor, "O I"]:
    """The values that the codes stand for."""
    return codes * multiplier[:, None]
