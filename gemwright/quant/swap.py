"""Packs a model's matrices: in place of the original, one at a time, never two copies of the model."""

from __future__ import annotations

import torch
from torch import nn

from gemwright.errors import UserError
from gemwright.nn.block import Block
from gemwright.nn.decoder import Decoder
from gemwright.nn.embed import Embedding
from gemwright.nn.linear import Linear
from gemwright.ops.matmul import GROUP, Form, Matrix
from gemwright.ops.native import calls
from gemwright.quant.block import can_run, native_block
from gemwright.quant.linear import PackedEmbedding, PackedLinear, Shape, make_matrices
from gemwright.quant.scheme import Scheme

TABLE = "embed.weight"


def packable(model: Decoder) -> bool:
    """Can every matrix be cut into groups of columns?"""
    linears = [module for module in model.modules() if isinstance(module, Linear)]
    return model.spec.width % GROUP == 0 and all(linear.in_features % GROUP == 0 for linear in linears)


def has_kernels() -> bool:
    """Are there native kernels for this machine?"""
    return calls.available()


def empty_matrices(
    model: Decoder, scheme: Scheme, device: torch.device | str = "cpu", forms: dict[str, Form] | None = None
) -> dict[str, Matrix]:
    """A matrix to fill for each parameter that the scheme packs, by the parameter's name. `forms`: parameters that
    take another form than the scheme's. Raises `UserError` for a model whose rows cannot be cut into groups."""
    if not packable(model):
        raise UserError(
            f"{model.spec.name} cannot be quantised: its rows are not whole groups of {GROUP} columns",
            hint="load it without quantisation",
        )
    forms = forms or {}
    shapes: dict[str, Shape] = {TABLE: (forms.get(TABLE, scheme.table), model.spec.vocab, model.spec.width)}
    for path, module in model.named_modules():
        if isinstance(module, Linear):
            name = f"{path}.weight"
            shapes[name] = (forms.get(name, scheme.linear), module.out_features, module.in_features)
    return make_matrices(shapes, torch.device(device))


def install(model: Decoder, matrices: dict[str, Matrix]) -> None:
    """Put filled matrices in place of the modules that hold their parameters, and run blocks natively where that can
    be."""
    for name, matrix in matrices.items():
        path = name.removesuffix(".weight")
        parent, leaf = model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
        child = getattr(parent, leaf)
        setattr(parent, leaf, _packed(child, matrix))
    for index, block in enumerate(model.layers if matrices else ()):
        assert isinstance(block, Block)
        if can_run(block):
            model.layers[index] = native_block(block)
        else:
            _widen(block)


def _widen(block: Block) -> None:
    """What is not packed in float32: where torch runs the block, it meets activations in that. (`Module.float` cannot
    do this to the pretended tensors that a plan is counted with.)"""
    for module in block.modules():
        for name, old in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(old.detach().float(), requires_grad=old.requires_grad))


def _packed(child: nn.Module, matrix: Matrix) -> nn.Module:
    if isinstance(child, Linear):
        return PackedLinear(matrix, child)
    assert isinstance(child, Embedding)
    return PackedEmbedding(matrix, child)


def swap(model: Decoder, scheme: Scheme) -> None:
    """Pack a model that is in memory."""
    matrices = empty_matrices(model, scheme, model.device)
    with torch.no_grad():
        for name, matrix in matrices.items():
            parameter = model.get_parameter(name)
            for start, stop in matrix.steps():
                matrix.write(start, parameter[start:stop])
            parameter.data = parameter.data.new_empty(0)  # give the original back before the next one is packed
    install(model, matrices)
