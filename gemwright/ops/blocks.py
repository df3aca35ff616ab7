"""Block formats: rows of weights cut into blocks that share a scale. The one home of these bytes.

Q4_0 and Q8_0 are written and read, the others (`block_k`) are read only. All of them are ggml's: a block's scale is a
float16 in front, and its rounding is that of ggml's reference functions (`quantize_row_q4_0_ref`,
`quantize_row_q8_0_ref` in ggml-quants.c), to the bit. Plain floats are the formats whose blocks have one value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16, Float32, Int8, UInt8
from torch import Tensor

from gemwright.ops import block_k
from gemwright.ops.native import calls

_STEP = 1 << 21  # values worked on at once: temporaries stay in the cache, and far below 64 MB


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a block is stored: its name, how many values share it, how many bytes it takes.

    `decode` turns blocks (uint8 `[n, bytes]`) into their values (float32 `[n, block]`).
    """

    name: str
    block: int
    bytes: int
    decode: Callable[[Tensor], Tensor]

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of `width` values. Raises `ValueError` when blocks do not fill the row."""
        if width % self.block:
            raise ValueError(f"{self.name} cuts rows into blocks of {self.block}, which {width} is no multiple of")
        return width // self.block * self.bytes


def quantize(values: Float[Tensor, "*rows I"], form: Format) -> UInt8[Tensor, "*rows J"]:
    """Values in the bytes of Q4_0 or Q8_0, rounded as ggml's reference does. Raises `ValueError` for other formats,
    and for a width that is no multiple of the block."""
    width = form.row_bytes(values.shape[-1])
    encode = _encoder(form)
    blocks = values.reshape(-1, form.block)
    out = calls.quantise_blocks(blocks, form.name.lower(), form.bytes)
    if out is None:
        out = torch.empty(len(blocks), form.bytes, dtype=torch.uint8, device=values.device)
        for part, place in zip(_parts(blocks), _parts(out, form.block), strict=True):
            codes, scales = encode(part.float())
            place.copy_(_joined(codes, scales, form))
    return out.view(*values.shape[:-1], width)


def dequantize(data: UInt8[Tensor, "*rows J"], form: Format) -> Float32[Tensor, "*rows I"]:
    """The values that bytes of any format stand for. Raises `ValueError` for rows that are cut inside a block."""
    blocks = _blocks(data, form)
    out = torch.empty(len(blocks), form.block, dtype=torch.float32, device=data.device)
    for part, place in zip(_parts(blocks, form.block), _parts(out), strict=True):
        place.copy_(form.decode(part))
    return out.view(*data.shape[:-1], -1)


def unpack(
    data: UInt8[Tensor, "*rows J"], form: Format
) -> tuple[Int8[Tensor, "*rows I"], Float16[Tensor, "*rows blocks"]]:
    """Q4_0's or Q8_0's bytes as codes (signed, -8 to 7 or -128 to 127) and one scale per block; value = code · scale.

    Raises `ValueError` for other formats.
    """
    _encoder(form)
    codes, scales = _split(_blocks(data, form), form)
    return codes.reshape(*data.shape[:-1], -1), scales.reshape(*data.shape[:-1], -1)


def pack(
    codes: Int8[Tensor, "*rows I"], scales: Float16[Tensor, "*rows blocks"], form: Format
) -> UInt8[Tensor, "*rows J"]:
    """The bytes of codes and scales: what `unpack` takes apart, to the bit."""
    _encoder(form)
    width = form.row_bytes(codes.shape[-1])
    joined = _joined(codes.reshape(-1, form.block), scales.reshape(-1, 1), form)
    return joined.view(*codes.shape[:-1], width)


def _parts(blocks: Tensor, values: int | None = None) -> tuple[Tensor, ...]:
    """Blocks in parts of at most `_STEP` values; `values` is how many a block holds."""
    return blocks.split(max(1, _STEP // (values or blocks.shape[1])))


def _blocks(data: Tensor, form: Format) -> Tensor:
    if data.shape[-1] % form.bytes:
        raise ValueError(f"rows of {data.shape[-1]} bytes do not hold whole blocks of {form.name}, {form.bytes} each")
    return data.reshape(-1, form.bytes)


def _encoder(form: Format) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    for known, encode in ((Q4_0, _encode_q4_0), (Q8_0, _encode_q8_0)):
        if form == known:
            return encode
    raise ValueError(f"{form.name} is only read; Q4_0 and Q8_0 are written and unpacked")


def _inverse(scale: Tensor) -> Tensor:
    """1 / scale, and 0 where that is no number: the scale of such a block is 0 in float16."""
    inverse = 1 / scale
    return torch.where(inverse.isfinite(), inverse, 0.0)


def _encode_q4_0(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Codes int8 `[n, 32]`, scales float16 `[n, 1]`: the element of largest magnitude gets code -8, exactly."""
    at = blocks.abs().argmax(dim=1, keepdim=True)  # the first of equals, as in a loop
    scale = (blocks.gather(1, at) + 0.0) / -8  # + 0.0: a block of zeros has the scale -0, whatever their signs
    codes = (blocks * _inverse(scale) + 8.5).nan_to_num_(8.0).clamp_(0, 15).to(torch.int8) - 8
    return codes, scale.half()


def _encode_q8_0(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Codes int8 `[n, 32]`, scales float16 `[n, 1]`: the largest magnitude gets code ±127; halves go away from 0."""
    scale = blocks.abs().amax(dim=1, keepdim=True) / 127
    steps = blocks * _inverse(scale)
    size = steps.abs()
    whole = size.floor()
    rounded = torch.where(size - whole >= 0.5, whole + 1, whole).nan_to_num_(0.0).clamp_(max=127)
    return torch.copysign(rounded, steps).to(torch.int8), scale.half()


def _joined(codes: Tensor, scales: Tensor, form: Format) -> Tensor:
    """Codes `[n, 32]` and scales `[n, 1]` → blocks `[n, bytes]`."""
    front = scales.contiguous().view(torch.uint8)
    if form == Q8_0:
        return torch.cat([front, codes.contiguous().view(torch.uint8)], dim=1)
    nibbles = (codes + 8).to(torch.uint8)
    return torch.cat([front, nibbles[:, :16] | (nibbles[:, 16:] << 4)], dim=1)


def _split(blocks: Tensor, form: Format) -> tuple[Tensor, Tensor]:
    """Blocks `[n, bytes]` → codes `[n, 32]`, scales `[n, 1]`."""
    scales = blocks[:, :2].contiguous().view(torch.float16)
    if form.block == form.bytes - 2:  # a byte for each value
        return blocks[:, 2:].contiguous().view(torch.int8), scales
    return block_k.nibbles(blocks[:, 2:]).to(torch.int8) - 8, scales


def _decode_q4_0(blocks: Tensor) -> Tensor:
    codes, scales = _split(blocks, Q4_0)
    return codes * scales.float()


def _decode_q8_0(blocks: Tensor) -> Tensor:
    codes, scales = _split(blocks, Q8_0)
    return codes * scales.float()


def _plain(name: str, dtype: torch.dtype) -> Format:
    return Format(name=name, block=1, bytes=dtype.itemsize, decode=lambda data: data.contiguous().view(dtype).float())


F32 = _plain("F32", torch.float32)
F16 = _plain("F16", torch.float16)
BF16 = _plain("BF16", torch.bfloat16)
Q4_0 = Format(name="Q4_0", block=32, bytes=18, decode=_decode_q4_0)
Q8_0 = Format(name="Q8_0", block=32, bytes=34, decode=_decode_q8_0)
Q5_0 = Format(name="Q5_0", block=32, bytes=22, decode=block_k.q5_0)
Q5_1 = Format(name="Q5_1", block=32, bytes=24, decode=block_k.q5_1)
Q4_K = Format(name="Q4_K", block=256, bytes=144, decode=block_k.q4_k)
Q5_K = Format(name="Q5_K", block=256, bytes=176, decode=block_k.q5_k)
Q6_K = Format(name="Q6_K", block=256, bytes=210, decode=block_k.q6_k)
