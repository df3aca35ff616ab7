"""Models whose matrices are packed."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor

from gemwright.arch.presets import preset
from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.native import calls, library
from gemwright.ops.native.matrix import FORMS
from gemwright.ops.span import span
from gemwright.quant.block import NativeAttentionBlock, NativeRecurrentBlock
from gemwright.quant.linear import PackedEmbedding, PackedLinear
from gemwright.quant.scheme import SCHEMES, Scheme, scheme
from gemwright.quant.swap import empty_matrices, swap

SIZES = {"width": 64, "depth": 4, "heads": 2, "head_dim": 16, "hidden": 96, "vocab": 90, "window": 8}
FAMILIES = ("gemma-2-2b", "gemma-3-1b", "recurrentgemma-2b")


def _spec(name: str) -> Model:
    more = {"recurrent_width": 64, "gate_blocks": 2} if name.startswith("recurrent") else {"kv_heads": 1}
    return preset(name, **SIZES, **more)


def _model(name: str) -> Decoder:
    model = Decoder(_spec(name))
    initialise(model, torch.Generator().manual_seed(0))
    return model.bfloat16()


def _logits(model: Decoder, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model(ids, span([len(ids)]), use=lambda hidden, head: head.logits(hidden))


def _twin(model: Decoder, chosen: Scheme) -> Decoder:
    """The float32 model of the packed weights' values."""
    twin = copy.deepcopy(model).float()
    twin.embed.rounding = "bfloat16"
    for name, matrix in empty_matrices(model, chosen).items():
        matrix.write(0, model.get_parameter(name).detach())
        twin.get_parameter(name).data.copy_(matrix.read())
    return twin


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("chosen", SCHEMES.values(), ids=SCHEMES.keys())
@pytest.mark.parametrize("name", FAMILIES)
def test_a_packed_model_is_the_model_of_its_weights(
    name: str, chosen: Scheme, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if native and not calls.available():
        pytest.skip("no native kernels were built here")
    if not native:
        monkeypatch.setattr(library, "best", lambda: None)
    model, ids = _model(name), torch.randint(0, 90, (40,))
    expected = _logits(_twin(model, chosen), ids)
    swap(model, chosen)
    native_blocks = [isinstance(block, NativeAttentionBlock | NativeRecurrentBlock) for block in model.layers]
    assert all(native_blocks) if native and chosen.linear in FORMS else not any(native_blocks)
    # What is left is the rounding of activations: to 8 bits in groups, or to bfloat16.
    bound = 0.015 if chosen.linear in ("bf16", "sfp8") else 0.03
    assert (_logits(model, ids) - expected).std() <= bound * expected.std()


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_packed_has_the_digest_of_bfloat16_and_others_have_their_own(name: str) -> None:
    plain = _model(name).digest()
    digests = []
    for chosen in SCHEMES.values():
        model = _model(name)
        swap(model, chosen)
        digests.append(model.digest())
    assert digests[0] == plain
    assert len(set(digests)) == len(digests)


def test_packing_never_keeps_the_plain_matrix() -> None:
    model = _model("gemma-3-1b")
    kept = [weakref.ref(model.embed.weight), weakref.ref(model.layers[0].mlp.up.weight)]  # type: ignore[union-attr]
    swap(model, SCHEMES["q4_0"])
    gc.collect()
    assert [reference() for reference in kept] == [None, None]
    assert not [name for name, parameter in model.named_parameters() if parameter.dim() > 1]


def test_the_table_is_held_once_and_read_at_both_ends() -> None:
    model = _model("gemma-3-1b")
    swap(model, SCHEMES["q8_0"])
    embed = model.embed
    assert isinstance(embed, PackedEmbedding)
    ids = torch.tensor([3, 80])
    assert torch.equal(embed(ids), embed.matrix.read()[ids] * 8.0)  # sqrt(64)
    assert embed.scores(embed(ids)).shape == (2, 90)
    assert embed.matrix.form == "q8_0"


def test_four_bits_keep_the_table_at_eight() -> None:
    forms = {name: matrix.form for name, matrix in empty_matrices(_model("gemma-3-1b"), SCHEMES["q4_0"]).items()}
    assert forms.pop("embed.weight") == "q8_0"
    assert set(forms.values()) == {"q4_0"}


def test_a_packed_model_gives_no_gradients() -> None:
    model = _model("gemma-3-1b")
    swap(model, SCHEMES["q8_0"])
    linear = model.layers[0].mlp.up  # type: ignore[union-attr]
    assert isinstance(linear, PackedLinear)
    with pytest.raises(ValueError, match="no gradients"):
        linear(torch.randn(2, 64, requires_grad=True))


def test_an_unknown_scheme_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match="'q3_k'") as error:
        scheme("q3_k")
    assert "q8_0" in (error.value.hint or "")


def test_rows_that_are_no_whole_groups_are_refused() -> None:
    model = Decoder(preset("gemma-3-1b", **{**SIZES, "width": 40}, kv_heads=1))
    with pytest.raises(UserError, match="whole groups of 32"):
        empty_matrices(model, SCHEMES["q8_0"])
