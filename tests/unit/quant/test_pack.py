"""Packed matrices are the same matrices."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.nn.linear import Linear
from gemwright.ops.span import span
from gemwright.quant.pack import PackedLinear, can_pack, pack
from gemwright.weights.save import save

SIZES = {"width": 64, "depth": 3, "heads": 2, "head_dim": 32, "hidden": 96, "vocab": 90}


def _model(name: str, dtype: torch.dtype = torch.bfloat16) -> Decoder:
    more = {"recurrent_width": 64, "gate_blocks": 2} if name.startswith("recurrent") else {"kv_heads": 1}
    model = Decoder(preset(name, **SIZES, **more))
    initialise(model, torch.Generator().manual_seed(0))
    return model.to(dtype)


@pytest.fixture
def packable() -> None:
    """Skips where oneDNN has no bfloat16."""
    if not can_pack(_model("gemma-3-1b")):
        pytest.skip("this CPU's oneDNN does not compute in bfloat16")


@pytest.mark.parametrize("rows", [1, 5, 64])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.usefixtures("packable")
def test_a_packed_product_is_the_product(rows: int, bias: bool) -> None:
    linear = Linear(64, 96, bias=bias).bfloat16()
    packed, x = PackedLinear(linear), torch.randn(rows, 64).bfloat16()
    with torch.inference_mode():
        exact = x.double() @ linear.weight.double().T + (linear.bias.double() if bias else 0.0)
        # One rounding to bfloat16 of a float32 sum.
        assert torch.allclose(packed(x).double(), exact, rtol=2**-8, atol=1e-4)
        gelu = torch.nn.functional.gelu(exact, approximate="tanh")
        assert torch.allclose(packed.gelu(x).double(), gelu, rtol=2**-7, atol=1e-3)
    assert torch.equal(packed.weight(), linear.weight)


@pytest.mark.parametrize("name", ["gemma-2-2b", "gemma-3-1b", "recurrentgemma-2b"])
@pytest.mark.usefixtures("packable")
def test_a_packed_model_answers_as_the_plain_one_and_keeps_its_digest(name: str) -> None:
    plain, packed = _model(name), _model(name)
    pack(packed)
    ids = torch.randint(0, 90, (40,))
    with torch.no_grad():
        ours, theirs = (m(ids, span([40]), use=lambda hidden, head: head.logits(hidden)) for m in (packed, plain))
    assert (ours - theirs).square().mean().sqrt() < 0.02 * theirs.std()
    assert packed.digest() == plain.digest()
    assert not any(isinstance(module, Linear) for module in packed.modules())


@pytest.mark.usefixtures("packable")
def test_packing_never_keeps_the_plain_matrix() -> None:
    model = _model("gemma-3-1b")
    matrices = [weakref.ref(module.weight) for module in model.modules() if isinstance(module, Linear)]
    pack(model)
    gc.collect()
    assert matrices and not any(matrix() is not None for matrix in matrices)


def test_float32_models_are_left_alone() -> None:
    assert not can_pack(_model("gemma-3-1b", torch.float32))


@pytest.mark.usefixtures("packable")
def test_a_packed_model_is_neither_saved_with_holes_nor_trained_without_gradients(tmp_path: Path) -> None:
    model = _model("gemma-3-1b")
    pack(model)
    with pytest.raises(ValueError, match=r"21 parameters .*layers\.0"):
        save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ValueError, match="no gradients"):
        model(torch.tensor([2, 3]), span([2]))
