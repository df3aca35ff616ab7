"""Fresh weights.

Griffin's rules are those of DeepMind's code (recurrentgemma). Gemma's are not published; matrices are drawn with the
standard deviation of transformers' port, 0.02, norm weights and biases start at 0. Where sublayers end in a norm, which
makes whatever they say as loud as one token, two rules are ours: the table is drawn so that a scaled embedding has a
mean square of 1, and the norms at the ends start so low that all sublayers together add as much. Otherwise a token can
hardly be told from what the untrained layers say of its neighbours, and copying is learnt late (docs/log.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gemwright.arch.spec import Model, Recurrent
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Projector, Tower
from gemwright.nn.norm import RMSNorm
from gemwright.nn.recurrent import BlockLinear, Conv
from gemwright.nn.siglip import LayerNorm, Patches, Siglip

GEMMA_DEVIATION = 0.02
_SLOWEST, _FASTEST = 0.9, 0.999  # the range of Griffin's per-step decay


@torch.no_grad()
def initialise(model: Decoder, generator: torch.Generator) -> None:
    """Draw every parameter of a built model, in place, in the order of its modules."""
    recurrent = any(isinstance(layer.mixer, Recurrent) for layer in model.spec.layers)
    depth = len(model.spec.layers)
    for name, module in model.named_modules():
        for kind, parameter in module.named_parameters(recurse=False):
            if kind == "a_param":
                parameter.copy_(_decays(parameter, generator))
                continue
            if name.endswith("post_norm"):
                parameter.fill_(1.0 / math.sqrt(2 * depth) - 1.0)  # a norm multiplies by 1 + weight
                continue
            deviation = _deviation(module, name, model.spec, recurrent) if kind == "weight" else 0.0
            if deviation == 0.0:
                parameter.zero_()
            else:
                parameter.normal_(0.0, deviation, generator=generator)


def _deviation(module: nn.Module, name: str, spec: Model, recurrent: bool) -> float:
    """The standard deviation of a module's weight; 0 for norms."""
    if isinstance(module, Conv):
        return math.sqrt(0.01 / module.weight.shape[-1])
    if isinstance(module, BlockLinear):
        return math.sqrt(1.0 / module.weight.shape[1])
    if isinstance(module, nn.Linear) or name == "embed":
        if name == "embed" and any(layer.post_norms for layer in spec.layers):
            return 1.0 / math.sqrt(spec.width)
        if not recurrent:
            return GEMMA_DEVIATION
        weight = module.weight
        assert isinstance(weight, Tensor)
        # Products that end in the residual stream shrink with the depth.
        last = name.rsplit(".", 1)[-1] in ("out", "linear_out", "down")
        return math.sqrt((2.0 / len(spec.layers) if last else 1.0) / weight.shape[-1])
    return 0.0


def _decays(parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Griffin's a_param: p with `exp(-softplus(p)) = sqrt(v)`, v uniform in [0.9², 0.999²].

    The paper puts the decay to the power of 8 in that range, DeepMind's code the decay itself; this follows the code.
    """
    low, high = _SLOWEST**2 + 1e-8, _FASTEST**2 + 1e-8
    squares = torch.empty(parameter.shape, dtype=torch.float64, device=parameter.device)
    squares.uniform_(low, high, generator=generator)
    return torch.log(torch.expm1(-0.5 * torch.log(squares)))


@torch.no_grad()
def initialise_tower(tower: Tower, generator: torch.Generator) -> None:
    """Draws every parameter, in place, in the order of its modules.

    Matrices are Xavier's, positions have a mean square of 1 over the width, biases start at 0 (as SigLIP's own code
    draws them). The projector is drawn so that a soft token is as long as a scaled embedding: a mean square of 1.
    """
    for module in tower.modules():
        if isinstance(module, LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
        elif isinstance(module, RMSNorm):
            module.weight.zero_()  # it multiplies by 1 + weight
        elif isinstance(module, Siglip):
            module.positions.normal_(0.0, module.spec.width**-0.5, generator=generator)
        elif isinstance(module, Patches):
            module.weight.normal_(0.0, module.weight[0].numel() ** -0.5, generator=generator)
            module.bias.zero_()
        elif isinstance(module, Projector):
            module.weight.normal_(0.0, module.weight.shape[0] ** -0.5, generator=generator)
        elif isinstance(module, nn.Linear):
            module.weight.normal_(0.0, math.sqrt(2.0 / sum(module.weight.shape)), generator=generator)
            module.bias.zero_()
