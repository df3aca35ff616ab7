"""A folder's safetensors files as one set of tensors: a single file, or shards that an index names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gemwright.errors import UserError
from gemwright.paths import probe
from gemwright.weights.fields import Fields, list_folder, read_json, shorten
from gemwright.weights.safetensors import Entry, TensorFile

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Folder:
    """Every tensor of a Hugging Face folder, by name, without regard to which file holds it.

    `files` keeps the shards in the order of their names, `index` the index's metadata (None for a single file).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index: dict[str, Any] | None = None
        self.files: dict[str, TensorFile] = {}
        self.notes: list[str] = []
        if (path / SINGLE).exists():
            self.files[SINGLE] = TensorFile(path / SINGLE)
        elif (path / INDEX).exists():
            self._open_shards()
        else:
            raise _nothing_there(path)
        self._home = {name: file for file in self.files.values() for name in file.entries}

    def _open_shards(self) -> None:
        tree = Fields(read_json(self.path / INDEX), str(self.path / INDEX))
        where = tree.section("weight_map").tree
        metadata = tree.raw("metadata", {})
        self.index = metadata if isinstance(metadata, dict) else {}
        for name, file in where.items():
            if not isinstance(file, str) or Path(file).name != file or file in ("", ".", "..") or "\0" in file:
                raise UserError(
                    f"{self.path / INDEX}: {shorten(name)} is said to be in {shorten(file)}, which is no file name",
                    hint="shards lie beside their index",
                )
        for file in sorted(set(where.values())):
            if not probe(self.path / file).exists():
                raise UserError(f"shard {file} is missing from {self.path}", hint="fetch the folder again")
            self.files[file] = TensorFile(self.path / file)
        for name, file in where.items():
            if name not in self.files[file].entries:
                raise UserError(
                    f"{self.path / INDEX} says that {shorten(name)} is in {file}, and it is not",
                    hint="index and shards are of different downloads; fetch the folder again",
                )
        for file, opened in self.files.items():
            for name in opened.entries:
                if where.get(name) != file:
                    raise UserError(
                        f"{self.path / INDEX} does not say that {shorten(name)} is in {file}, and it is",
                        hint="index and shards are of different downloads; fetch the folder again",
                    )
        claimed, found = self.index.get("total_size"), self.bytes()
        if claimed is not None and claimed != found:
            self.notes.append(f"{INDEX} claims {shorten(claimed)} bytes of tensors, the shards hold {found}")

    def names(self) -> list[str]:
        """Every tensor's name, file by file."""
        return [name for file in self.files.values() for name in file.entries]

    def entry(self, name: str) -> Entry:
        """What a tensor is."""
        return self._home[name].entries[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return self.entry(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """A tensor's dtype in the file."""
        return self.entry(name).dtype

    def view(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows of a tensor, as a view on the mapped file."""
        return self._home[name].view(name, start, stop)

    def release(self, name: str, start: int = 0, stop: int | None = None) -> None:
        """Let go of the memory behind rows that have been read."""
        self._home[name].release(name, start, stop)

    def bytes(self) -> int:
        """The bytes of all tensors."""
        return sum(entry.bytes for file in self.files.values() for entry in file.entries.values())


def _nothing_there(path: Path) -> UserError:
    present = [item.name for item in list_folder(path)]
    shards = [name for name in present if name.endswith(".safetensors")]
    other = [name for name in present if name.endswith((".bin", ".gguf", ".ckpt", ".pth", ".pt", ".h5", ".msgpack"))]
    if shards:
        return UserError(f"{path} has {', '.join(shards[:3])} and no {INDEX}", hint="fetch the folder again")
    if other:
        return UserError(f"{path} has no {SINGLE}, only {', '.join(other[:3])}", hint="give its safetensors version")
    return UserError(f"{path} has no {SINGLE} and no {INDEX}", hint="fetch its weights: gemwright pull")
