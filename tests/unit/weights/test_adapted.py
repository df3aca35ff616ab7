"""An adapter that is added while weights are read, from every kind of file and into every kind of matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gemwright.loading import load_model, open_checkpoint
from gemwright.lora import adopt, merge
from gemwright.nn.decoder import Decoder
from gemwright.nn.linear import Linear
from gemwright.ops.low_rank import Adapter, LowRank
from gemwright.quant.linear import PackedLinear
from gemwright.quant.scheme import SCHEMES
from gemwright.quant.swap import swap
from gemwright.weights.adapted import adapted, deltas
from gemwright.weights.gguf.write import write_gguf
from gemwright.weights.peft import write
from gemwright.weights.quantised_save import save_quantised
from gemwright.weights.save import save

TINY = "gemma-3-1b"
CHOSEN = ("query", "down")  # the modules that are adapted


@pytest.fixture
def model(tiny: Callable[[str], Decoder]) -> Decoder:
    return tiny(TINY)


@pytest.fixture
def adapter(model: Decoder) -> Adapter:
    generator = torch.Generator().manual_seed(4)
    modules = {}
    for path, module in model.named_modules():
        if isinstance(module, Linear) and path.endswith(CHOSEN):
            a = torch.randn(3, module.in_features, generator=generator)
            b = torch.randn(module.out_features, 3, generator=generator)
            modules[path] = LowRank(a=a, b=b, alpha=0.6, rslora=False)
    return Adapter(modules=modules, dropout=0.0, base=None)


@pytest.fixture
def folder(tmp_path: Path, model: Decoder, adapter: Adapter) -> Path:
    return write(tmp_path / "adapter", model.spec, adapter)


def merged(path: Path, adapter: Adapter, dtype: torch.dtype | str) -> Decoder:
    """The other way: the plain model first, the adapter in its modules then."""
    model = load_model(path, dtype=dtype, device="cpu").model
    adopt(model, adapter, torch.Generator())
    merge(model, keep=False)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_added_on_the_way_is_merged_in_the_model(
    tmp_path: Path, model: Decoder, adapter: Adapter, folder: Path, dtype: torch.dtype
) -> None:
    base = save(model, tmp_path / "base", dtype=dtype)
    loaded = load_model(base, device="cpu", adapter=folder)
    assert loaded.dtype == dtype and "14 matrices have the adapter" in loaded.notes[0] and len(loaded.notes) == 1
    expected = merged(base, adapter, "auto")
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, expected.get_parameter(name)), name


def test_a_float32_file_is_added_to_before_it_is_rounded(
    tmp_path: Path, model: Decoder, adapter: Adapter, folder: Path
) -> None:
    base = save(model, tmp_path / "base")
    loaded = load_model(base, dtype="bfloat16", device="cpu", adapter=folder).model
    path, pair = next(iter(adapter.modules.items()))
    once = pair.added(model.get_parameter(f"{path}.weight").detach()).bfloat16()
    assert torch.equal(loaded.get_parameter(f"{path}.weight"), once)
    twice = pair.added(model.get_parameter(f"{path}.weight").detach().bfloat16()).bfloat16()
    assert not torch.equal(once, twice)


def test_a_scheme_rounds_the_sum(tmp_path: Path, model: Decoder, adapter: Adapter, folder: Path) -> None:
    base = save(model, tmp_path / "base")
    loaded = load_model(base, device="cpu", quant="q8_0", adapter=folder).model
    expected = merged(base, adapter, torch.float32)
    swap(expected, SCHEMES["q8_0"])
    for path in adapter.modules:
        mine, other = loaded.get_submodule(path), expected.get_submodule(path)
        assert isinstance(mine, PackedLinear) and mine.matrix.form == "q8_0"
        assert torch.equal(mine.matrix.read(0, 16), other.matrix.read(0, 16))


@pytest.mark.parametrize("linear", ["q8_0", "bf16", "f32"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_gguf_file_is_added_to(
    tmp_path: Path, model: Decoder, adapter: Adapter, folder: Path, linear: str, packed: bool
) -> None:
    opened = open_checkpoint(save(model, tmp_path / "base"))
    write_gguf(tmp_path / "base.gguf", opened.spec, opened.source, opened.names, linear=linear)
    check_packed(tmp_path / "base.gguf", adapter, folder, packed)


@pytest.mark.parametrize("packed", [False, True])
def test_a_quantised_folder_is_added_to(
    tmp_path: Path, model: Decoder, adapter: Adapter, folder: Path, packed: bool
) -> None:
    opened = open_checkpoint(save(model, tmp_path / "base"))
    forms = {name: "int8" for name, value in model.named_parameters() if value.dim() == 2 and "layers" in name}
    out = tmp_path / "int8"
    save_quantised(out, opened.spec, opened.source, opened.names, scheme="int8", forms=forms)
    check_packed(out, adapter, folder, packed)


def check_packed(path: Path, adapter: Adapter, folder: Path, packed: bool) -> None:
    """Adapted matrices hold the sum in the model's dtype, whatever the file's form; the others are what they were."""
    loaded = load_model(path, device="cpu", packed=packed, adapter=folder)
    bare = load_model(path, device="cpu", packed=packed).model
    plain = load_model(path, dtype="float32", device="cpu").model
    assert loaded.dtype == bare.dtype
    for name, module in loaded.model.named_modules():
        if name.endswith(("query", "down", "up", "key")):
            rows = held(module)
            if name in adapter.modules:
                exact = adapter.modules[name].added(plain.get_parameter(f"{name}.weight").detach())
                assert torch.equal(rows, exact.to(loaded.dtype).float()), name
            else:
                assert torch.equal(rows, held(bare.get_submodule(name))), name


def held(module: torch.nn.Module) -> torch.Tensor:
    """A module's matrix as float32, packed or not."""
    if isinstance(module, PackedLinear):
        return module.matrix.read(0, module.matrix.outputs).float()
    assert isinstance(module.weight, torch.Tensor)
    return module.weight.detach().float()


def test_the_bytes_of_a_sum_are_not_to_be_had(tmp_path: Path, model: Decoder, adapter: Adapter) -> None:
    opened = open_checkpoint(save(model, tmp_path / "base"))
    write_gguf(tmp_path / "base.gguf", opened.spec, opened.source, opened.names, linear="q8_0")
    opened = open_checkpoint(tmp_path / "base.gguf")
    source = adapted(opened.source, opened.names, adapter)
    name = opened.names.theirs("layers.0.mixer.query.weight")
    with pytest.raises(ValueError, match="lack"):
        source.raw(name)
    assert source.kind(name) == "F32" and source.kind(opened.names.theirs("layers.0.mixer.key.weight")) == "Q8_0"


def test_deltas_are_norms_of_the_dense_products(tmp_path: Path, model: Decoder, adapter: Adapter) -> None:
    opened = open_checkpoint(save(model, tmp_path / "base"))
    found = list(deltas(opened.source, opened.names, adapter))
    assert [delta.module for delta in found] == list(adapter.modules)
    for delta in found:
        pair = adapter.modules[delta.module]
        weight = model.get_parameter(f"{delta.module}.weight").detach().double()
        assert delta.delta == pytest.approx(float((pair.scale * pair.b.double() @ pair.a.double()).norm()))
        assert delta.weight == pytest.approx(float(weight.norm())) and delta.rank == 3
        assert delta.share == delta.delta / delta.weight


def test_the_share_of_a_matrix_of_zeros_is_infinite_or_nothing() -> None:
    from gemwright.weights.adapted import Delta

    one = Delta(module="x", rank=1, delta=2.0, weight=0.0)
    assert one.share == math.inf and math.isnan(replace(one, delta=0.0).share)
