"""What a checkpoint looked like, remembered so that an export gives back the same files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemwright.weights.fields import list_folder
from gemwright.weights.folder import INDEX, Folder
from gemwright.weights.names import find_prefix
from gemwright.weights.safetensors import Entry

OTHERS_LIMIT = 256 << 20  # bytes; tokenizers have up to 33 MB, anything beyond this is weights under another name
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".npz", ".lock")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file: its tensors in the order of their bytes, and the metadata of its header."""

    file: str
    metadata: dict[str, str]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A folder as it was read.

    `config` is the whole config tree, unknown keys included; `prefix` stands before the text model's names; `index`
    is the metadata of the shards' index (None: a single file); `others` names the files that are no weights; `notes`
    are remarks for people.
    """

    folder: Path
    config: dict[str, Any]
    prefix: str
    shards: tuple[Shard, ...]
    index: dict[str, Any] | None
    others: tuple[str, ...]
    notes: tuple[str, ...]

    def entries(self) -> list[Entry]:
        """Every tensor, file by file."""
        return [entry for shard in self.shards for entry in shard.entries]


def survey(folder: Path, config: dict[str, Any], notes: list[str]) -> Layout:
    """The layout of a Hugging Face folder; every file's header is checked on the way."""
    opened = Folder(folder)
    return Layout(
        folder=folder,
        config=config,
        prefix=find_prefix(opened.names()) or "",
        shards=tuple(
            Shard(file=name, metadata=file.metadata, entries=tuple(file.entries.values()))
            for name, file in opened.files.items()
        ),
        index=opened.index,
        others=tuple(item.name for item in list_folder(folder) if _is_other(item)),
        notes=(*notes, *opened.notes),
    )


def _is_other(path: Path) -> bool:
    if (
        path.name.startswith(".")
        or path.name in ("config.json", INDEX)
        or path.name.endswith((*_WEIGHTS, ".index.json"))
    ):
        return False
    return path.is_file() and path.stat().st_size <= OTHERS_LIMIT
