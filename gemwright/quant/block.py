"""Blocks that run in a few native calls: norms, products, QK-norm, RoPE, gates and the residual sums in one pass each.

They compute what `nn.block.Block` computes, with a residual stream in float32.
"""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gemwright.arch.spec import Attention, Recurrent, Rope
from gemwright.cache.allocate import Step
from gemwright.nn.attention import AttentionMixer
from gemwright.nn.block import Block
from gemwright.nn.norm import RMSNorm
from gemwright.nn.recurrent import BlockLinear, RecurrentMixer
from gemwright.ops.addends import Addends
from gemwright.ops.attend import attend_documents
from gemwright.ops.native import calls, structs
from gemwright.ops.native import matrix as native
from gemwright.ops.rope import Angles
from gemwright.ops.span import Span
from gemwright.quant.linear import PackedLinear


def _adopt(module: nn.Module, block: Block) -> None:
    for name, child in block.named_children():
        module.add_module(name, child)


def _gain(norm: RMSNorm) -> Tensor:
    return (1 + norm.weight.detach().float()).contiguous()


def _struct(linear: nn.Module) -> structs.Matrix:
    assert isinstance(linear, PackedLinear) and isinstance(linear.matrix, native.Matrix)
    return linear.matrix.struct(linear.bias)


def _form(linear: nn.Module) -> str:
    assert isinstance(linear, PackedLinear)
    return linear.matrix.form


def can_run(block: Block) -> bool:
    """Are all of a block's matrices packed for the kernels, and its sizes theirs?"""
    linears = [module for name, module in block.named_modules() if isinstance(module, PackedLinear)]
    wanted = 7 if isinstance(block.mixer, AttentionMixer) else 6
    if len(linears) != wanted or not all(isinstance(linear.matrix, native.Matrix) for linear in linears):
        return False
    mixer = block.mixer.spec
    if isinstance(mixer, Attention):
        return mixer.head_dim % 16 == 0
    return mixer.width % mixer.blocks == 0 and (mixer.width // mixer.blocks) % 32 == 0


def _beside(addends: Addends | None, rows: int, *names: str) -> tuple[int, int]:
    """Where a call finds the addends of its matrices, and what scratch they take, in bytes."""
    address = 0 if addends is None else addends.address(*names)
    if addends is None or not address:
        return 0, 0
    return address, calls.floats_bytes(*[rows * addends.most] * len(names))


class _Out:
    """A block from its mixer's last projection on."""

    def __init__(self, block: Block, name: str, mixed: int) -> None:
        """`name`: the projection's path in the block."""
        mlp, out = block.mlp, block.get_submodule(name)
        self._name = name
        norms = [block.mlp_norm]
        if block.spec.post_norms:
            norms += [block.mixer_post_norm, block.mlp_post_norm]
        self._keep = [_gain(norm) for norm in norms]
        gains = [calls.address(gain) for gain in self._keep]
        mlp_norm, post, mlp_post = gains if len(gains) == 3 else (*gains, None, None)
        self.width, self.mixed = block.mixer_norm.weight.shape[0], mixed
        self.hidden = block.spec.mlp.hidden
        self._forms = (_form(out), (_form(mlp.gate), _form(mlp.up)), _form(mlp.down))
        self._struct = structs.OutLayer(
            self.width,
            mixed,
            self.hidden,
            _struct(out),
            _struct(mlp.gate),
            _struct(mlp.up),
            _struct(mlp.down),
            post,
            mlp_norm,
            mlp_post,
            block.mlp_norm.epsilon,
        )
        self._address = ctypes.addressof(self._struct)

    def __call__(self, mixed: Tensor, x: Tensor, addends: Addends | None, rows: Tensor | None) -> Tensor:
        """mixed float32 `[N, …]` into the residual stream x float32 `[N, D]`, or into a copy of these rows of it."""
        if rows is not None:
            x, mixed, addends = x[rows], mixed[rows], None if addends is None else addends.at(rows)
        if count := x.shape[0]:
            adapters, more = _beside(addends, count, self._name, "mlp.gate", "mlp.up", "mlp.down")
            if adapters:
                more += calls.floats_bytes(count * self.hidden)
            calls.block_out(mixed, x, self._address, adapters, calls.room(self._bytes(count) + more))
        return x

    def _bytes(self, rows: int) -> int:
        out, inner, down = self._forms
        size = calls.rows_bytes(rows, self.mixed, out) + calls.rows_bytes(rows, self.width, *inner)
        return size + calls.rows_bytes(rows, self.hidden, down) + calls.floats_bytes(rows * self.width)


class NativeAttentionBlock(nn.Module):
    """A block with attention, in three calls. It keeps the modules that it was made of, under their names."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        mixer = block.mixer
        assert isinstance(mixer, AttentionMixer)
        _adopt(self, block)
        self.spec = block.spec
        self._mixer: Attention = mixer.spec
        spec = mixer.spec
        self._out = _Out(block, "mixer.out", spec.heads * spec.head_dim)
        self._keep = [_gain(block.mixer_norm)]
        if spec.qk_norm:
            self._keep += [_gain(mixer.query_norm), _gain(mixer.key_norm)]
        gains = [calls.address(gain) for gain in self._keep]
        self._made = (spec.heads + 2 * spec.kv_heads) * spec.head_dim
        linears = (mixer.query, mixer.key, mixer.value)
        self._forms = tuple(_form(linear) for linear in linears)
        self._struct = structs.AttentionLayer(
            self._out.width,
            spec.heads,
            spec.kv_heads,
            spec.head_dim,
            spec.rope.channels // 2,
            *(_struct(linear) for linear in linears),
            *(gains if len(gains) == 3 else (*gains, None, None)),
            block.mixer_norm.epsilon,
        )
        self._address = ctypes.addressof(self._struct)

    def forward(
        self,
        x: Float[Tensor, "N D"],
        span: Span,
        angles: dict[Rope, Angles],
        memory: Step | None,
        layer: int,
        addends: Addends | None = None,
        rows: Int64[Tensor, " M"] | None = None,
    ) -> Float[Tensor, "M D"]:
        """float32 `[N, D]`, overwritten with the result; with `rows` a new tensor, of theirs (see `nn.block`)."""
        spec, count = self._mixer, x.shape[0]
        cos, sin = angles[spec.rope]
        size = calls.rows_bytes(count, self._out.width, *self._forms) + calls.floats_bytes(count * self._made)
        heads = (spec.heads, spec.kv_heads, spec.head_dim)
        adapters, more = _beside(addends, count, "mixer.query", "mixer.key", "mixer.value")
        query, key, value = calls.attention_in(x, self._address, cos, sin, *heads, adapters, calls.room(size + more))
        if memory is None:
            mixed = attend_documents(query, key, value, span, window=spec.window, scale=spec.scale, cap=spec.cap)
        else:
            mixed = memory.attend(layer, query, key, value, spec)
        if mixed.dtype != torch.float32 or not mixed.is_contiguous():
            mixed = mixed.float().contiguous()
        return self._out(mixed, x, addends, rows)


class _Gate:
    """One gate's diagonal blocks, packed."""

    def __init__(self, gate: BlockLinear) -> None:
        count, size, _ = gate.weight.shape
        device = gate.weight.device
        self._matrices = [native.Matrix("bf16", size, size, device) for _ in range(count)]
        for matrix, weight in zip(self._matrices, gate.weight.detach(), strict=True):
            if device.type == "cpu" and calls.address(weight):
                matrix.write(0, weight.T)  # stored inputs first
        self._biases = [native.padded(bias.detach().float()) for bias in gate.bias]
        each = (matrix.struct(bias) for matrix, bias in zip(self._matrices, self._biases, strict=True))
        self.structs = (structs.Matrix * count)(*each)


class NativeRecurrentBlock(nn.Module):
    """A block with the recurrence, in two calls and the memory's. It keeps its modules likewise."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        mixer = block.mixer
        assert isinstance(mixer, RecurrentMixer)
        _adopt(self, block)
        self.spec = block.spec
        self._mixer: Recurrent = mixer.spec
        self._out = _Out(block, "mixer.linear_out", mixer.spec.width)
        self._forms = (_form(mixer.linear_x), _form(mixer.linear_y))
        lru, conv = mixer.rg_lru, mixer.conv
        self._gates = (_Gate(lru.a_gate), _Gate(lru.input_gate))
        self._keep = (
            _gain(block.mixer_norm),
            conv.weight.detach()[:, 0].float().T.contiguous(),
            conv.bias.detach().float().contiguous(),
            (-8.0 * F.softplus(lru.a_param.detach().float())).contiguous(),
        )
        norm, *rest = (calls.address(tensor) for tensor in self._keep)
        gates = (ctypes.addressof(gate.structs) for gate in self._gates)
        sizes = (mixer.spec.width, mixer.spec.blocks, mixer.spec.conv - 1)
        self._struct = structs.RecurrentIn(
            self._out.width,
            _struct(mixer.linear_x),
            _struct(mixer.linear_y),
            norm,
            block.mixer_norm.epsilon,
            structs.RecurrentLayer(*sizes, *rest, *gates),
        )
        self._address = ctypes.addressof(self._struct)

    def forward(
        self,
        x: Float[Tensor, "N D"],
        span: Span,
        angles: dict[Rope, Angles],
        memory: Step | None,
        layer: int,
        addends: Addends | None = None,
        rows: Int64[Tensor, " M"] | None = None,
    ) -> Float[Tensor, "M D"]:
        """float32 `[N, D]`, overwritten with the result; with `rows` a new tensor, of theirs (see `nn.block`)."""
        count, width = x.shape[0], self._mixer.width
        documents = len(span.plan.lengths)
        if memory is None:
            state = torch.zeros(documents, width)
            tail = torch.zeros(documents, self._mixer.conv - 1, width, dtype=torch.bfloat16)
            starts, fresh = torch.tensor(span.plan.starts), torch.ones(documents, dtype=torch.int64)
        else:
            state, tail, _ = memory.read(layer)
            starts, fresh = memory.bounds(layer)
        size = calls.rows_bytes(count, self._out.width, *self._forms)
        size += 5 * calls.floats_bytes(count * width) + calls.rows_bytes(count, width, "bf16")
        adapters, more = _beside(addends, count, "mixer.linear_x", "mixer.linear_y")
        states, mixed, inputs = calls.recurrent_in(
            x, self._address, width, state, tail.to(torch.bfloat16), starts, fresh, adapters, calls.room(size + more)
        )
        if memory is not None:
            memory.write(layer, states, inputs)
        return self._out(mixed, x, addends, rows)


def native_block(block: Block) -> nn.Module:
    """A block that `can_run`, as native calls."""
    return NativeAttentionBlock(block) if isinstance(block.mixer, AttentionMixer) else NativeRecurrentBlock(block)
