"""Every tensor of a file goes to its place once, a block of rows at a time, or the file is refused by name."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

from gemwright.arch.presets import preset
from gemwright.errors import UserError
from gemwright.loading import load_model
from gemwright.nn.decoder import Decoder
from gemwright.ops.span import span
from gemwright.weights.folder import SINGLE, Folder
from gemwright.weights.hf_config import read
from gemwright.weights.save import save
from gemwright.weights.stream import _room, blocks, load_into

TEXT = ("language_model.model.", "model.language_model.")
LOOK = {  # how the vision half and the projector are spelt in the four layouts in circulation
    "hub": ("language_model.model.", "vision_tower.vision_model.", "multi_modal_projector."),
    "4.5x": ("model.language_model.", "model.vision_tower.vision_model.", "model.multi_modal_projector."),
    "5.x in memory": ("model.language_model.", "model.vision_tower.", "model.multi_modal_projector."),
    "5.x from scratch": ("language_model.model.", "vision_tower.", "multi_modal_projector."),
}


def rewrite(folder: Path, change) -> None:
    """Change the tensors of a single-file folder: a function from the table of tensors to another."""
    tensors = safetensors.torch.load_file(folder / SINGLE)
    safetensors.torch.save_file(change(tensors), folder / SINGLE, metadata={"format": "pt"})


def renamed(tensors: dict[str, torch.Tensor], *pairs: tuple[str, str]) -> dict[str, torch.Tensor]:
    """Each name with the first fitting prefix exchanged."""
    out = {}
    for name, value in tensors.items():
        old, new = next(((old, new) for old, new in pairs if name.startswith(old)), ("", ""))
        out[new + name.removeprefix(old)] = value
    return out


def refused(folder: Path, *named: str) -> None:
    with pytest.raises(UserError) as caught:
        load_model(folder)
    for word in named:
        assert word in str(caught.value)


@pytest.mark.parametrize("look", LOOK)
def test_every_spelling_of_a_multimodal_file_loads_and_comes_back(checkpoint, tmp_path, look) -> None:
    folder = checkpoint("gemma3-vision")
    before = load_model(folder)
    text, tower, projector = LOOK[look]
    pairs = (("language_model.model.", text), ("vision_tower.", tower), ("multi_modal_projector.", projector))
    rewrite(folder, lambda tensors: renamed(tensors, *pairs))
    after = load_model(folder)
    for name, value in before.model.named_parameters():
        assert torch.equal(value, after.model.get_parameter(name))
    left = [name for names in after.left.values() for name in names]
    assert len(left) == 39 and all(name.startswith((tower, projector)) for name in left)
    out = save(after.model, tmp_path / "out", layout=after.layout)
    assert (out / SINGLE).read_bytes() == (folder / SINGLE).read_bytes()


@pytest.mark.parametrize("prefix", ["", "model.", "language_model.model.", "model.language_model.", "language_model."])
@pytest.mark.parametrize("family", ["gemma1", "gemma3", "recurrentgemma"])
def test_every_prefix_of_a_text_model_loads(checkpoint, family, prefix) -> None:
    folder = checkpoint(family)
    before = load_model(folder).model.embed.weight
    rewrite(folder, lambda tensors: renamed(tensors, ("model.", prefix)))
    assert torch.equal(before, load_model(folder).model.embed.weight)


@pytest.mark.parametrize("head", ["lm_head.weight", "language_model.lm_head.weight"])
def test_an_equal_output_table_is_left_and_comes_back(checkpoint, tmp_path, head) -> None:
    folder = checkpoint("gemma3")
    rewrite(folder, lambda tensors: tensors | {head: tensors["model.embed_tokens.weight"].clone()})
    loaded = load_model(folder)
    assert (head,) in loaded.left.values()
    out = save(loaded.model, tmp_path / "out", layout=loaded.layout)
    assert (out / SINGLE).read_bytes() == (folder / SINGLE).read_bytes()


def test_another_output_table_is_refused(checkpoint) -> None:
    folder = checkpoint("gemma3")

    def untie(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        head = tensors["model.embed_tokens.weight"].clone()
        head[-1, -1] += 1e-3
        return tensors | {"lm_head.weight": head}

    rewrite(folder, untie)
    refused(folder, "lm_head.weight", "differs")


def test_saved_angles_are_left(checkpoint) -> None:
    folder = checkpoint("gemma1")
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda tensors: tensors | {name: torch.ones(8)})
    assert (name,) in load_model(folder).left.values()


def test_a_renamed_tensor_is_named_with_its_likely_place(checkpoint) -> None:
    folder = checkpoint("gemma2")
    old, new = "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.upp_proj.weight"
    rewrite(folder, lambda tensors: {new if name == old else name: value for name, value in tensors.items()})
    refused(folder, "1 tensors are missing", old, "1 tensors are unknown", new, "may be")


def test_a_missing_tensor_is_named(checkpoint) -> None:
    folder = checkpoint("recurrentgemma")
    gone = "model.layers.0.temporal_block.rg_lru.recurrent_param"
    rewrite(folder, lambda tensors: {name: value for name, value in tensors.items() if name != gone})
    refused(folder, "1 tensors are missing", gone)


def test_a_wrong_shape_is_said_with_both_shapes(checkpoint) -> None:
    folder = checkpoint("gemma3")
    name = "model.layers.0.self_attn.q_proj.weight"
    rewrite(folder, lambda tensors: tensors | {name: tensors[name][:-1].clone()})
    refused(folder, name, "[63, 32]", "[64, 32]")


def test_quantised_tensors_are_refused(checkpoint) -> None:
    folder = checkpoint("gemma1")
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(folder, lambda tensors: tensors | {name: tensors[name].to(torch.int8)})
    refused(folder, name, "int8")


def test_a_file_of_something_else_is_refused(checkpoint) -> None:
    folder = checkpoint("gemma1")
    rewrite(folder, lambda tensors: {"base_model.lora_A.weight": torch.ones(2)})
    refused(folder, "no embedding table", "lora_A")


def test_a_config_of_another_family_is_refused(checkpoint) -> None:
    folder = checkpoint("gemma2")
    (folder / "config.json").write_bytes((checkpoint("gemma1") / "config.json").read_bytes())
    refused(folder, "unknown", "pre_feedforward_layernorm")


@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_values_are_cast_and_nothing_else(checkpoint, wanted) -> None:
    folder = checkpoint("recurrentgemma")
    loaded = load_model(folder, dtype=wanted)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {wanted}
    source = safetensors.torch.load_file(folder / SINGLE)
    assert torch.equal(loaded.model.embed.weight, source["model.embed_tokens.weight"].to(wanted))


@pytest.mark.parametrize("family", ["gemma1", "gemma2", "gemma3", "gemma3-vision", "recurrentgemma"])
def test_every_tensor_reached_the_place_that_transformers_gives_it(checkpoint, family) -> None:
    """Names can be swapped without a word (the two gates have one shape); the logits cannot."""
    folder = checkpoint(family)
    kind = transformers.AutoModelForImageTextToText if "vision" in family else transformers.AutoModelForCausalLM
    reference = kind.from_pretrained(folder, attn_implementation="eager").eval()
    model = load_model(folder).model
    ids = torch.randint(5, 90, (24,), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        theirs = reference(ids[None]).logits[0]
        ours = model(ids, span([24]), use=lambda hidden, head: head.logits(hidden))
    assert float((ours - theirs).abs().max() / theirs.std()) < 1e-4


class Counted(Folder):
    """A folder that remembers the bytes of each block that was asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[int] = []

    def view(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        rows = super().view(name, start, stop)
        self.asked.append(rows.numel() * rows.itemsize)
        return rows


def test_no_block_is_larger_than_the_chunk_and_none_is_missing(checkpoint) -> None:
    folder = checkpoint("gemma3")
    with torch.device("meta"):
        model = Decoder(read(folder)[0])
    source = Counted(folder)
    load_into(model, source, chunk=512)
    assert max(source.asked) <= 512
    assert sum(source.asked) == source.bytes()
    whole = load_model(folder).model
    assert all(torch.equal(value, whole.get_parameter(name)) for name, value in model.named_parameters())


@pytest.mark.parametrize(("rows", "row", "chunk"), [(10, 8, 24), (10, 8, 80), (1, 100, 8), (7, 0, 8), (0, 4, 8)])
def test_blocks_cover_every_row_once(rows, row, chunk) -> None:
    found = [index for start, stop in blocks(rows, row, chunk) for index in range(start, stop)]
    assert found == list(range(rows))


def test_a_place_decides_where_values_go(checkpoint) -> None:
    folder = checkpoint("gemma1")
    spec, _ = read(folder)
    with torch.device("meta"):
        model = Decoder(spec)
    pool = torch.zeros(sum(parameter.numel() for parameter in model.parameters()))
    used = 0

    def place(name: str, parameter: torch.nn.Parameter) -> torch.Tensor:
        nonlocal used
        used += parameter.numel()
        return pool[used - parameter.numel() : used].view(parameter.shape)

    load_into(model, folder, place=place)
    assert used == pool.numel() and bool((pool != 0).any())
    assert model.embed.weight.untyped_storage().data_ptr() == pool.untyped_storage().data_ptr()


def test_a_tensor_without_room_is_named_with_its_bytes() -> None:
    huge = torch.nn.Parameter(torch.empty(1 << 58, device="meta"))  # beyond any address space
    with pytest.raises(UserError, match=r"no room on cpu for embed\.weight, 1,152,921,504,606,846,976 bytes"):
        _room("embed.weight", huge, torch.float32, "cpu")


def _resident() -> tuple[int, int]:
    status = Path("/proc/self/status").read_text()
    anonymous, mapped = (re.search(rf"{key}:\s+(\d+) kB", status) for key in ("RssAnon", "RssFile"))
    assert anonymous and mapped
    return int(anonymous[1]) << 10, int(mapped[1]) << 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the kernel's own count")
def test_loading_holds_at_most_a_chunk_beside_the_model(tmp_path) -> None:
    """160 MB of table: neither private memory beyond the model nor mapped pages of the file exceed 64 MB."""
    with torch.device("meta"):
        empty = Decoder(preset("gemma-3-270m", width=128, depth=1, hidden=8, head_dim=8, vocab=312_500))
    model = empty.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
    folder = save(model, tmp_path / "large")
    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    del model, empty
    assert size > 160_000_000
    before, peak, done = _resident(), [0, 0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            for index, value in enumerate(_resident()):
                peak[index] = max(peak[index], value)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    loaded = load_model(folder)
    done.set()
    watcher.join()
    slack = (64 << 20) + (8 << 20)  # the chunk, and the interpreter's own comings and goings
    assert peak[0] - before[0] <= size + slack
    assert peak[1] - before[1] <= slack
    assert loaded.model.embed.weight[-1, -1] == 1.0


def test_a_model_that_is_no_decoder_needs_a_renaming(checkpoint) -> None:
    with pytest.raises(ValueError, match="a Linear is filled by a renaming of its own"):
        load_into(torch.nn.Linear(2, 2, device="meta"), checkpoint("gemma1"))
