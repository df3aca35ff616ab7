"""The tensors of a GGUF file, or of the parts that it was split into, by name and in blocks of rows.

The format's surgery is done here: packed blocks become float32, and the 1 that files add to the weights of norms is
taken off again, in float32.
"""

from __future__ import annotations

import mmap
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from gemwright.errors import UserError
from gemwright.ops.blocks import BF16, F16, F32, Format, dequantize
from gemwright.paths import probe
from gemwright.weights import folder as hf_folder
from gemwright.weights.fields import list_folder, shorten
from gemwright.weights.gguf.header import MAGIC, Entry, Header
from gemwright.weights.gguf.names import is_norm

_PART = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf")
_VISION = "mmproj"  # what the names of vision halves have in them
_PLAIN: dict[str, torch.dtype] = {F32.name: torch.float32, F16.name: torch.float16, BF16.name: torch.bfloat16}


def is_gguf(path: Path) -> bool:
    """Whether a path is a GGUF file, or a folder whose weights are in such files alone."""
    if path.is_file():
        return path.suffix == ".gguf" or (not path.suffix and _has_magic(path))
    if not path.is_dir() or any((path / name).exists() for name in (hf_folder.SINGLE, hf_folder.INDEX)):
        return False
    return bool(_files(path))


def _has_magic(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _files(folder: Path) -> list[Path]:
    """The GGUF files of a folder that hold text models; vision halves lie beside them under this name."""
    return [path for path in list_folder(folder) if path.suffix == ".gguf" and _VISION not in path.name.lower()]


def projectors(path: Path) -> list[Path]:
    """The files of vision halves in a folder, or beside a file."""
    folder = path if path.is_dir() else path.parent
    return [
        file
        for file in list_folder(folder)
        if file.suffix == ".gguf" and _VISION in file.name.lower() and file.is_file()
    ]


def parts_of(path: Path) -> list[Path]:
    """Every file of the model at a path, first to last: the file itself, or all the parts that it was split into.

    Raises `UserError` for a folder with several models, and names a part that is missing.
    """
    if path.is_dir():
        files = _files(path)
        models = {found[1] if (found := _PART.fullmatch(file.name)) else file.name for file in files}
        if len(models) > 1:
            raise UserError(f"{path} has {len(models)} GGUF models", hint="give the file that you mean")
        path = files[0]
    found = _PART.fullmatch(path.name)
    if found is None:
        return [path]
    parts = [path.with_name(f"{found[1]}-{at:05d}-of-{found[3]}.gguf") for at in range(1, int(found[3]) + 1)]
    for part in parts:
        if not probe(part).exists():
            raise UserError(f"part {part.name} is missing from {path.parent}", hint="fetch all parts of the model")
    return parts


class GgufSource:
    """A GGUF file, or all parts of a split one. `metadata` are those of the first part, which holds all of them."""

    def __init__(self, path: Path) -> None:
        self.files = [Header(part) for part in parts_of(path)]
        self.path = path
        self.header = self.files[0]
        self._check_parts()
        self._home: dict[str, Header] = {}
        for file in self.files:
            for name in file.entries:
                if name in self._home:
                    raise file.broken(f"the tensor {shorten(name)} is also in {self._home[name].path.name}")
                self._home[name] = file

    @property
    def metadata(self) -> dict[str, Any]:
        """The keys and values, arrays still in the file."""
        return self.header.metadata

    def _check_parts(self) -> None:
        count = len(self.files)
        for at, file in enumerate(self.files):
            number, claimed = (file.metadata.get(f"split.{key}", value) for key, value in (("no", 0), ("count", 1)))
            if (number, claimed or 1) != ((at, count) if count > 1 else (0, 1)):
                raise UserError(
                    f"{file.path} says that it is part {shorten(number)} of {shorten(claimed)}, counted from 0",
                    hint="parts are called NAME-00001-of-00003.gguf and lie in one folder",
                )
        stated = self.metadata.get("split.tensors.count")
        held = sum(len(file.entries) for file in self.files)
        if stated is not None and stated != held:
            raise self.header.broken(f"split.tensors.count is {shorten(stated)} and the parts hold {held}")

    def names(self) -> list[str]:
        """Every tensor's name, file by file."""
        return list(self._home)

    def entry(self, name: str) -> Entry:
        """What a tensor is and where it lies."""
        return self._home[name].entries[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return self.entry(name).shape

    def form(self, name: str) -> Format:
        """The format in which a tensor is stored."""
        return self.entry(name).form

    def kind(self, name: str) -> str:
        """The name of that format: "F32", "Q4_0", …"""
        return self.form(name).name

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of what `view` gives: that of the file for plain floats, float32 for packed blocks and norms."""
        return torch.float32 if is_norm(name) else _PLAIN.get(self.kind(name), torch.float32)

    def raw(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows [start, stop) as the file's bytes: uint8 `[rows, bytes of a row]`, a read-only view on the map."""
        entry = self.entry(name)
        rows = entry.shape[0] if len(entry.shape) > 1 else 1
        row = (entry.stop - entry.start) // rows
        stop = rows if stop is None else stop
        with warnings.catch_warnings():
            # torch warns that the map is read-only; nobody here writes to a view.
            warnings.filterwarnings("ignore", message=".*buffer is not writable")
            data = torch.frombuffer(
                self._home[name].map, dtype=torch.uint8, count=(stop - start) * row, offset=entry.start + start * row
            )
        return data.view(stop - start, row)

    def scales(self, name: str, start: int = 0, stop: int | None = None) -> None:
        """None: blocks carry their scales."""

    def bytes(self, name: str) -> int:
        """Bytes of a tensor in the file."""
        entry = self.entry(name)
        return entry.stop - entry.start

    def view(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows [start, stop) as floats of `dtype(name)`: packed blocks taken apart, norms less the 1 of the format."""
        entry = self.entry(name)
        flat = len(entry.shape) == 1
        data = self.raw(name) if flat else self.raw(name, start, stop)
        values = _floats(data, entry.form).view(-1, *entry.shape[1:])
        values = values[start:stop] if flat else values
        return values.float() - 1 if is_norm(name) else values

    def release(self, name: str, start: int = 0, stop: int | None = None) -> None:
        """Let go of the memory behind rows [start, stop): the pages stay in the system's cache only."""
        entry, pages = self.entry(name), self._home[name].map
        first, last = entry.start, entry.stop
        if len(entry.shape) > 1 and stop is not None:
            row = (entry.stop - entry.start) // entry.shape[0]
            first, last = entry.start + start * row, entry.start + stop * row
        begin = first // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first and hasattr(pages, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED, begin, last - begin)


def _floats(data: torch.Tensor, form: Format) -> torch.Tensor:
    dtype = _PLAIN.get(form.name)
    if dtype is None:
        return dequantize(data, form)
    aligned = data.data_ptr() % dtype.itemsize == 0  # a file may state a smaller alignment
    return (data if aligned else data.clone()).view(dtype)
