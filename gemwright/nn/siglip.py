"""SigLIP's vision transformer: pictures in, one vector for each patch out (Zhai et al., 2023; Gemma 3 report, 2.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gemwright.arch.spec import Tower
from gemwright.nn.linear import Linear
from gemwright.ops.attend import attend_all
from gemwright.ops.pointwise import wide

ROWS = 1024  # that an MLP takes at once where nothing is kept for gradients: their hidden vectors stay in the cache


class Patches(nn.Module):
    """Squares of `side` pixels → vectors: a convolution whose stride is its size, done as one product.

    It is taken in float32 whatever the weights are: it costs a hundredth of the tower, and bfloat16 would round pixels.
    """

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.empty(width, 3, side, side))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, pixels: Float[Tensor, "B 3 X Y"]) -> Float[Tensor, "B P D"]:
        """Patches row by row, float32; pixels beyond the last whole patch are left out, as a convolution does."""
        grid = pixels.shape[-1] // self.side
        whole = wide(pixels[:, :, : grid * self.side, : grid * self.side])
        cut = whole.unflatten(3, (grid, self.side)).unflatten(2, (grid, self.side))  # [B, 3, rows, side, columns, side]
        rows = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # → [B, P, 3 · side · side]
        weight = wide(self.weight.flatten(1))
        return F.linear(rows.to(weight.dtype), weight, wide(self.bias))


class LayerNorm(nn.LayerNorm):
    """`(x - mean) / deviation * weight + bias`, all in float32 and not cast back: callers round once, to multiply."""

    def forward(self, input: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """`[..., D]` → the same shape, float32."""
        return F.layer_norm(wide(input), self.normalized_shape, wide(self.weight), wide(self.bias), self.eps)


class PatchAttention(nn.Module):
    """Every patch of a picture sees every patch of it, and none of another picture."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.out = Linear(width, width)

    def forward(self, x: Float[Tensor, "N D"], pictures: int) -> Float[Tensor, "N D"]:
        """`[N, D]` → `[N, D]`, N = pictures · patches; scores are divided by √K."""
        query, key, value = (
            # [B · P, D] → [B, P, H, K]
            project(x).unflatten(-1, (self.heads, -1)).unflatten(0, (pictures, -1))
            for project in (self.query, self.key, self.value)
        )
        mixed = attend_all(query, key, value, scale=query.shape[-1] ** -0.5)
        return self.out(mixed.flatten(2).flatten(0, 1))  # [B, P, H, K] → [B · P, D]


class PatchMlp(nn.Module):
    """`down(gelu_tanh(up(x)))`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = Linear(width, hidden)
        self.down = Linear(hidden, width)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """`[N, D]` → `[N, D]`."""
        return self.down(self.up.gelu(x))


class PatchBlock(nn.Module):
    """`x + mixer(norm(x))`, then `x + mlp(norm(x))`. Products have the weights' dtype, the stream is float32."""

    def __init__(self, spec: Tower) -> None:
        super().__init__()
        self.mixer_norm = LayerNorm(spec.width, spec.norm_epsilon)
        self.mixer = PatchAttention(spec.width, spec.heads)
        self.mlp_norm = LayerNorm(spec.width, spec.norm_epsilon)
        self.mlp = PatchMlp(spec.width, spec.hidden)

    def forward(self, x: Float[Tensor, "N D"], pictures: int) -> Float[Tensor, "N D"]:
        """float32 `[N, D]` → the same, N = pictures · patches."""
        dtype = self.mixer_norm.weight.dtype
        x = x + self.mixer(self.mixer_norm(x).to(dtype), pictures)
        if torch.is_grad_enabled():
            return x + self.mlp(self.mlp_norm(x).to(dtype))
        for rows in x.split(ROWS):
            rows += self.mlp(self.mlp_norm(rows).to(dtype))
        return x


class Siglip(nn.Module):
    """The encoder: patches, learned positions, blocks, a last norm. No class token, no pooling.

    Building it computes nothing: it may be built on the meta device. One encoder may serve the projectors of several
    decoders: Gemma 3's 4B, 12B and 27B share its weights.
    """

    def __init__(self, spec: Tower) -> None:
        super().__init__()
        self.spec = spec
        self.patches = Patches(spec.patch, spec.width)
        self.positions = nn.Parameter(torch.empty(spec.grid**2, spec.width))
        self.layers = nn.ModuleList(PatchBlock(spec) for _ in range(spec.depth))
        self.final_norm = LayerNorm(spec.width, spec.norm_epsilon)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the products."""
        return self.positions.dtype

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return self.positions.device

    def begin(self, pixels: Float[Tensor, "B 3 X Y"]) -> Encoding:
        """Pixels in [-1, 1], red, green, blue, on their way through the blocks. All pictures go together.

        Raises `ValueError` for pictures of another size, and for float16 weights.
        """
        side = self.spec.image
        if pixels.shape[-2:] != (side, side):
            raise ValueError(f"this encoder sees {side} × {side} pixels, not {pixels.shape[-2]} × {pixels.shape[-1]}")
        if self.dtype == torch.float16:
            raise ValueError("a vision encoder runs in bfloat16 or float32: float16 was never tried on its weights")
        return Encoding(self, pixels)

    def forward(self, pixels: Float[Tensor, "B 3 X Y"]) -> Float[Tensor, "B P D"]:
        """Pixels → patches row by row, float32: `begin`, then all blocks at once."""
        encoding = self.begin(pixels)
        encoding.advance(encoding.left)
        return encoding.patches()


class Encoding:
    """Pictures on their way through an encoder, one block after the other; `Siglip.begin` makes it.

    It does not show in the values how many blocks are run at a time. Between two calls it holds the float32 stream,
    `[B · P, D]`; a block that ends with an exception leaves it as it was before that block.
    """

    def __init__(self, encoder: Siglip, pixels: Float[Tensor, "B 3 X Y"]) -> None:
        self.done = 0  # blocks
        self._encoder, self._pictures = encoder, len(pixels)
        self._x = (encoder.patches(pixels) + wide(encoder.positions)).flatten(0, 1)  # [B, P, D] → [B · P, D]

    @property
    def left(self) -> int:
        """Blocks that are still to be run."""
        return len(self._encoder.layers) - self.done

    def advance(self, blocks: int = 1) -> None:
        """Runs the next blocks, as many of them as are left."""
        for _ in range(min(blocks, self.left)):
            block = self._encoder.layers[self.done]
            self.done, self._x = self.done + 1, block(self._x, self._pictures)

    def patches(self) -> Float[Tensor, "B P D"]:
        """What comes out of the encoder, float32. Raises `ValueError` while blocks are left."""
        if self.left:
            raise ValueError(f"{self.left} blocks of this encoding are still to be run")
        return self._encoder.final_norm(self._x).unflatten(0, (self._pictures, -1))
