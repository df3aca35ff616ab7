"""Nothing in a safetensors header is believed before it has been checked against the file."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemwright.errors import UserError
from gemwright.weights.folder import INDEX, SINGLE, Folder
from gemwright.weights.safetensors import DTYPES, TensorFile, header_bytes

TENSORS = {
    "a": torch.arange(12, dtype=torch.float32).view(3, 4),
    "b": torch.arange(5, dtype=torch.bfloat16),
    "c": torch.tensor(7, dtype=torch.int64),
    "empty": torch.zeros(0, 3),
}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / SINGLE
    safetensors.torch.save_file(TENSORS, path, metadata={"format": "pt"})
    return path


def write(path: Path, tree: Any, data: bytes = b"", length: int | None = None) -> Path:
    header = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def tensor(shape: Any = (2,), offsets: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def refused(path: Path, *named: str) -> None:
    with pytest.raises(UserError) as caught:
        TensorFile(path)
    for word in (path.name, *named):
        assert word in caught.value.message
    assert caught.value.hint


def test_tensors_are_read_as_the_reference_wrote_them(good) -> None:
    file = TensorFile(good)
    assert file.metadata == {"format": "pt"}
    assert file.entries.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(file.view(name), value) and file.view(name).dtype == value.dtype
    assert torch.equal(file.view("a", 1, 3), TENSORS["a"][1:3])


def test_views_copy_nothing_and_survive_letting_go(good) -> None:
    file = TensorFile(good)
    assert file.view("a").data_ptr() == file.view("a").data_ptr()
    before = file.view("a")
    file.release("a", 0, 3)
    assert torch.equal(before, TENSORS["a"])


@pytest.mark.parametrize("code", DTYPES)
def test_every_dtype_of_the_format_is_read(tmp_path, code) -> None:
    values = torch.ones(4).to(DTYPES[code])
    safetensors.torch.save_file({"x": values}, tmp_path / SINGLE)
    assert torch.equal(TensorFile(tmp_path / SINGLE).view("x").view(torch.uint8), values.view(torch.uint8))


def test_a_header_is_what_the_reference_reads(tmp_path) -> None:
    header = header_bytes([("x", "F32", (2, 2)), ("y", "I8", (3,))], {"format": "pt"})
    assert len(header) % 8 == 0
    (tmp_path / SINGLE).write_bytes(header + bytes(19))
    assert {name: tuple(t.shape) for name, t in safetensors.torch.load_file(tmp_path / SINGLE).items()} == {
        "x": (2, 2),
        "y": (3,),
    }


def test_an_unaligned_tensor_is_read(tmp_path) -> None:
    data = b"\1" + struct.pack("<2f", 1.5, -2.0)
    tree = {"a": tensor([1], [0, 1], "U8"), "b": tensor([2], [1, 9])}
    assert TensorFile(write(tmp_path / "x", tree, data)).view("b").tolist() == [1.5, -2.0]


@pytest.mark.parametrize("length", [1 << 62, (1 << 64) - 1, 200_000_000, 10_000])
def test_an_absurd_header_is_refused_by_its_length(tmp_path, length) -> None:
    refused(write(tmp_path / "x", {}, length=length), str(length))


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs"),
        (b"<!DOCTYPE html><html>please log in</html>", "web page"),
        (b"GGUF\3\0\0\0" + bytes(50), "GGUF"),
        (b"PK\3\4" + bytes(50), "zip"),
        (b"", "empty"),
        (b"abc", "3 bytes"),
        (b'{"error": "not found", "status": 404}', "header"),
    ],
)
def test_a_foreign_file_is_called_what_it_is(tmp_path, start, said) -> None:
    path = tmp_path / "x"
    path.write_bytes(start)
    refused(path, said)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(good, keep) -> None:
    raw = good.read_bytes()
    good.write_bytes(raw[: int(len(raw) * keep)])
    refused(good)


BROKEN = {
    "no JSON": (b"{nonsense}", b"", "JSON"),
    "not utf-8": (b'{"\xff": 1}', b"", "JSON"),
    "no object inside": ({"x": 3}, b"", "x"),
    "no dtype": ({"x": {"shape": [], "data_offsets": [0, 0]}}, b"", "lacks"),
    "unknown dtype": ({"x": tensor(dtype="F4")}, bytes(8), "F4"),
    "dtype of a wrong type": ({"x": tensor(dtype=["F32"])}, bytes(8), "dtype"),
    "negative size": ({"x": tensor([-2])}, bytes(8), "-2"),
    "absurd size": ({"x": tensor([1 << 70])}, bytes(8), "shape"),
    "sizes that overflow": ({"x": tensor([1 << 62, 1 << 62, 0, 1 << 62], [0, 8])}, bytes(8), "needs 0"),
    "fractional size": ({"x": tensor([2.0])}, bytes(8), "shape"),
    "too many bytes": ({"x": tensor([3])}, bytes(8), "needs 12 bytes"),
    "negative offset": ({"x": tensor(offsets=[-8, 0])}, bytes(8), "data_offsets"),
    "offsets backwards": ({"x": tensor([0], [8, 0])}, bytes(8), "needs 0"),
    "overlap": ({"x": tensor(), "y": tensor(offsets=[4, 12])}, bytes(12), "overlaps"),
    "the same bytes twice": ({"x": tensor(), "y": tensor()}, bytes(8), "overlaps"),
    "hole": ({"x": tensor(), "y": tensor(offsets=[12, 20])}, bytes(20), "hole"),
    "bytes at the end": ({"x": tensor()}, bytes(9), "belong to no tensor"),
    "bytes missing": ({"x": tensor()}, bytes(7), "cut short"),
    "a name twice": (b'{"x": {}, "x": {}}', b"", "twice"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", "__metadata__"),
    "deep nesting": (b'{"x":' + b"[" * 200_000, b"", "JSON"),
    "a name of control characters": ({"\x1b[2J": tensor()}, bytes(8), "printed"),
    "half a character": (b'{"\\ud800": 1}', b"", "ud800"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_header_that_contradicts_itself_or_the_file_is_refused(tmp_path, case) -> None:
    tree, data, said = BROKEN[case]
    refused(write(tmp_path / "x", tree, data), said)


def _read_everything(path: Path) -> None:
    file = TensorFile(path)
    for name in file.entries:
        file.view(name).clone()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / SINGLE
    safetensors.torch.save_file(TENSORS, path)
    return path


@given(flips=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_end_in_a_user_error_or_in_tensors(scratch, flips) -> None:
    raw = bytearray(scratch.read_bytes())
    for position, change in flips:
        raw[position % len(raw)] ^= change
    path = scratch.with_name("flipped")
    path.write_bytes(raw)
    with contextlib.suppress(UserError):
        _read_everything(path)


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(scratch, share) -> None:
    raw = scratch.read_bytes()
    path = scratch.with_name("cut")
    path.write_bytes(raw[: int(len(raw) * share)])
    refused(path)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    safetensors.torch.save_file({"a": torch.ones(2), "b": torch.ones(3)}, tmp_path / "model-1.safetensors")
    safetensors.torch.save_file({"c": torch.ones(4)}, tmp_path / "model-2.safetensors")
    index = {"metadata": {"total_size": 36}, "weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}}
    index["weight_map"]["c"] = "model-2.safetensors"
    (tmp_path / INDEX).write_text(json.dumps(index))
    return tmp_path


def test_shards_are_one_set_of_tensors(sharded) -> None:
    folder = Folder(sharded)
    assert sorted(folder.names()) == ["a", "b", "c"] and folder.bytes() == 36 and folder.notes == []
    assert folder.view("c").tolist() == [1.0] * 4
    assert [(name, folder.entry(name).bytes) for name in folder.names()] == [("a", 8), ("b", 12), ("c", 16)]


def folder_refused(path: Path, *named: str) -> None:
    with pytest.raises(UserError) as caught:
        Folder(path)
    for word in named:
        assert word in caught.value.message


def test_a_missing_shard_is_named(sharded) -> None:
    (sharded / "model-2.safetensors").unlink()
    folder_refused(sharded, "model-2.safetensors", "missing")


def test_a_tensor_that_is_not_in_its_shard_is_named(sharded, edit) -> None:
    edit(sharded / INDEX, lambda tree: tree["weight_map"].update(d="model-2.safetensors"))
    folder_refused(sharded, '"d"', "model-2.safetensors")


def test_a_tensor_that_the_index_forgets_is_named(sharded, edit) -> None:
    edit(sharded / INDEX, lambda tree: tree["weight_map"].pop("b"))
    folder_refused(sharded, '"b"', "model-1.safetensors")


@pytest.mark.parametrize("file", ["../secret", "/etc/passwd", "", ".", 7, "a/b.safetensors", "x\0y"])
def test_an_index_may_not_point_elsewhere(sharded, edit, file) -> None:
    edit(sharded / INDEX, lambda tree: tree["weight_map"].update(c=file))
    folder_refused(sharded, "no file name")


def test_a_wrong_total_is_remarked(sharded, edit) -> None:
    edit(sharded / INDEX, lambda tree: tree["metadata"].update(total_size=35))
    assert "35" in Folder(sharded).notes[0]


@pytest.mark.parametrize(
    ("present", "said"),
    [
        ([], "no model.safetensors"),
        (["pytorch_model.bin"], "pytorch_model.bin"),
        (["model-00001-of-00002.safetensors"], "model-00001-of-00002.safetensors"),
    ],
)
def test_a_folder_without_weights_says_what_it_has(tmp_path, present, said) -> None:
    for name in present:
        (tmp_path / name).touch()
    folder_refused(tmp_path, said)


def test_a_shard_that_is_a_folder_is_refused(sharded) -> None:
    (sharded / "model-2.safetensors").unlink()
    (sharded / "model-2.safetensors").mkdir()
    folder_refused(sharded, "model-2.safetensors")
