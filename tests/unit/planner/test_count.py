"""The planner's counts are the model's, the allocator's and the step's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gemwright.arch.gemma3 import gemma3
from gemwright.arch.presets import preset, sizes
from gemwright.arch.spec import Model, Tower, Vision
from gemwright.cache.allocate import allocate
from gemwright.loading import attach_lora, hold_adapter, save_lora
from gemwright.lora import Lora
from gemwright.nn import gemma
from gemwright.nn.adapters import Adapters
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.native import library
from gemwright.planner.count import (
    BEGUN,
    Forms,
    adapter_bytes,
    all_full,
    cache_bytes,
    encoding,
    parameters,
    vision_parameters,
    weights,
    working,
)
from gemwright.planner.live import LiveBytes
from gemwright.quant import swap
from gemwright.quant.scheme import SCHEMES

GB = 1e9
TINY = {"width": 64, "hidden": 96, "vocab": 300, "heads": 2, "kv_heads": 1, "head_dim": 16}

# Gigabytes in bfloat16: all layers global at 32K, local layers with W entries at 32K, the same at 128K, all at 128K.
CACHES = {
    "gemma-3-270m": (0.604, 0.109, None, None),
    "gemma-3-1b": (0.872, 0.146, None, None),
    "gemma-3-4b": (4.563, 0.793, 2.806, 18.25),
    "gemma-3-12b": (12.885, 2.483, 8.925, 51.54),
    "gemma-3-27b": (16.643, 3.121, 11.174, 66.57),
}


def cache_of(spec: Model, context: int, slack: int = 0) -> int:
    return sum(cache_bytes(spec, context=context, batch=1, dtype=torch.bfloat16, slack=slack).values())


def report_2b() -> Model:
    """Gemma 2 2B's shape with Gemma 3's pattern: the model of the Gemma 3 report's memory figures."""
    row = sizes("gemma-3-4b") | {"width": 2304, "depth": 26, "heads": 8, "kv_heads": 4, "hidden": 9216, "vision": None}
    return gemma3(name="report-2b", **row)


@pytest.mark.parametrize("name", CACHES)
def test_the_published_cache_sizes_without_slack(name: str) -> None:
    spec = preset(name)
    full_32k, windowed_32k, windowed_128k, full_128k = CACHES[name]
    assert cache_of(all_full(spec), 32_768) / GB == pytest.approx(full_32k, abs=6e-4)
    assert cache_of(spec, 32_768) / GB == pytest.approx(windowed_32k, abs=6e-4)
    if windowed_128k and full_128k:
        assert cache_of(spec, 131_072) / GB == pytest.approx(windowed_128k, abs=6e-4)
        assert cache_of(all_full(spec), 131_072) / GB == pytest.approx(full_128k, abs=6e-3)


def test_the_reports_2b_keeps_its_cache_under_15_percent_of_the_weights() -> None:
    spec = report_2b()
    weights = 2 * sum(parameters(spec).values())
    assert cache_of(spec, 32_768, slack=8) / weights < 0.15
    assert cache_of(all_full(spec), 32_768) / weights == pytest.approx(0.6, abs=0.08)


@pytest.mark.parametrize(("name", "megabytes"), [("recurrentgemma-2b", 17.2), ("recurrentgemma-9b", 26.2)])
def test_a_recurrent_state_has_one_size_at_every_length(name: str, megabytes: float) -> None:
    spec = preset(name)
    counted = {context: cache_of(spec, context, slack=8) for context in (2048, 8192, 1_000_000)}
    assert len(set(counted.values())) == 1
    # Beside the published state stand the rows that make rollback exact: 8 of slack and 1 more per layer.
    counts = cache_bytes(spec, context=8192, batch=1, dtype=torch.bfloat16, slack=0)
    width, layers = spec.width, spec.kinds.count("recurrent")
    one_more = layers * width * (4 + 2)  # one more state (float32) and one more input (bfloat16)
    assert (counts["local"] + counts["recurrent"] - one_more) / 1e6 == pytest.approx(megabytes, abs=0.06)
    assert counts["global"] == 0


@pytest.mark.parametrize("name", ["gemma-2b", "gemma-2-2b", "gemma-3-1b", "recurrentgemma-2b"])
def test_parts_add_up_to_the_module(name: str) -> None:
    spec = preset(name)
    with torch.device("meta"):
        total = sum(parameter.numel() for parameter in Decoder(spec).parameters())
    counts = parameters(spec)
    assert sum(counts.values()) == total
    assert counts["table"] == spec.vocab * spec.width
    assert bool(counts["recurrent"]) == ("recurrent" in spec.kinds)


def test_the_picture_tower_has_its_published_size() -> None:
    spec = preset("gemma-3-4b")
    assert spec.vision is not None
    projector = 1152 + 1152 * spec.width
    assert vision_parameters(spec.vision, spec.width) - projector == 416_866_032


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_encoding_takes_the_streams_of_pictures_under_way_and_a_block(dtype: torch.dtype) -> None:
    """As many pictures half done as there may be, then the last one to its end; real numbers and every block."""
    spec = Tower(image=120, patch=4, width=32, hidden=72, heads=2, depth=3, norm_epsilon=1e-6)
    vision = Vision(tower=spec, tokens=9)
    eyes = gemma.Tower(vision, 48).to(dtype).eval()
    for parameter in eyes.parameters():
        parameter.data.normal_(0.0, 0.1)
    held = list(eyes.parameters())
    with torch.no_grad(), LiveBytes(held) as live:
        begun = [eyes.encoder.begin(torch.zeros(1, 3, spec.image, spec.image)) for _ in range(BEGUN)]
        for one in begun:
            one.advance()
        begun[-1].advance(2)
        eyes.projector(begun[-1].patches())
    pixels = 3 * spec.image**2 * 4  # of the picture that begins: the block's are more
    assert encoding(vision, 48, dtype) - pixels <= live.peak <= encoding(vision, 48, dtype)


def test_all_full_widens_attention_and_nothing_else() -> None:
    spec = preset("recurrentgemma-2b")
    assert all_full(spec).kinds == tuple("global" if kind == "local" else kind for kind in spec.kinds)


def test_live_bytes_counts_a_storage_once_and_until_it_dies() -> None:
    kept = torch.zeros(100)
    with LiveBytes([kept]) as live:
        first = kept + 1
        views = [first[10:], first.view(10, 10)]
        assert live.live == 400
        second = first * 2
        assert live.live == 800
        del first, views
        assert live.live == 400
        kept.add_(1)
        assert live.live == 400
    assert live.peak == 800 and second.numel() == 100


def real_peak(spec: Model, context: int, chunk: int, int8: bool = False) -> int:
    """The most bytes alive in the last chunk of a prompt, with real numbers and every layer."""
    model = Decoder(spec)
    initialise(model, torch.Generator().manual_seed(0))
    cache = allocate(spec, sequences=1, tokens=context, dtype=torch.float32, int8=int8)
    handle, peak = cache.open(), 0
    memory = [value for store in cache.stores for value in vars(store).values() if isinstance(value, Tensor)]
    for begin in range(0, context, chunk):
        ids = torch.zeros(min(chunk, context - begin), dtype=torch.int64)
        step = cache.prepare([handle], [len(ids)])
        with LiveBytes([*model.parameters(), *memory, ids]) as live:
            model(ids, step.span, memory=step)
        step.commit()
        peak = live.peak
    return peak


@pytest.mark.parametrize("name", ["gemma-2b", "gemma-2-2b", "gemma-3-1b", "recurrentgemma-2b"])
def test_a_pretended_step_needs_what_a_real_one_needs(name: str) -> None:
    window = {} if name == "gemma-2b" else {"window": 16}
    recurrent = {"recurrent_width": 64, "gate_blocks": 2} if name == "recurrentgemma-2b" else {}
    spec = preset(name, **TINY, **window, **recurrent, depth=7)
    planned = working(spec, context=128, batch=1, chunk=32, dtype=torch.float32)
    # Index tensors of the step are small and told apart differently: a page of difference is none.
    assert planned.activations == pytest.approx(real_peak(spec, 128, 32), abs=4096)


def test_an_int8_cache_is_counted_by_its_stores_and_is_half_of_bfloat16_with_scales() -> None:
    spec = preset("gemma-3-4b")
    shape = {"context": 32_768, "batch": 2, "dtype": torch.bfloat16}
    plain, small = cache_bytes(spec, **shape), cache_bytes(spec, **shape, int8=True)
    assert small["local"] == plain["local"]  # windows stay as they are
    layers, heads, size = spec.kinds.count("global"), 4, 256
    assert small["global"] == 2 * layers * 2 * 32_768 * heads * (size + 4)  # keys and values, a scale for each head
    real = allocate(spec, sequences=1, tokens=64, dtype=torch.bfloat16, int8=True)
    assert real.bytes() == cache_bytes(spec, context=64, batch=1, dtype=torch.bfloat16, int8=True)


@pytest.mark.parametrize("packed", [True, False])
def test_a_pretended_step_on_an_int8_cache_needs_what_a_real_one_needs(packed: bool) -> None:
    spec = preset("gemma-3-1b", **TINY, window=16, depth=7)
    shape = {"context": 128, "batch": 1, "chunk": 32, "int8": True}
    if packed:
        planned = working(spec, **shape, dtype=torch.bfloat16, forms=forms_of(spec, "q8_0"))
        assert planned.activations == pytest.approx(packed_peak(spec, "q8_0", 128, 32, int8=True), abs=4096)
    else:
        planned = working(spec, **shape, dtype=torch.float32)
        assert planned.activations == pytest.approx(real_peak(spec, 128, 32, int8=True), abs=4096)


def test_larger_chunks_and_batches_need_more() -> None:
    spec = preset("gemma-3-1b", **TINY, depth=6, window=16)
    shape = {"context": 4096, "dtype": torch.bfloat16}
    small = working(spec, batch=1, chunk=64, **shape)
    large = working(spec, batch=1, chunk=512, **shape)
    many = working(spec, batch=64, chunk=64, **shape)
    assert 4 * small.activations < large.activations < 16 * small.activations
    assert many.logits > small.logits and many.activations > small.activations


@pytest.mark.parametrize("name", ["gemma-2-2b", "gemma-3-1b"])  # with a cap on logits and without
def test_guesses_need_the_rows_of_logits_that_a_real_head_makes(name: str) -> None:
    spec = preset(name, **TINY, depth=2, window=16)
    model = Decoder(spec)
    initialise(model, torch.Generator().manual_seed(0))

    def real(rows: int) -> int:
        hidden = torch.randn(64, 64)
        with torch.no_grad(), LiveBytes([*model.parameters(), hidden]) as live:
            model.head.logits(hidden[:1].expand(rows, -1).contiguous())
        return live.peak

    shape = {"context": 128, "batch": 2, "chunk": 32, "dtype": torch.float32}
    planned = [working(spec, **shape, ahead=ahead).logits for ahead in (0, 16)]
    assert planned[1] - planned[0] == pytest.approx(real(18) - real(2), abs=256)
    assert planned[1] - planned[0] >= 16 * 300 * 4


@pytest.mark.parametrize("targets", [("all-linear",), ("q_proj", "down")])
def test_adapters_take_what_is_counted(targets: tuple[str, ...], tmp_path: Path) -> None:
    spec = preset("gemma-3-1b", **TINY, depth=2, window=16)
    for name, rank in (("one", 4), ("two", 7)):
        model, generator = Decoder(spec), torch.Generator().manual_seed(0)
        initialise(model, generator)
        attach_lora(model, Lora(rank=rank, alpha=8.0, targets=targets, dropout=0.0, rslora=False), generator)
        save_lora(model, tmp_path / name)
    folders, held = {name: tmp_path / name for name in ("one", "two")}, Adapters(spec, "cpu")
    for name, folder in folders.items():
        hold_adapter(held, name, folder, spec)
    found, largest = adapter_bytes(spec, folders)
    assert found == held.nbytes > largest > found / 2
    assert adapter_bytes(spec, {}) == (0, 0)


def test_one_layer_of_each_kind_stands_for_all() -> None:
    spec = preset("gemma-3-1b", **TINY, depth=6, window=16)
    deep = replace(spec, layers=spec.layers * 4)
    shape = {"context": 256, "batch": 1, "chunk": 64, "dtype": torch.bfloat16}
    assert working(spec, **shape) == working(deep, **shape)


def packed_peak(spec: Model, name: str, context: int, chunk: int, int8: bool = False) -> int:
    """As `real_peak`, of a packed model."""
    model = Decoder(spec)
    initialise(model, torch.Generator().manual_seed(0))
    swap.swap(model.bfloat16(), SCHEMES[name])
    cache = allocate(spec, sequences=1, tokens=context, dtype=torch.bfloat16, int8=int8)
    handle, peak = cache.open(), 0
    memory = [value for store in cache.stores for value in vars(store).values() if isinstance(value, Tensor)]
    held = [tensor for module in model.modules() for tensor in tensors_of(module)]
    for begin in range(0, context, chunk):
        ids = torch.zeros(min(chunk, context - begin), dtype=torch.int64)
        step = cache.prepare([handle], [len(ids)])
        with LiveBytes([*held, *memory, ids]) as live:
            model(ids, step.span, memory=step)
        step.commit()
        peak = live.peak
    return peak


def tensors_of(module: torch.nn.Module) -> list[Tensor]:
    matrix = getattr(module, "matrix", None)
    return [*module.parameters(recurse=False), *([matrix.data, matrix.scales] if matrix is not None else [])]


def forms_of(spec: Model, name: str) -> Forms:
    with torch.device("meta"):
        model = Decoder(spec)
    return tuple((key, matrix.form) for key, matrix in swap.empty_matrices(model, SCHEMES[name], "meta").items())


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("scheme", ["bf16", "q8_0", "int4", "sfp8"])
@pytest.mark.parametrize("name", ["gemma-2-2b", "gemma-3-1b", "recurrentgemma-2b"])
def test_a_pretended_step_of_a_packed_model_needs_what_a_real_one_needs(
    name: str, scheme: str, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if native and not swap.has_kernels():
        pytest.skip("no native kernels were built here")
    if not native:
        monkeypatch.setattr(library, "best", lambda: None)
    recurrent = {"recurrent_width": 64, "gate_blocks": 2} if name == "recurrentgemma-2b" else {}
    spec = preset(name, **TINY, **recurrent, window=16, depth=7)
    planned = working(spec, context=128, batch=1, chunk=32, dtype=torch.bfloat16, forms=forms_of(spec, scheme))
    assert planned.activations == pytest.approx(packed_peak(spec, scheme, 128, 32), abs=4096)


def test_packed_weights_are_counted_with_their_scales_and_the_rows_that_packing_adds() -> None:
    if not swap.has_kernels():
        pytest.skip("rows are added for native kernels alone")
    spec = preset("gemma-3-1b", **TINY, depth=2)
    counted = weights(spec, torch.bfloat16, forms_of(spec, "int4"))
    padded = 320  # rows of the table, which has 300: a byte for each of 64 columns, and a scale
    assert counted.parts["table"] == padded * (64 + 4)
    # Two layers: gate and up with rows of 64 columns, half a byte each, down with rows of 96.
    assert counted.parts["mlp"] == 2 * (2 * 96 * (32 + 4) + 64 * (48 + 4))
    gains = 4 * (2 * (4 * 64 + 2 * 16))  # four norms of the width, two of the head, in float32
    assert gains <= counted.copies <= gains + (2 << 20) + 64 * 40


def test_layers_of_different_forms_are_told_apart() -> None:
    spec = preset("gemma-3-1b", **TINY, depth=4, window=16)
    shape = {"context": 256, "batch": 1, "chunk": 64, "dtype": torch.bfloat16}
    alike = dict(forms_of(spec, "q8_0"))
    mixed = alike | {name: "bf16" for name in alike if name.startswith("layers.2.mlp")}
    peaks = [working(spec, **shape, forms=tuple(forms.items())).activations for forms in (alike, mixed)]
    assert peaks[0] < peaks[1]
