"""How pictures reach a decoder: the encoder's patches become a few soft tokens in the decoder's width, which take the
place of embeddings (Gemma 3 report, section 2.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gemwright.arch.spec import Vision
from gemwright.nn.linear import samples
from gemwright.nn.norm import RMSNorm
from gemwright.nn.siglip import Siglip
from gemwright.ops.pointwise import wide

PATCHES = 4096  # that are encoded together: those of one picture of 896 pixels, or of many small ones


def pool(patches: Float[Tensor, "B P D"], side: int) -> Float[Tensor, "B T D"]:
    """Patches of a square grid, row by row → the means of its `side × side` equal squares, row by row; float32."""
    grid = round(patches.shape[1] ** 0.5)
    square = grid // side
    cut = wide(patches).unflatten(1, (side, square, side, square))  # [B, P, D] → [B, rows, square, columns, square, D]
    return cut.mean(dim=(2, 4)).flatten(1, 2)  # → [B, T, D]


class Projector(nn.Module):
    """Pool, then RMSNorm, then a product without bias, in this order. `weight` is `[tower's width, decoder's width]`:
    the files' orientation, the other way round than a linear layer's."""

    def __init__(self, spec: Vision, width: int) -> None:
        super().__init__()
        self.side = spec.side
        self.norm = RMSNorm(spec.tower.width, spec.tower.norm_epsilon)
        self.weight = nn.Parameter(torch.empty(spec.tower.width, width))

    def forward(self, patches: Float[Tensor, "B P E"]) -> Float[Tensor, "B T D"]:
        """`[B, patches, tower's width]` → `[B, tokens, decoder's width]` in the weight's dtype."""
        return self.norm(pool(patches, self.side)).to(self.weight.dtype) @ self.weight


class Tower(nn.Module):
    """An encoder and the projector that leads to one decoder of `width`.

    `encoder`: one that exists, to be shared with the towers of other decoders. Building computes nothing.
    """

    def __init__(self, spec: Vision, width: int, encoder: Siglip | None = None) -> None:
        super().__init__()
        if encoder is not None and encoder.spec != spec.tower:
            raise ValueError(f"the encoder to share is {encoder.spec}, this tower asks for {spec.tower}")
        self.spec = spec
        self.encoder = encoder or Siglip(spec.tower)
        self.projector = Projector(spec, width)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the products and of the soft tokens."""
        return self.encoder.dtype

    @property
    def device(self) -> torch.device:
        """Where the tower is."""
        return self.encoder.device

    def digest(self) -> str:
        """A name for these weights in this dtype: a hash over the shape and evenly spaced elements of every
        parameter."""
        found = hashlib.sha256(f"{self.spec} {self.dtype}".encode())
        for name, module in self.named_modules():
            for kind, some in samples(module).items():
                found.update(f"{name}.{kind}".encode() + some.numpy().tobytes())
        return found.hexdigest()[:32]

    def encode(self, pixels: Float[Tensor, "B 3 X Y"]) -> Float[Tensor, "B T D"]:
        """Pixels in [-1, 1], red, green, blue → soft tokens `[B, tokens, decoder's width]`, on the tower's device.

        However many the pictures are, at most `PATCHES` patches (or one picture) are in work at once. Soft tokens are
        not scaled by √D as embeddings are.
        """
        if not len(pixels):
            return self.projector.weight.new_empty(0, self.spec.tokens, self.projector.weight.shape[1])
        together = max(1, PATCHES // self.spec.tower.grid**2)
        parts = [self.projector(self.encoder(some.to(self.device))) for some in pixels.split(together)]
        return torch.cat(parts)


def splice(
    embed: Callable[[Tensor], Tensor], ids: Int64[Tensor, " N"], soft: Float[Tensor, "T D"], rows: Int64[Tensor, " M"]
) -> Float[Tensor, "N D"]:
    """Embeddings `[N, D]` of `ids`, with the soft tokens in place of `rows`: already scaled, before the first layer.

    What ids stand at `rows` does not matter: the marker of the released models, 262144, may lie beyond the table.
    `rows` names each row once, in the order of the soft tokens. Raises `ValueError` where their numbers differ.
    """
    if rows.shape[0] != soft.shape[0]:
        raise ValueError(f"{soft.shape[0]} soft tokens do not fit {rows.shape[0]} places")
    x = embed(ids.index_fill(0, rows, 0))
    return x.index_copy(0, rows, soft.to(x.dtype))
