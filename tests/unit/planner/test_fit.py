"""Plans add up, and refuse what cannot be planned."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch

from gemwright.arch.presets import preset
from gemwright.errors import UserError
from gemwright.loading import load_model, open_checkpoint
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.native import calls, library
from gemwright.planner import count
from gemwright.planner.fit import Plan, plan
from gemwright.quant.scheme import SCHEMES
from gemwright.quant.swap import empty_matrices
from gemwright.weights.quantised_save import save_quantised
from gemwright.weights.save import save

TINY = preset("gemma-3-1b", width=64, hidden=96, vocab=320, heads=2, head_dim=32, depth=7, window=16, context=1024)


def test_the_12b_at_131072_tokens() -> None:
    counted = plan("gemma-3-12b", context=131_072)
    assert counted.cache_bytes / 1e9 == pytest.approx(8.9, abs=0.05)
    assert counted.all_full / 1e9 == pytest.approx(51.5, abs=0.05)
    # Packed bfloat16 takes 12 bits, and 64 bytes for each 32 rows; norms are float32.
    assert counted.weight_bytes == pytest.approx((1.5 if calls.available() else 2) * 11_765_788_416, rel=6e-4)
    assert counted.vision == 2 * (416_866_032 + 1152 + 1152 * 3840)
    stream = 4096 * 1152 * 4
    assert 4 * stream < counted.encoding < 8 * stream


def test_a_total_is_the_sum_of_its_rows_with_the_larger_of_those_that_take_turns() -> None:
    counted = plan(TINY, context=512, batch=2, chunk=64)
    rows = counted.weight_bytes + counted.copies + counted.cache_bytes + max(counted.activations, counted.logits)
    assert counted.total == rows + counted.tokenizer + counted.runtime + counted.scratch
    assert counted.vision == counted.encoding == 0 and counted.tokenizer == 0


def test_float32_doubles_weights_and_cache() -> None:
    half, whole = plan(TINY, context=512, dtype="bfloat16"), plan(TINY, context=512, dtype="float32")
    assert whole.weight_bytes == pytest.approx(2 * half.weight_bytes / (0.75 if calls.available() else 1), rel=0.05)
    assert whole.cache_bytes == 2 * half.cache_bytes


def test_a_batch_multiplies_the_cache() -> None:
    assert plan(TINY, context=512, batch=3).cache_bytes == 3 * plan(TINY, context=512).cache_bytes


def test_kept_beginnings_add_windows_and_states_to_the_cache() -> None:
    plain, more = (plan(TINY, context=512, batch=2, reuse=reuse) for reuse in (0, 4))
    assert more.cache["local"] == 3 * plain.cache["local"] and more.cache["global"] == plain.cache["global"]
    assert more.total - plain.total == 2 * plain.cache["local"]
    with pytest.raises(UserError, match="reuse is -1"):
        plan(TINY, reuse=-1)


def test_a_draft_adds_its_weights_and_its_cache() -> None:
    other = preset("gemma-3-1b", width=32, hidden=64, vocab=320, heads=2, head_dim=16, depth=7, window=16, context=256)
    plain, more = (plan(TINY, context=512, batch=2, speculate="lookup", draft=draft) for draft in (None, other))
    alone = plan(other, context=256, batch=2)
    assert more.draft_weights == alone.weight_bytes + alone.copies and more.draft_cache == alone.cache_bytes
    assert more.total - plain.total == more.draft_weights + more.draft_cache  # its steps are the smaller ones
    assert plan(TINY, context=512, draft=preset("gemma-3-27b")).draft_working > plain.activations


@pytest.mark.parametrize("native", [True, False])
def test_guesses_are_planned_where_they_are_run(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if native and not calls.available():
        pytest.skip("no native kernels were built here")
    if not native:
        monkeypatch.setattr(library, "best", lambda: None)
    count.guesses_unasked.cache_clear()
    planned = {how: plan(TINY, context=512, batch=3, speculate=how) for how in ("auto", "lookup", "off")}
    count.guesses_unasked.cache_clear()
    assert {how: one.ahead for how, one in planned.items()} == {"auto": 24 if native else 0, "lookup": 24, "off": 0}
    assert planned["lookup"].logits - planned["off"].logits >= 24 * TINY.vocab * 4


def test_an_int8_cache_makes_room_for_a_longer_context() -> None:
    assert TINY.context is not None
    memory = plan(TINY, context=TINY.context // 2).total
    plain, small = (plan(TINY, context=64, memory=memory, int8_cache=int8) for int8 in (False, True))
    assert not plain.int8_cache and small.int8_cache
    assert plain.longest is not None and small.longest is not None and small.longest > plain.longest
    assert small.cache["local"] == plain.cache["local"] and small.cache["global"] < plain.cache["global"]


@pytest.mark.parametrize("scheme", ["sfp8", "q8_0"])
def test_a_model_that_torch_runs_packed_can_be_planned(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As there are no kernels for its form, or none at all."""
    monkeypatch.setattr(library, "best", lambda: None)
    spec = preset("gemma-3-1b", width=64, hidden=96, vocab=352, heads=2, head_dim=32, depth=7, window=16, context=1024)
    plain, small = plan(spec, context=256), plan(spec, context=256, quant=scheme)
    row = 64 + 4  # codes, and a scale for the row, or one of 16 bits for each of its two groups
    assert small.weights["table"] == 352 * row and plain.weights["table"] == 352 * 128


def test_the_longest_context_fits_and_the_next_one_does_not() -> None:
    memory = plan(TINY, context=500).total
    counted = plan(TINY, context=64, memory=memory)
    longest = counted.longest
    assert longest is not None and 64 <= longest < 1024 and longest % 64 == 0
    assert plan(TINY, context=longest).total <= memory < plan(TINY, context=longest + 64).total
    assert counted.fits is True


def test_too_little_memory_holds_no_context() -> None:
    counted = plan(TINY, context=64, memory=1000)
    assert counted.longest == 0 and counted.fits is False


def test_enough_memory_holds_the_models_own_context() -> None:
    assert plan(TINY, memory=1 << 33).longest == TINY.context


def test_a_model_that_forgets_has_no_longest_context() -> None:
    spec = preset(
        "recurrentgemma-2b",
        width=64,
        hidden=96,
        vocab=300,
        heads=2,
        head_dim=16,
        recurrent_width=64,
        gate_blocks=2,
        depth=3,
    )
    counted = plan(spec, memory=1 << 30)
    assert counted.unbounded and counted.longest is None
    assert plan(spec, memory=1000).longest == 0


def test_hub_names_and_presets_are_one() -> None:
    assert plan("google/gemma-3-270m-it", context=512) == plan("gemma-3-270m", context=512)


def test_a_plan_is_json() -> None:
    counted = plan(TINY, context=128, memory=1 << 30)
    tree = json.loads(json.dumps(counted.to_json()))
    assert tree["total"] == counted.total and set(Plan.__dataclass_fields__) <= set(tree)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"context": 1}, "context is 1"),
        ({"context": 4096}, "1024"),
        ({"batch": 0}, "batch is 0"),
        ({"chunk": 0}, "chunk is 0"),
        ({"dtype": "float16"}, "float16"),
        ({"memory": 0}, "memory of 0"),
        ({"speculate": "sometimes"}, "no speculation 'sometimes'"),
    ],
)
def test_what_cannot_be_planned_is_named(settings: dict[str, int | str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        plan(TINY, **settings)  # type: ignore[arg-type]


def test_a_folder_is_planned_in_the_dtype_that_it_is_loaded_in(tmp_path: Path) -> None:
    """Most tensors are wide here, most bytes of the text model are not."""
    model = Decoder(TINY)
    initialise(model, torch.Generator().manual_seed(0))
    folder = save(model, tmp_path / "tiny", dtype=torch.bfloat16)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors = {name: value.float() if "norm" in name else value for name, value in tensors.items()}
    tensors |= {f"vision_tower.{index}.weight": torch.ones(2000) for index in range(100)}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    assert plan(folder, context=512).dtype == "bfloat16"
    assert load_model(folder).dtype == torch.bfloat16


def test_files_that_are_here_are_planned_before_published_sizes(tmp_path: Path, monkeypatch) -> None:
    model = Decoder(TINY)
    initialise(model, torch.Generator().manual_seed(0))
    folder = save(model, tmp_path / "tiny")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file: str(folder / file))
    counted = plan("google/gemma-3-1b-it")
    assert counted.dtype == "float32" and counted.context == TINY.context


def test_someone_elses_weights_are_not_planned_as_googles() -> None:
    with pytest.raises(UserError, match="someone/gemma-3-4b"):
        plan("someone/gemma-3-4b")


def test_an_unknown_name_is_refused_with_its_neighbours() -> None:
    with pytest.raises(UserError) as caught:
        plan("gemma-3-1bb")
    assert "gemma-3-1b" in caught.value.hint


def test_a_folder_is_planned_in_the_dtype_of_its_files(tmp_path: Path) -> None:
    model = Decoder(TINY)
    initialise(model, torch.Generator().manual_seed(0))
    save(model, tmp_path / "tiny")
    counted = plan(tmp_path / "tiny", context=512)
    assert counted.dtype == "float32" and counted.tokenizer == 0
    assert counted.weights == plan(TINY, context=512, dtype="float32").weights
    (tmp_path / "tiny" / "tokenizer.model").touch()
    assert plan(tmp_path / "tiny", context=512).tokenizer > 0


def test_a_scheme_makes_the_weights_smaller_and_the_longest_context_longer() -> None:
    plain = plan(TINY, context=512)
    memory = plan(TINY, context=512, quant="q4_0-all").total
    counted = {name: plan(TINY, context=512, quant=name, memory=memory) for name in ("q8_0", "q4_0", "q4_0-all")}
    sizes = [plain.weight_bytes, *(each.weight_bytes for each in counted.values())]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4
    assert plain.quant is None and counted["q4_0"].quant == "q4_0" and counted["q4_0"].dtype == "bfloat16"
    assert all(each.cache == plain.cache for each in counted.values())
    longest = [each.longest or 0 for each in counted.values()]
    assert longest == sorted(longest) and longest[0] < longest[-1]


def test_the_published_4b_in_four_bits() -> None:
    """4.5 bits for each weight of the blocks, 8.5 for the table's."""
    counted = plan("gemma-3-4b", context=1024, quant="q4_0")
    table = 262_208 * 2560
    blocks = 3_880_099_328 - table - sum(counted.weights[part] for part in ("norms",)) // 2
    assert counted.weight_bytes == pytest.approx(table * 8.5 / 8 + blocks * 4.5 / 8, rel=1e-3)


def test_a_quantised_folder_is_planned_as_it_is_held(tmp_path: Path) -> None:
    model = Decoder(TINY)
    initialise(model, torch.Generator().manual_seed(0))
    opened = open_checkpoint(save(model, tmp_path / "tiny", dtype=torch.bfloat16))
    with torch.device("meta"):
        matrices = empty_matrices(Decoder(TINY), SCHEMES["int4"], "meta")
    forms = {name: matrix.form for name, matrix in matrices.items()}
    save_quantised(tmp_path / "q", opened.spec, opened.source, opened.names, scheme="int4", forms=forms)
    held, asked = plan(tmp_path / "q", context=512), plan(TINY, context=512, quant="int4")
    assert held.weights == asked.weights and held.total == asked.total and held.quant is None
    again = plan(tmp_path / "q", context=512, quant="q8_0")
    assert again.weights == plan(TINY, context=512, quant="q8_0").weights


def test_a_plan_refuses_what_loading_refuses() -> None:
    with pytest.raises(UserError, match="'q3_k'"):
        plan(TINY, quant="q3_k")
    with pytest.raises(UserError, match="not in float32"):
        plan(TINY, quant="q8_0", dtype="float32")
    with pytest.raises(UserError, match="whole groups of 32"):
        plan(preset("gemma-3-1b", width=48, hidden=96, vocab=320, heads=2, head_dim=16, depth=2), quant="q8_0")
