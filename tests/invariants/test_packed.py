"""Packed matrices beside the plain ones."""

from __future__ import annotations

import pytest
import small
import torch
from equivalence import equivalence, same_bits
from hypothesis import given
from hypothesis import strategies as st

from gemwright.nn.linear import Linear
from gemwright.quant.pack import PackedLinear, can_pack, pack

# One rounding of a sum to bfloat16, and the order of the sum: of the largest result.
ROUNDING = 2**-8

if not can_pack(small.model("local", torch.bfloat16)):
    pytest.skip("this CPU's oneDNN does not compute in bfloat16", allow_module_level=True)


@equivalence("a packed bfloat16 product = the plain one in float64, rounded once; the matrix comes back", "round")
@given(
    rows=st.integers(1, 70),
    inputs=st.integers(1, 200),
    outputs=st.integers(1, 200),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_products(rows: int, inputs: int, outputs: int, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    linear, x = Linear(inputs, outputs, bias=bias).bfloat16(), torch.randn(rows, inputs).bfloat16()
    packed = PackedLinear(linear)
    exact = torch.nn.functional.linear(x.double(), linear.weight.double(), linear.bias.double() if bias else None)
    with torch.inference_mode():
        for ours, truth in (
            (packed(x), exact),
            (packed.gelu(x), torch.nn.functional.gelu(exact, approximate="tanh")),
        ):
            assert (ours.double() - truth).abs().max() <= ROUNDING * truth.abs().max() + 1e-6
    assert same_bits(packed.weight(), linear.weight.detach())


@equivalence("a packed model is no further from float32 than the plain bfloat16 one", "round")
@pytest.mark.parametrize("name", ["global", "capped", "local", "recurrent"])
def test_models(name: str) -> None:
    plain, packed, exact = (small.model(name, dtype) for dtype in (torch.bfloat16, torch.bfloat16, torch.float32))
    for decoder in (packed, exact):
        decoder.load_state_dict(plain.state_dict())
    pack(packed)
    words = small.text(3, 60)
    truth = small.logits(exact, words)
    errors = [(small.logits(decoder, words).float() - truth).square().mean().sqrt() for decoder in (packed, plain)]
    assert errors[0] <= 1.2 * errors[1]
