"""Tensors of GGUF files against the `gguf` package's own reading of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
import torch

from gemwright.errors import UserError
from gemwright.weights.gguf.source import GgufSource, is_gguf

KINDS = gguf.GGMLQuantizationType
PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
READ = ("F32", "F16", "BF16", "Q4_0", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")


def stored(kind: str, rows: int = 5, width: int = 512) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Bytes of a random matrix in that format, and the float32 values that the gguf package reads from them."""
    form = KINDS[kind]
    values = numpy.random.standard_normal((rows, width)).astype(numpy.float32)
    if kind in ("Q4_K", "Q5_K", "Q6_K"):  # not written by the package: any bytes will do, with scales that are numbers
        block, size = gguf.GGML_QUANT_SIZES[form]
        data = numpy.random.randint(0, 256, (rows, width // block, size)).astype(numpy.uint8)
        for at in (209,) if kind == "Q6_K" else (1, 3):
            data[:, :, at] &= 0xBB
        packed = data.reshape(rows, -1)
    else:
        packed = gguf.quants.quantize(values, form)
    return packed, gguf.quants.dequantize(packed, form)


@pytest.mark.parametrize("kind", READ)
def test_rows_are_what_the_gguf_package_reads(build: Any, kind: str) -> None:
    packed, values = stored(kind)
    source = GgufSource(build({}, {"t.weight": (packed, KINDS[kind])}))
    assert source.shape("t.weight") == (5, 512) and source.kind("t.weight") == kind
    assert source.dtype("t.weight") == PLAIN.get(kind, torch.float32)
    whole = source.view("t.weight")
    assert whole.dtype == source.dtype("t.weight")
    assert torch.equal(whole.float(), torch.from_numpy(values))
    assert torch.equal(source.view("t.weight", 1, 4), whole[1:4])
    source.release("t.weight", 1, 4)
    assert torch.equal(source.view("t.weight"), whole)


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
def test_raw_rows_are_the_bytes_of_the_file(build: Any, kind: str) -> None:
    packed, _ = stored(kind)
    source = GgufSource(build({}, {"t.weight": (packed, KINDS[kind])}))
    assert torch.equal(source.raw("t.weight", 2, 5), torch.from_numpy(packed[2:5]))


def test_norms_lose_the_one_that_the_format_adds(build: Any) -> None:
    weight = torch.randn(40) * 3
    half = (weight + 1).half()
    source = GgufSource(build({}, {"blk.0.attn_norm.weight": (weight + 1).numpy(), "output_norm.weight": half.numpy()}))
    assert torch.equal(source.view("blk.0.attn_norm.weight"), (weight + 1) - 1)
    assert torch.equal(source.view("output_norm.weight", 3, 9), half[3:9].float() - 1)
    assert source.dtype("output_norm.weight") == torch.float32


def test_a_tensor_at_an_odd_place_is_read(build: Any) -> None:
    first = gguf.quants.quantize(numpy.ones((1, 32), numpy.float32), KINDS.Q8_0)
    arrays = {"a": (first, KINDS.Q8_0), "b": numpy.arange(4, dtype=numpy.float32)}
    source = GgufSource(build({"general.alignment": 2, "a.te": "xx"}, arrays))
    assert source.entry("b").start % 4 == 2
    assert source.view("b").tolist() == [0.0, 1.0, 2.0, 3.0]


def split(build: Any, count: int = 3, **wrong: Any) -> list[Path]:
    """A model in parts, each with two tensors; all other metadata are in the first."""
    paths = []
    for at in range(count):
        metadata = {"split.no": at, "split.count": count, "split.tensors.count": 2 * count}
        metadata |= {"a.key": 5} if at == 0 else {}
        metadata |= wrong if at == 1 else {}
        arrays = {f"t{at}.{name}": numpy.full(4, 10.0 * at + name, dtype=numpy.float32) for name in range(2)}
        paths.append(build(metadata, arrays, name=f"big-{at + 1:05d}-of-{count:05d}.gguf"))
    return paths


@pytest.mark.parametrize("given", [0, 1, 2, "the folder"])
def test_all_parts_of_a_split_file_are_found(build: Any, given: Any) -> None:
    parts = split(build)
    source = GgufSource(parts[0].parent if given == "the folder" else parts[given])
    assert source.metadata["a.key"] == 5
    assert sorted(source.names()) == sorted(f"t{at}.{name}" for at in range(3) for name in range(2))
    assert source.view("t2.1").tolist() == [21.0] * 4


def test_a_missing_part_is_named(build: Any) -> None:
    parts = split(build)
    parts[1].unlink()
    with pytest.raises(UserError, match=r"big-00002-of-00003\.gguf is missing"):
        GgufSource(parts[0])


def test_a_part_with_another_number_is_refused(build: Any) -> None:
    parts = split(build, **{"split.no": 2})
    with pytest.raises(UserError, match=r"00002-of-00003\.gguf says that it is part 2 of 3"):
        GgufSource(parts[0])


def test_a_part_alone_under_another_name_is_refused(build: Any, tmp_path: Path) -> None:
    alone = split(build)[1].rename(tmp_path / "alone.gguf")
    with pytest.raises(UserError, match="part 1 of 3"):
        GgufSource(alone)


def test_a_tensor_in_two_parts_is_refused(build: Any) -> None:
    arrays = {"t": numpy.ones(4, numpy.float32)}
    for at in range(2):
        build({"split.no": at, "split.count": 2}, arrays, name=f"x-{at + 1:05d}-of-00002.gguf")
    with pytest.raises(UserError, match="also in"):
        GgufSource(build({"split.no": 0, "split.count": 2}, arrays, name="x-00001-of-00002.gguf"))


def test_a_count_of_tensors_that_is_not_theirs_is_refused(build: Any) -> None:
    path = build({"split.tensors.count": 9}, {"t": numpy.ones(4, numpy.float32)})
    with pytest.raises(UserError, match=r"split\.tensors\.count is 9"):
        GgufSource(path)


def test_what_a_gguf_model_is(build: Any, tmp_path: Path) -> None:
    path = build({}, {"t": numpy.ones(4, numpy.float32)})
    assert is_gguf(path) and is_gguf(tmp_path)
    blob = tmp_path / "sha256-0123"
    blob.write_bytes(path.read_bytes())
    assert is_gguf(blob) and not is_gguf(tmp_path / "gone.gguf")
    (tmp_path / "model.safetensors").touch()
    assert not is_gguf(tmp_path)


def test_a_projector_beside_a_model_is_not_the_model(build: Any, tmp_path: Path) -> None:
    build({}, {"m": numpy.ones(4, numpy.float32)}, name="mmproj-model-f16.gguf")
    build({}, {"t": numpy.ones(4, numpy.float32)})
    assert GgufSource(tmp_path).names() == ["t"]


def test_a_folder_of_several_models_is_refused(build: Any, tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        build({}, {"t": numpy.ones(4, numpy.float32)}, name=name)
    with pytest.raises(UserError, match="2 GGUF models"):
        GgufSource(tmp_path)
