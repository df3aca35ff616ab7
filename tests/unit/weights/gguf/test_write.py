"""GGUF files that we write, read by the `gguf` package and by ourselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.loading import Opened, load_model, open_checkpoint
from gemwright.planner.fit import plan
from gemwright.text.sentencepiece_file import BYTE, CONTROL, NORMAL, UNKNOWN, Piece
from gemwright.weights.gguf import emit
from gemwright.weights.gguf.names import names_of
from gemwright.weights.gguf.source import GgufSource
from gemwright.weights.gguf.tokenizer import Vocabulary
from gemwright.weights.gguf.write import write_gguf
from gemwright.weights.save import save

SIZES: dict[str, Any] = {
    "width": 64,
    "depth": 3,
    "heads": 2,
    "hidden": 96,
    "head_dim": 32,
    "context": 256,
    "vocab": 320,
}
FAMILIES = {
    "gemma-2b": SIZES,
    "gemma-2-2b": SIZES | {"kv_heads": 1, "window": 8, "query_scalar": 32.0},
    "gemma-3-1b": SIZES | {"window": 8, "query_scalar": 32.0},
}
TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0")


def spec_of(name: str) -> Model:
    return preset(name, **FAMILIES[name])


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Opened]:
    """A function: a model's name, or a change of its weights → an open float32 checkpoint."""

    def make(
        name: str = "gemma-3-1b", change: Callable[[Any], None] | None = None, spec: Model | None = None
    ) -> Opened:
        from gemwright.nn.decoder import Decoder

        model = Decoder(spec or spec_of(name))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, 0.3)
            if change:
                change(model)
        return open_checkpoint(save(model, tmp_path / "folder", overwrite=True))

    return make


def written(opened: Opened, path: Path, **options: Any) -> gguf.GGUFReader:
    write_gguf(path, opened.spec, opened.source, opened.names, **options)
    return gguf.GGUFReader(path)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("linear", TYPES)
def test_the_gguf_package_reads_what_it_would_have_written(
    opened: Callable[..., Opened], tmp_path: Path, name: str, linear: str
) -> None:
    source = opened(name)
    oracle = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, source.spec.family.removesuffix("1").upper()), 3)
    tensors = {
        tensor.name: tensor for tensor in written(source, tmp_path / "x.gguf", linear=linear, table="q8_0").tensors
    }
    assert len(tensors) == len(source.source.names())
    for theirs in source.source.names():
        tensor = tensors[str(oracle.get_name(theirs, (".weight",)))]
        values = source.source.view(theirs).numpy()
        norm, table = "norm" in theirs, "embed" in theirs
        kind = gguf.GGMLQuantizationType["F32" if norm else "Q8_0" if table else linear.upper()]
        assert tensor.tensor_type == kind
        expected = gguf.quants.quantize(values + 1 if norm else values, kind)
        assert tensor.data.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_metadata_are_those_of_llama_cpps_converter(
    opened: Callable[..., Opened], tmp_path: Path, name: str, states: Callable[[Model], tuple[str, dict[str, Any]]]
) -> None:
    source = opened(name)
    fields = written(source, tmp_path / "x.gguf").fields
    word, metadata = states(source.spec)
    metadata |= {"general.architecture": word, "general.file_type": 7, "tokenizer.ggml.model": "no_vocab"}
    for key, value in metadata.items():
        assert fields[key].contents() == (pytest.approx(value, rel=1e-7) if isinstance(value, float) else value)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_float32_file_loads_as_the_model_that_was_written(
    opened: Callable[..., Opened], tmp_path: Path, name: str
) -> None:
    source = opened(name)
    written(source, tmp_path / "x.gguf", linear="f32")
    before, after = load_model(source.folder).model, load_model(tmp_path / "x.gguf").model
    assert after.spec == before.spec and after.dtype == torch.float32
    for (key, one), other in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.equal((one + 1) - 1 if "norm" in key else one, other)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_converters_file_loads_as_its_model(converted: Callable[..., Any], name: str) -> None:
    path, model = converted(spec_of(name))
    loaded = load_model(path)
    assert loaded.spec == replace(model.spec, name=loaded.spec.name) and loaded.notes == () and loaded.left == {}
    for (key, one), other in zip(model.named_parameters(), loaded.model.parameters(), strict=True):
        assert torch.equal((one + 1) - 1 if "norm" in key else one, other)


def test_blocks_of_rows_do_not_show(
    opened: Callable[..., Opened], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened()
    written(source, tmp_path / "whole.gguf")
    monkeypatch.setattr(emit, "CHUNK", 3 * 64 * 4)
    written(source, tmp_path / "parts.gguf")
    assert (tmp_path / "whole.gguf").read_bytes() == (tmp_path / "parts.gguf").read_bytes()


@pytest.mark.parametrize(("linear", "table"), [("q4_0", "Q8_0"), ("q8_0", "Q8_0"), ("bf16", "BF16"), ("f32", "F32")])
def test_the_table_is_spared_the_four_bits(
    opened: Callable[..., Opened], tmp_path: Path, linear: str, table: str
) -> None:
    written(opened(), tmp_path / "x.gguf", linear=linear)
    assert GgufSource(tmp_path / "x.gguf").kind("token_embd.weight") == table


def test_packed_blocks_are_taken_apart_into_bfloat16(opened: Callable[..., Opened], tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    written(opened(), path, linear="q4_0")
    loaded = load_model(path, device="cpu")
    assert loaded.dtype == torch.bfloat16 and loaded.layout is None and loaded.folder == path
    assert loaded.notes == ("19 F32, 21 Q4_0, 1 Q8_0 tensors are held as bfloat16",)
    for name in ("blk.1.ffn_up.weight", "token_embd.weight", "blk.0.attn_norm.weight"):
        source = GgufSource(path)
        ours = loaded.model.get_parameter(str(names_of("gemma3").ours(name)))
        assert torch.equal(ours, source.view(name).bfloat16())
    assert load_model(path, dtype="float32").dtype == torch.float32


def test_a_packed_model_holds_the_norms_of_the_file_to_the_bit(opened: Callable[..., Opened], tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    written(opened(), path, linear="q8_0")
    loaded, source = load_model(path, device="cpu", packed=True), GgufSource(path)
    for name in ("blk.0.attn_norm.weight", "blk.2.attn_q_norm.weight", "output_norm.weight"):
        held = loaded.model.get_parameter(str(names_of("gemma3").ours(name)))
        assert torch.equal(held, source.view(name)) and not torch.equal(held, held.bfloat16().float())
    assert loaded.notes == () or "kernels" in loaded.notes[0]
    parts = plan(path, context=64).weights
    held = sum(parameter.nbytes for name, parameter in loaded.model.named_parameters() if "norm" in name)
    assert parts["norms"] == held


def test_a_float16_file_runs_in_float32(opened: Callable[..., Opened], tmp_path: Path) -> None:
    written(opened(), tmp_path / "x.gguf", linear="f16")
    loaded = load_model(tmp_path / "x.gguf", device="cpu")
    assert loaded.dtype == torch.float32 and "float16" in loaded.notes[0]


def vision(path: Path, source: Opened) -> Path:
    """The file with a tower beside the text model, as ollama makes them, and the table again as the output layer."""
    reader = written(source, path, linear="f32")
    writer = gguf.GGUFWriter(path.with_name("seeing.gguf"), "gemma3")
    for field in reader.fields.values():
        if field.name.startswith("gemma3."):
            writer.add_key_value(field.name, field.contents(), field.types[0])
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    tensors["output.weight"] = tensors["token_embd.weight"]
    tensors |= {"v.blk.0.attn_q.weight": numpy.ones((4, 4), numpy.float32), "mm.input_projection.weight": numpy.ones(4)}
    for name, data in tensors.items():
        writer.add_tensor(name, numpy.ascontiguousarray(data, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.with_name("seeing.gguf")


def test_a_tower_in_the_file_is_left_and_listed(opened: Callable[..., Opened], tmp_path: Path) -> None:
    left = load_model(vision(tmp_path / "x.gguf", opened())).left
    assert left == {
        "the vision half, which text does not need": ("mm.input_projection.weight", "v.blk.0.attn_q.weight"),
        "the output table, equal to the embedding table": ("output.weight",),
    }


def tiny_vocabulary(size: int) -> Vocabulary:
    texts = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    made = [Piece(text, 0.0, UNKNOWN if text == "<unk>" else CONTROL) for text in texts]
    made += [Piece(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    made += [Piece(chr(0x4E00 + at), -float(at + 1), NORMAL) for at in range(size - len(made))]
    return Vocabulary(pieces=tuple(made), ids={"pad": 0, "eos": 1, "bos": 2, "unk": 3}, template=None)


def test_rows_that_no_piece_has_are_left_out(opened: Callable[..., Opened], tmp_path: Path) -> None:
    source = opened()
    fields = written(source, tmp_path / "x.gguf", vocabulary=tiny_vocabulary(303), linear="f32").fields
    assert len(fields["tokenizer.ggml.tokens"].contents()) == 303
    short = load_model(tmp_path / "x.gguf").model.embed.weight
    assert torch.equal(short, source.source.view("model.embed_tokens.weight")[:303])


def test_a_vocabulary_beyond_the_table_is_refused(opened: Callable[..., Opened], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="321 pieces and the table 320 rows"):
        written(opened(), tmp_path / "x.gguf", vocabulary=tiny_vocabulary(321))


def test_the_defaults_of_sampling_are_written(opened: Callable[..., Opened], tmp_path: Path) -> None:
    generation = {"do_sample": False, "temperature": 0.7, "top_k": 40, "top_p": 0.95, "eos_token_id": (1,)}
    fields = written(opened(), tmp_path / "x.gguf", generation=generation).fields
    found = {
        key.removeprefix("general.sampling."): field.contents() for key, field in fields.items() if "sampling" in key
    }
    assert found == {"temp": 0.0, "top_k": 40, "top_p": numpy.float32(0.95)}
    assert fields["general.sampling.top_k"].types == [gguf.GGUFValueType.INT32]


def huge(model: Any) -> None:
    model.layers[1].mlp.up.weight[0, 0] = 1e6


def unreal(model: Any) -> None:
    model.layers[1].mlp.up.weight[0, 0] = float("nan")


@pytest.mark.parametrize(("linear", "change"), [("f16", huge), ("q8_0", unreal), ("q4_0", unreal), ("q4_0", huge)])
def test_numbers_that_do_not_fit_are_refused_and_leave_no_file(
    opened: Callable[..., Opened], tmp_path: Path, linear: str, change: Any
) -> None:
    source, place = opened(change=change), tmp_path / "out"
    place.mkdir()
    with pytest.raises(UserError, match=r"layers\.1\.mlp\.up_proj\.weight holds numbers"):
        written(source, place / "x.gguf", linear=linear)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("linear", ["q4_0", "q8_0"])
def test_rows_that_blocks_do_not_fill_are_refused(opened: Callable[..., Opened], tmp_path: Path, linear: str) -> None:
    source = opened(spec=preset("gemma-2b", **SIZES | {"hidden": 100}))
    with pytest.raises(UserError, match=r"blk\.0\.ffn_down\.weight has rows of 100"):
        written(source, tmp_path / "x.gguf", linear=linear)


def test_recurrentgemma_is_refused_with_the_reason(opened: Callable[..., Opened], tmp_path: Path) -> None:
    sizes = {"width": 64, "recurrent_width": 48, "gate_blocks": 2, "depth": 3, "heads": 2, "hidden": 96, "head_dim": 32}
    spec = preset("recurrentgemma-2b", vocab=64, **sizes)
    with pytest.raises(UserError, match=r"llama\.cpp runs no recurrentgemma"):
        written(opened(spec=spec), tmp_path / "x.gguf")


def test_a_file_that_is_there_stays_unless_it_may_go(opened: Callable[..., Opened], tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"dear")
    source = opened()
    with pytest.raises(UserError, match="there already"):
        written(source, path)
    assert path.read_bytes() == b"dear"
    written(source, path, overwrite=True)
    assert GgufSource(path).names()


@pytest.mark.parametrize(("out", "said"), [("gone/x.gguf", "no folder"), (".", "is a folder")])
def test_a_place_that_takes_no_file_is_named(
    opened: Callable[..., Opened], tmp_path: Path, out: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        written(opened(), tmp_path / out)


def test_an_unknown_type_is_refused_with_the_known(opened: Callable[..., Opened], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'q4_k'") as caught:
        written(opened(), tmp_path / "x.gguf", linear="q4_k")
    assert "q8_0" in caught.value.hint
