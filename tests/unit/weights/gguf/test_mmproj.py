"""Vision halves as GGUF files: read from what converters wrote, written as they would, and found beside their models.

The oracle is the `gguf` package: its keys, its table of names, its writer and its reader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
import torch
from torch import Tensor

from gemwright.arch.presets import preset
from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.errors import UserError
from gemwright.loading import load_model, load_tower, open_checkpoint, open_eyes, sight
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.weights.folder import Folder
from gemwright.weights.gguf.mmproj import projector_name, write_projector
from gemwright.weights.gguf.source import GgufSource
from gemwright.weights.gguf.write import write_gguf
from gemwright.weights.hf_config import read
from gemwright.weights.save import save
from gemwright.weights.vision import Eyes, eyes_of
from gemwright.weights.vision_names import vision_table

WIDTH = 64
ENCODER = Encoder(image=28, patch=7, width=24, hidden=40, heads=2, depth=2, norm_epsilon=1e-5)
SEEN = Vision(tower=ENCODER, tokens=4)
HUB = vision_table("vision_tower.vision_model.", "multi_modal_projector.")
PLAIN = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def awake(vision: Vision = SEEN, seed: int = 0) -> Tower:
    tower, generator = Tower(vision, WIDTH), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return tower.requires_grad_(False)


class InMemory:
    """A tower's tensors as a source, by the names of the files as first released."""

    def __init__(self, tower: Tower, dtype: torch.dtype) -> None:
        self.path = Path("in-memory")
        self.tensors = {HUB.theirs(name): value.to(dtype) for name, value in tower.named_parameters()}

    def names(self) -> list[str]:
        return list(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        return self.tensors[name].dtype

    def view(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        return self.tensors[name][start:stop]

    def release(self, name: str, start: int = 0, stop: int | None = None) -> None:
        pass


def eyes(tower: Tower, dtype: torch.dtype = torch.float32) -> Eyes:
    return Eyes(vision=tower.spec, width=WIDTH, source=InMemory(tower, dtype), names=HUB)


def converted(tower: Tower) -> tuple[dict[str, Any], dict[str, numpy.ndarray]]:
    """The metadata and tensors that llama.cpp's converter makes of a tower, in the gguf package's words."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, tower.spec.tower.depth)
    tensors = {}
    for ours, value in tower.named_parameters():
        theirs = HUB.theirs(ours).replace("_weight", ".weight")
        shifted = value + 1 if "soft_emb_norm" in theirs else value
        tensors[str(names.get_name(theirs, (".weight", ".bias")))] = shifted.numpy()
    clip, keys = gguf.Keys.Clip, gguf.Keys.ClipVision
    encoder = tower.spec.tower
    metadata = {
        clip.HAS_VISION_ENCODER: True,
        clip.PROJECTOR_TYPE: gguf.VisionProjectorType.GEMMA3,
        keys.PROJECTION_DIM: WIDTH,
        keys.IMAGE_SIZE: encoder.image,
        keys.PATCH_SIZE: encoder.patch,
        keys.EMBEDDING_LENGTH: encoder.width,
        keys.FEED_FORWARD_LENGTH: encoder.hidden,
        keys.BLOCK_COUNT: encoder.depth,
        keys.Attention.HEAD_COUNT: encoder.heads,
        keys.Attention.LAYERNORM_EPS: encoder.norm_epsilon,
        keys.IMAGE_MEAN: [0.5, 0.5, 0.5],
        keys.IMAGE_STD: [0.5, 0.5, 0.5],
        keys.USE_GELU: True,
        keys.Projector.SCALE_FACTOR: encoder.grid // tower.spec.side,
    }
    return metadata, tensors


Made = Callable[..., Path]


@pytest.fixture
def file(build: Callable[..., Path]) -> Made:
    """A function: changes of the metadata → a converter's file."""

    def make(tower: Tower | None = None, name: str = "mmproj.gguf", **changes: Any) -> Path:
        metadata, tensors = converted(tower or awake())
        metadata |= {"clip." + key.replace("__", "."): value for key, value in changes.items()}
        metadata = {key: value for key, value in metadata.items() if value is not None}
        return build(metadata, tensors, "clip", name)

    return make


def same(after: Tower, before: Tower, dtype: torch.dtype = torch.float32) -> None:
    for (name, one), other in zip(before.named_parameters(), after.parameters(), strict=True):
        one = one.to(dtype)
        expected = ((one.float() + 1) - 1).to(dtype) if name == "projector.norm.weight" else one
        assert torch.equal(other, expected), name


def refused(path: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_tower(path)
    for word in words:
        assert word in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# In


def test_a_converters_file_gives_its_tower(file: Made) -> None:
    tower = load_tower(file())
    assert tower.spec == SEEN and tower.projector.weight.shape == (ENCODER.width, WIDTH)
    same(tower, awake())


def test_a_file_of_the_first_converters_gives_its_tower(build: Callable[..., Path]) -> None:
    """They called SigLIP's fc1 `ffn_down` and its fc2 `ffn_up`."""
    metadata, tensors = converted(awake())
    swap = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}

    def crossed(name: str) -> str:
        return ".".join(swap.get(part, part) for part in name.split("."))

    path = build(metadata, {crossed(name): value for name, value in tensors.items()}, "clip", "mmproj.gguf")
    same(load_tower(path), awake())


def test_pictures_are_pooled_four_by_four_where_the_file_is_silent(file: Made) -> None:
    assert load_tower(file(vision__projector__scale_factor=None)).spec.tokens == 1


def test_packed_matrices_are_read(build: Callable[..., Path]) -> None:
    tower = awake(replace(SEEN, tower=replace(ENCODER, width=32, hidden=64)))
    metadata, tensors = converted(tower)
    kind, name = gguf.GGMLQuantizationType.Q8_0, "v.blk.1.ffn_up.weight"
    packed = gguf.quants.quantize(tensors[name], kind)
    found = load_tower(build(metadata, tensors | {name: (packed, kind)}, "clip", "mmproj.gguf"), dtype="float32")
    weight = dict(found.named_parameters())["encoder.layers.1.mlp.up.weight"]
    assert torch.equal(weight, torch.from_numpy(gguf.quants.dequantize(packed, kind)))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("projector_type", "qwen2vl_merger", "projector of another model"),
        ("has_vision_encoder", False, "Gemma 3's vision half has it"),
        ("use_gelu", None, "use_gelu"),
        ("use_silu", True, "an activation"),
        ("vision__image_mean", [0.48, 0.45, 0.4], "0.5 for each colour"),
        ("vision__image_std", [0.25, 0.25, 0.25], "0.5 for each colour"),
        ("vision__attention__head_count", 5, "no divisor"),
        ("vision__projector__scale_factor", 3, "cannot be pooled"),
        ("vision__block_count", 3, "tensors are missing"),
        ("vision__block_count", 1, "unknown"),
        ("vision__feed_forward_length", 48, "shape"),
        ("vision__image_size", None, "image_size"),
    ],
)
def test_what_is_not_gemma_3_s_vision_half_is_refused(file: Made, key: str, value: Any, said: str) -> None:
    refused(file(**{key: value}), said)


# ---------------------------------------------------------------------------------------------------------------------
# Out


@pytest.mark.parametrize("type", PLAIN)
def test_a_tower_written_and_read_again_is_equal(tmp_path: Path, type: str) -> None:
    tower, dtype = awake(), PLAIN[type]
    write_projector(tmp_path / "mmproj.gguf", eyes(tower, dtype), name="small", type=type)
    found = load_tower(tmp_path / "mmproj.gguf", dtype="float32")
    assert found.spec == SEEN
    for (name, one), other in zip(tower.named_parameters(), found.parameters(), strict=True):
        one = one.to(dtype).float()
        assert torch.equal(other, (one + 1) - 1 if name == "projector.norm.weight" else one), name


def test_a_file_written_again_from_itself_is_the_same_file(tmp_path: Path) -> None:
    first, second = tmp_path / "mmproj-a.gguf", tmp_path / "mmproj-b.gguf"
    write_projector(first, eyes(awake()), name="small", type="f32")
    write_projector(second, open_eyes(first), name="small", type="f32")
    one, other = gguf.GGUFReader(first), gguf.GGUFReader(second)
    assert one.fields.keys() == other.fields.keys()
    for before, after in zip(one.tensors, other.tensors, strict=True):
        assert before.name == after.name
        if before.name != "mm.soft_emb_norm.weight":  # (w + 1) - 1 + 1 may differ from w + 1 in the last bit
            assert before.data.tobytes() == after.data.tobytes()


@pytest.mark.parametrize("type", PLAIN)
def test_names_kinds_and_values_are_those_of_the_converter(tmp_path: Path, type: str) -> None:
    tower = awake()
    write_projector(tmp_path / "x.gguf", eyes(tower), name="small", type=type)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    _, expected = converted(tower)
    assert found.keys() == expected.keys() and len(found) == 6 + 1 + 16 * ENCODER.depth
    for name, value in expected.items():
        exact = value.ndim == 1 or name in ("v.patch_embd.weight", "v.position_embd.weight")
        exact = exact or (name == "mm.input_projection.weight" and type == "bf16")
        kind = gguf.GGMLQuantizationType["F32" if exact else type.upper()]
        assert found[name].tensor_type == kind, name
        assert found[name].data.tobytes() == gguf.quants.quantize(value, kind).tobytes(), name
        assert list(found[name].shape) == list(reversed(value.shape)), name


def test_every_key_is_one_that_the_gguf_package_defines_with_the_converters_value(tmp_path: Path) -> None:
    write_projector(tmp_path / "x.gguf", eyes(awake()), name="small", type="f16")
    fields = gguf.GGUFReader(tmp_path / "x.gguf").fields
    stated = {key: field.contents() for key, field in fields.items() if not key.startswith("GGUF.")}
    general = gguf.Keys.General
    metadata, _ = converted(awake())
    metadata |= {
        general.ARCHITECTURE: gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.MMPROJ],
        general.TYPE: gguf.GGUFType.MMPROJ,
        general.NAME: "small",
        general.FILE_TYPE: int(gguf.LlamaFileType.MOSTLY_F16),
        general.QUANTIZATION_VERSION: gguf.GGML_QUANT_VERSION,
    }
    assert stated.keys() == metadata.keys()
    for key, value in metadata.items():
        assert stated[key] == (pytest.approx(value, rel=1e-7) if isinstance(value, float) else value), key


def test_the_published_pooling_goes_without_saying(tmp_path: Path) -> None:
    write_projector(tmp_path / "x.gguf", eyes(awake(replace(SEEN, tokens=1))), name="small")
    assert gguf.Keys.ClipVision.Projector.SCALE_FACTOR not in gguf.GGUFReader(tmp_path / "x.gguf").fields


def test_a_square_mlp_is_written_as_its_reader_takes_it(tmp_path: Path) -> None:
    """llama.cpp takes a file for one of the first converters' where rows of `ffn_down` are as long as the tower is
    wide."""
    tower = awake(replace(SEEN, tower=replace(ENCODER, hidden=ENCODER.width)))
    write_projector(tmp_path / "x.gguf", eyes(tower), name="small", type="f32")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    assert numpy.array_equal(
        tensors["v.blk.0.ffn_down.bias"], dict(tower.named_parameters())["encoder.layers.0.mlp.up.bias"]
    )
    same(load_tower(tmp_path / "x.gguf"), tower)


def test_a_vision_half_with_a_hole_is_not_written(tmp_path: Path) -> None:
    seen = eyes(awake())
    assert isinstance(seen.source, InMemory)
    del seen.source.tensors["multi_modal_projector.mm_soft_emb_norm.weight"]
    with pytest.raises(UserError, match=r"mm_soft_emb_norm\.weight\" is missing"):
        write_projector(tmp_path / "x.gguf", seen, name="small")
    assert not list(tmp_path.iterdir())


def test_numbers_beyond_float16_and_unknown_types_are_refused(tmp_path: Path) -> None:
    tower = awake()
    tower.encoder.get_parameter("layers.0.mixer.out.weight")[0, 0] = 1e6
    with pytest.raises(UserError, match="F16"):
        write_projector(tmp_path / "x.gguf", eyes(tower), name="small", type="f16")
    with pytest.raises(UserError, match="f32, f16, bf16"):
        write_projector(tmp_path / "x.gguf", eyes(tower), name="small", type="q8_0")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_transformers_goes_out_and_comes_back(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = checkpoint("gemma3-vision", torch.bfloat16)
    spec, _ = read(folder)
    write_projector(tmp_path / "x.gguf", eyes_of(spec, Folder(folder)), name="small", type="bf16")
    before, after = load_tower(folder), load_tower(tmp_path / "x.gguf", dtype="bfloat16")
    assert before.dtype == torch.bfloat16 and before.spec == after.spec
    same(after, before, torch.bfloat16)


# ---------------------------------------------------------------------------------------------------------------------
# Beside a text model

SIZES: dict[str, Any] = {
    **{"width": WIDTH, "depth": 3, "heads": 2, "hidden": 96, "head_dim": 32, "context": 256, "vocab": 320},
    **{"window": 8, "query_scalar": 32.0},
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text model of that width."""
    model = Decoder(preset("gemma-3-1b", **SIZES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    opened = open_checkpoint(save(model, tmp_path / "folder"))
    write_gguf(tmp_path / "text.gguf", opened.spec, opened.source, opened.names, linear="f32")
    return tmp_path / "text.gguf"


@pytest.mark.parametrize("name", ["mmproj.gguf", "mmproj-model-f16.gguf", "gemma-3-4b-it-mmproj.gguf"])
def test_the_vision_half_is_found_beside_the_text(file: Made, text: Path, name: str) -> None:
    path = file(name=name)
    assert open_eyes(text).source.path == path
    same(load_tower(text), awake())
    assert sight(open_checkpoint(text)) == SEEN


def test_a_text_model_loads_without_its_vision_half(file: Made, text: Path) -> None:
    alone = dict(load_model(text).model.named_parameters())
    file().write_bytes(b"GGUF, and then nothing")
    beside = load_model(text)
    assert beside.spec.vision is None
    assert all(torch.equal(alone[name], value) for name, value in beside.model.named_parameters())


def test_among_several_the_one_that_leads_to_the_text_is_taken(file: Made, text: Path) -> None:
    file(name="mmproj-other.gguf", vision__projection_dim=WIDTH * 2)
    file(name="mmproj-foreign.gguf", projector_type="qwen2vl_merger")
    assert open_eyes(file(name="mmproj-mine.gguf")).source.path == open_eyes(text).source.path


def test_several_that_fit_are_refused_by_name(file: Made, text: Path) -> None:
    for name in ("mmproj-f16.gguf", "mmproj-f32.gguf"):
        file(name=name)
    refused(text, "several", "mmproj-f16.gguf, mmproj-f32.gguf", "give the file")
    assert sight(open_checkpoint(text)) is None


def test_a_text_without_a_vision_half_says_what_was_looked_at(file: Made, text: Path) -> None:
    refused(text, "no vision half for it lies beside it", "put its mmproj file")
    file(vision__projection_dim=WIDTH * 2)
    refused(text, f"mmproj.gguf leads to {2 * WIDTH}")


def test_the_only_vision_half_s_own_trouble_is_told(file: Made, text: Path) -> None:
    file(projector_type="llava")
    refused(text, "projector of another model")


def test_a_vision_half_is_no_text_model(file: Made) -> None:
    path = file()
    with pytest.raises(UserError, match="vision half"):
        load_model(path)


def test_the_vision_half_of_a_text_model_has_its_name_in_its_own() -> None:
    path = projector_name(Path("models/gemma-q4.gguf"))
    assert path == Path("models/mmproj-gemma-q4.gguf")


def test_a_vision_half_is_found_by_its_name_alone(file: Made, text: Path) -> None:
    """A text model in the same folder is no vision half, whatever it is."""
    file(name="eyes.gguf")
    assert sight(open_checkpoint(text)) is None
    assert GgufSource(text).names()
