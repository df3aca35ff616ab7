"""SFP8, "switched floating point": a sign, then 127 magnitudes up to 1.875 (gemma.cpp's format).

Magnitudes from 2^-7 up have three bits of mantissa, smaller ones two, down to 1.25 · 2^-23: 24 binades in a byte. Codes
of one sign grow with the magnitude, so a code is the magnitude's place in one table.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

LARGEST = 1.875
_SWITCH = 0.96875 * 2**-7  # from here on three bits of mantissa round up to 2^-7 or beyond
_STEP = 1 << 18  # values worked on at once: temporaries stay in the cache
_TINY = 0.9375 * 2**-23  # below, two bits round to less than 2^-23, which is stored as 0


def sfp8_encode(values: Float[Tensor, "*rows"]) -> UInt8[Tensor, "*rows"]:
    """The nearest code of each value, the even one of two; -0 is 0. Raises `ValueError` beyond ±1.875 and for NaN."""
    full = values.float()
    size = full.abs()
    if not bool((size <= LARGEST).all()):
        raise ValueError(f"SFP8 holds magnitudes up to {LARGEST}; divide by a scale first")
    bits = size.contiguous().view(torch.int32)
    large = _rounded(bits, 3)
    small = _rounded(bits, 2)
    # Codes from 2^-7 up: 64 + 8 (exponent + 7) + mantissa; below: 4 (exponent + 23) + mantissa. 127 stands for 2^0.
    codes = torch.where(size >= _SWITCH, 64 + large - 8 * (127 - 7), small - 4 * (127 - 23))
    codes = torch.where(size >= _TINY, codes.clamp(min=1), 0)  # 2^-23 itself has no code of its own
    return torch.where((codes > 0) & (full < 0), codes + 128, codes).to(torch.uint8)


def sfp8_decode(codes: UInt8[Tensor, "*rows"]) -> Float32[Tensor, "*rows"]:
    """The values of codes."""
    place = (codes & 127).int()
    large, small = place - 64 + 8 * (127 - 7), place + 4 * (127 - 23)
    bits = torch.where(place >= 64, large << 20, small << 21)
    size = torch.where(place > 0, bits, 0).view(torch.float32)
    return torch.where(codes >= 128, -size, size)


def sfp8_rows(weight: Float[Tensor, "O I"]) -> tuple[UInt8[Tensor, "O I"], Float32[Tensor, " O"]]:
    """Codes and one multiplier per row: `sfp8_decode(codes) * multiplier[:, None]` is near the weight."""
    codes = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
    most = torch.empty(len(weight), dtype=torch.float32, device=weight.device)
    step = max(1, _STEP // weight.shape[1])
    for start in range(0, len(weight), step):
        full = weight[start : start + step].float()
        peak = full.abs().amax(dim=1)
        factor = torch.where(peak > 0, LARGEST / peak, 0.0)
        codes[start : start + step] = _looked_up((full * factor[:, None]).clamp_(-LARGEST, LARGEST))
        most[start : start + step] = peak
    return codes, most / LARGEST


def _rounded(bits: Tensor, mantissa: int) -> Tensor:
    """The bits of positive floats cut to that much mantissa, to the nearest and in a tie to the even one."""
    cut = 23 - mantissa
    odd = (bits >> cut) & 1
    return (bits + odd + (1 << (cut - 1)) - 1) >> cut


# Both ways by table: what is written above, many times faster.
_VALUES = sfp8_decode(torch.arange(256, dtype=torch.uint8, device="cpu"))
_PAIRS = torch.stack([_VALUES.repeat(256), _VALUES.repeat_interleave(256)], dim=1).view(torch.int64).flatten()
_TOPS = (torch.arange(1 << 16, dtype=torch.int32, device="cpu") << 16).view(torch.float32)
_CODES = sfp8_encode(torch.where(_TOPS.abs() <= LARGEST, _TOPS, 0.0))


def sfp8_lookup(codes: UInt8[Tensor, "O I"]) -> Float32[Tensor, "O I"]:
    """`sfp8_decode` of rows of an even length: the table holds the values of every two codes, side by side."""
    places = codes.contiguous().view(torch.uint16).to(torch.int32)
    return _PAIRS.to(codes.device).index_select(0, places.flatten()).view(torch.float32).view(codes.shape)


def _looked_up(values: Tensor) -> Tensor:
    """`sfp8_encode` of float32 within ±1.875. The upper 16 bits of a number are its place in the table; their last one
    is set where lower ones are lost, so that they lie on the same side of every boundary, which all have fewer bits."""
    bits = values.contiguous().view(torch.int32)
    places = (bits >> 16).bitwise_and_(0xFFFF).bitwise_or_((bits & 0xFFFF) != 0)
    return _CODES.to(values.device).index_select(0, places.flatten()).view(values.shape)
