"""The decoder: every text model of the family, built from its spec alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar, overload

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gemwright.arch.spec import Attention, Model
from gemwright.cache.allocate import Step
from gemwright.nn.block import Block
from gemwright.nn.embed import Embedding
from gemwright.nn.gemma import splice
from gemwright.nn.head import Head
from gemwright.nn.linear import samples
from gemwright.nn.norm import RMSNorm
from gemwright.ops.addends import Chosen
from gemwright.ops.native.calls import one_room
from gemwright.ops.rope import rope_angles
from gemwright.ops.span import Span

T = TypeVar("T")

NO_FLOAT16 = (
    "float16 cannot hold this family: residual streams pass 65,504, its largest number, and turn into infinities; "
    "use bfloat16 or float32"
)


class Decoder(nn.Module):
    """Embedding, blocks, final norm, and the head that reads the embedding backwards.

    Building it computes nothing: it may be built on the meta device, and is filled by `weights.stream` or
    `nn.init.initialise`.
    """

    def __init__(self, spec: Model) -> None:
        super().__init__()
        self.spec = spec
        self.recompute = False  # set by who trains: blocks keep their inputs alone and are run again for the gradient
        self.embed = Embedding(spec)
        self.layers = nn.ModuleList(Block(spec.width, layer, spec.norm_epsilon) for layer in spec.layers)
        self.final_norm = RMSNorm(spec.width, spec.norm_epsilon)
        self._ropes = sorted(
            {layer.mixer.rope for layer in spec.layers if isinstance(layer.mixer, Attention)},
            key=lambda rope: (rope.base, rope.factor, rope.channels),
        )

    @property
    def head(self) -> Head:
        """The tied head."""
        return Head(self.embed, self.spec.final_cap)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which memory is kept: that of the activations, or less where a packed model's are float32."""
        return self.embed.dtype

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.embed.device

    def digest(self) -> str:
        """A name for these weights: a hash over evenly spaced elements of every parameter. Saved sequences are tied to
        it, so that another tuning of the same architecture does not continue them."""
        digest = hashlib.sha256(self.spec.fingerprint().encode())
        for name, module in self.named_modules():
            swapped = getattr(module, "samples", None)  # a module without parameters says what it was made of
            for kind, some in (swapped() if swapped else samples(module)).items():
                digest.update(f"{name}.{kind}".encode() + some.numpy().tobytes())
        return digest.hexdigest()[:32]

    @overload
    def forward(
        self,
        ids: Tensor,
        span: Span,
        memory: Step | None = None,
        use: None = None,
        soft: Tensor | None = None,
        adapters: Chosen | None = None,
        rows: Tensor | None = None,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        ids: Tensor,
        span: Span,
        memory: Step | None,
        use: Callable[[Tensor, Head], T],
        soft: Tensor | None = None,
        adapters: Chosen | None = None,
        rows: Tensor | None = None,
    ) -> T: ...

    @overload
    def forward(
        self,
        ids: Tensor,
        span: Span,
        *,
        use: Callable[[Tensor, Head], T],
        soft: Tensor | None = None,
        adapters: Chosen | None = None,
        rows: Tensor | None = None,
    ) -> T: ...

    def forward(
        self,
        ids: Tensor,
        span: Span,
        memory: Step | None = None,
        use: Callable[[Tensor, Head], T] | None = None,
        soft: Tensor | None = None,
        adapters: Chosen | None = None,
        rows: Tensor | None = None,
    ) -> Tensor | T:
        """Run one step: ids int64 `[N]` → hidden states `[N, D]` after the final norm, or `use(hidden, head)`.

        What needs the head passes `use`, so that it runs inside the model's forward. With `memory` (inference only)
        the step's tokens continue what its sequences remember; the caller commits it. `soft` `[M, D]`: what a tower
        made of the span's pictures, in order; it stands in place of their ids' embeddings, whatever the ids are.
        `adapters`: which adapter each row has, of those that stand beside these weights (see `nn.adapters`). `rows`
        int64 `[M]`: those whose hidden states are wanted, `[M, D]`; behind the last mixer no other is computed.
        """
        if self.dtype == torch.float16:
            raise ValueError(NO_FLOAT16)
        if ids.shape != (span.plan.tokens,):
            raise ValueError(f"{tuple(ids.shape)} ids do not fit a step of {span.plan.tokens} tokens")
        if adapters is not None and adapters.rows.shape != ids.shape:
            raise ValueError(f"adapters of {tuple(adapters.rows.shape)} rows do not fit a step of {len(ids)} tokens")
        if memory is None:
            if any(span.plan.past):
                raise ValueError("a span with a past needs the memory that holds it")
            return self._run(ids, span, memory, use, soft, adapters, rows)
        if memory.span is not span:
            raise ValueError("this span is not the one that the memory was prepared for")
        with torch.no_grad():
            return self._run(ids, span, memory, use, soft, adapters, rows)

    def _run(
        self,
        ids: Tensor,
        span: Span,
        memory: Step | None,
        use: Callable[[Tensor, Head], T] | None,
        soft: Tensor | None,
        adapters: Chosen | None,
        rows: Tensor | None,
    ) -> Tensor | T:
        angles = {rope: rope_angles(span.tensors.position, rope) for rope in self._ropes}
        x = self.embed(ids) if soft is None else splice(self.embed, ids, soft, span.plan.picture_rows().to(ids.device))
        early = rows is not None and len(rows) < len(ids)  # else they are taken in the end
        with one_room():
            for index, block in enumerate(self.layers):
                some = None if adapters is None else adapters.layer(index)
                told = (span, angles, memory, index, some, rows if early and block is self.layers[-1] else None)
                if self.recompute and torch.is_grad_enabled():
                    # Blocks draw nothing at random, so there is no state of a generator to bring back.
                    x = checkpoint(block, x, *told, use_reentrant=False, preserve_rng_state=False)
                    assert isinstance(x, Tensor)
                else:
                    x = block(x, *told)
        hidden = self.final_norm(x if early or rows is None else x[rows])
        return hidden if use is None else use(hidden, self.head)
